// tersor - the concept of a compressed linear operator, and what all operators share
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::clamp
#include <concepts>     // std::convertible_to
#include <string_view>  // std::string_view
#include <utility>      // std::as_const

#include <tersor/core/context.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/linalg/gemm.hpp>
#include <tersor/op/archive.hpp>

namespace tersor::op {

/// A compressed weight W [rows, cols] = [out_features, in_features] as a linear map of rows of activations:
/// - `apply(x, y, ctx)`: y [tokens, rows] = x [tokens, cols] * Wᵀ (y is overwritten);
/// - `apply_transposed(x, y, ctx)`: y [tokens, cols] = x [tokens, rows] * W;
/// - `to_dense()`: W as float;
/// - `kind()`: its name in files; `save(writer)`: attributes and tensors; `Op::load(kind, reader)`: back
/// again.
template <class Op>
concept linear_operator = requires(const Op& op, matrix_view<const float> x, matrix_view<float> y,
                                   const context& ctx, archive_writer& out) {
  { op.rows() } -> std::convertible_to<index_t>;
  { op.cols() } -> std::convertible_to<index_t>;
  op.apply(x, y, ctx);
  op.apply_transposed(x, y, ctx);
  { op.to_dense() } -> std::convertible_to<matrix<float>>;
  { op.kind() } -> std::convertible_to<std::string_view>;
  op.save(out);
};

namespace detail {

/// Shape checks of an application, with one error text for all operators.
inline void require_operands(std::string_view kind, matrix_view<const float> x, index_t in,
                             matrix_view<float> y, index_t out) {
  require(x.cols() == in, concat(kind, ": columns of x"), x.cols(), in);
  require(y.rows() == x.rows() && y.cols() == out, concat(kind, ": shape of y"),
          concat(y.rows(), " x ", y.cols()), x.rows(), " x ", out);
}

/// Calls product(x, y) with operands whose rows are contiguous, copying others: BLAS may round the products
/// of column-major matrices in another order, and every layout is to give the same bits.
template <class Product>
void with_contiguous_rows(matrix_view<const float> x, matrix_view<float> y, const Product& product) {
  if (y.empty()) return;  // kernels would compute places in memory that is not there
  const auto by_rows = [](matrix_view<const float> v) {
    return (v.cols() <= 1 || v.strides[1] == 1) && (v.rows() <= 1 || v.strides[0] >= v.cols());
  };
  matrix<float> x_copy, y_copy;
  if (!by_rows(x)) x_copy = copy_as<float>(x);
  const auto input = by_rows(x) ? x : std::as_const(x_copy).view();
  if (by_rows(y)) return product(input, y);
  y_copy = matrix<float>(y.rows(), y.cols());
  product(input, y_copy.view());
  copy(y_copy.view(), y);
}

/// Rows decoded at a time: enough for the product to run at its full rate, few enough to stay in cache.
inline index_t decode_rows(index_t rows, index_t cols) {
  return std::clamp<index_t>(262144 / std::max<index_t>(cols, 1), 16, std::max<index_t>(rows, 16));
}

}  // namespace detail

/// Saving, loading and counting bytes of an operator from one `describe(self, archive)`.
template <class Op>
class described_operator {
 public:
  storage_report storage() const { return storage_of(self()); }
  void save(archive_writer& out) const {
    detail::save_archive a{out};
    Op::describe(self(), a);
  }
  static Op load(std::string_view, archive_reader& in) {
    Op op;
    detail::load_archive a{in};
    Op::describe(op, a);
    return op;
  }

 protected:
  const Op& self() const { return static_cast<const Op&>(*this); }
};

/// Products of an operator that can write rows of W: `decode(r0, r1, w)` fills w [r1 - r0, cols] (rows
/// contiguous).
template <class Op>
class decoded_operator : public described_operator<Op> {
 public:
  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    const Op& op = this->self();
    detail::require_operands(Op::kind(), x, op.cols(), y, op.rows());
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      parallel_chunks(op.rows(), detail::decode_rows(op.rows(), op.cols()), ctx, [&](index_t r0, index_t r1) {
        matrix<float> w(r1 - r0, op.cols());
        op.decode(r0, r1, w.view());
        linalg::gemm<float>(1.0F, input, w.view().transposed(), 0.0F,
                            output.block(0, r0, output.rows(), r1 - r0), ctx);
      });
    });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    const Op& op = this->self();
    detail::require_operands(Op::kind(), x, op.rows(), y, op.cols());
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      for (index_t t = 0; t < output.rows(); ++t)
        for (index_t j = 0; j < output.cols(); ++j) output(t, j) = 0.0F;
      // tile after tile in order: the sum is the same for any number of threads
      const index_t step = detail::decode_rows(op.rows(), op.cols());
      for (index_t r0 = 0; r0 < op.rows(); r0 += step) {
        const index_t r1 = std::min(op.rows(), r0 + step);
        matrix<float> w(r1 - r0, op.cols());
        op.decode(r0, r1, w.view());
        linalg::gemm<float>(1.0F, input.block(0, r0, input.rows(), r1 - r0), w.view(), 1.0F, output, ctx);
      }
    });
  }
  matrix<float> to_dense() const {
    const Op& op = this->self();
    matrix<float> w(op.rows(), op.cols());
    op.decode(0, op.rows(), w.view());
    return w;
  }
};

}  // namespace tersor::op
