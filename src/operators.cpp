// tersor - loading operators of every kind, compiled once
// SPDX-License-Identifier: MIT
#include <tersor/op/every_operator.hpp>

namespace tersor::op {

any_operator any_operator::load(std::string_view kind, archive_reader& in) {
  return load_every_operator(kind, in);
}

}  // namespace tersor::op
