// tersor - operators in a layout for products, which all other uses see as what they were made of
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/operator.hpp>

namespace tersor::op {

/// In files, and in products with the transpose, an operator is the one that `restore()` gives.
template <class Op>
class restored_operator {
 public:
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    self().restore().apply_transposed(x, y, ctx);
  }
  matrix<float> to_dense() const { return self().restore().to_dense(); }
  void save(archive_writer& out) const { self().restore().save(out); }

 protected:
  const Op& self() const { return static_cast<const Op&>(*this); }
};

}  // namespace tersor::op
