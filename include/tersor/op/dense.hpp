// tersor - dense operator: every weight as a real of 32, 16 or 8 bits
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] as stored reals, row-major. 32, 16 or 8 bits per weight.
class dense : public decoded_operator<dense> {
 public:
  dense() = default;
  dense(index_t rows, index_t cols, real_array values)
      : rows_(rows), cols_(cols), values_(std::move(values)) {
    require(values_.size() == rows * cols, "dense: number of values", values_.size(), rows * cols);
  }
  /// w rounded to `type`.
  explicit dense(matrix_view<const float> w, dtype type = dtype::f32)
      : dense(w.rows(), w.cols(), store_as(type, w)) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const real_array& values() const { return values_; }
  static constexpr std::string_view kind() { return "dense"; }

  /// Reals are multiplied where they lie; the shorter types are decoded tile by tile.
  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    if (values_.type() != dtype::f32) return decoded_operator::apply(x, y, ctx);
    detail::require_operands(kind(), x, cols_, y, rows_);
    const matrix_view<const float> w(reinterpret_cast<const float*>(values_.bytes().data()), {rows_, cols_});
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      linalg::gemm<float>(1.0F, input, w.transposed(), 0.0F, output, ctx);
    });
  }

  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    values_.read(r0 * cols_, std::span<float>(w.data, static_cast<std::size_t>((r1 - r0) * cols_)));
  }

 private:
  friend class described_operator<dense>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.any_reals("values", self.values_, {self.rows_, self.cols_});
  }

  index_t rows_ = 0, cols_ = 0;
  real_array values_;
};

}  // namespace tersor::op
