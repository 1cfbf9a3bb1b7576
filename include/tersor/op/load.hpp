// tersor - loading an operator by the name of its kind, without including the kinds that are precompiled
// SPDX-License-Identifier: MIT
#pragma once

#if defined(TERSOR_PRECOMPILED)
#include <tersor/op/any_operator.hpp>
#else
#include <tersor/op/every_operator.hpp>

namespace tersor::op {

inline any_operator any_operator::load(std::string_view kind, archive_reader& in) {
  return load_every_operator(kind, in);
}

}  // namespace tersor::op
#endif
