// tersor - all operators of the library
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/binary_coded.hpp>
#include <tersor/op/codebook.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/ggml_blocks.hpp>
#include <tersor/op/low_rank.hpp>
#include <tersor/op/permuted.hpp>
#include <tersor/op/product.hpp>
#include <tersor/op/quantized.hpp>
#include <tersor/op/scaled.hpp>
#include <tersor/op/sparse_bitmap.hpp>
#include <tersor/op/sparse_csr.hpp>
#include <tersor/op/sparse_nm.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/op/ternary.hpp>
#include <tersor/op/w8a8.hpp>

namespace tersor::op {

namespace detail {

template <class... Ops>
any_operator load_one_of(std::string_view kind, archive_reader& in) {
  any_operator op;
  const bool found = ((Ops::kind() == kind && (op = any_operator(Ops::load(kind, in)), true)) || ...);
  require(found, concat(in.where(), ": kind"), kind, "one of ", concat((std::string(Ops::kind()) + " ")...));
  return op;
}

}  // namespace detail

/// What `any_operator::load` returns.
inline any_operator load_every_operator(std::string_view kind, archive_reader& in) {
  return detail::load_one_of<dense, quantized, codebook, binary_coded, ternary, sparse_nm, sparse_bitmap,
                             sparse_csr, low_rank, w8a8, permuted<>, scaled<>, sum<>, product<>, ggml_blocks>(
      kind, in);
}

}  // namespace tersor::op
