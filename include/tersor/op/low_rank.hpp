// tersor - low-rank operator: two thin factors
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] = A [rows, rank] * B [rank, cols]; y = (x Bᵀ) Aᵀ at 2 rank (rows + cols) FLOPs a token.
/// Bits per weight: value bits * rank * (rows + cols) / (rows * cols).
class low_rank : public described_operator<low_rank> {
 public:
  low_rank() = default;
  /// a [rows, rank], b [rank, cols], rounded to `type`.
  low_rank(matrix_view<const float> a, matrix_view<const float> b, dtype type = dtype::f32)
      : rows_(a.rows()), cols_(b.cols()), rank_(a.cols()), a_(store_as(type, a)), b_(store_as(type, b)) {
    require_wide_real(type, "low_rank: type");
    require(b.rows() == rank_, "low_rank: rows of b", b.rows(), rank_, ", the columns of a");
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  index_t rank() const { return rank_; }
  dtype type() const { return a_.type(); }
  matrix<float> a() const { return factor(a_, rows_, rank_); }
  matrix<float> b() const { return factor(b_, rank_, cols_); }
  static constexpr std::string_view kind() { return "low_rank"; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols_, y, rows_);
    const auto left = a(), right = b();
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      matrix<float> z(x.rows(), rank_);
      linalg::gemm<float>(1.0F, input, right.view().transposed(), 0.0F, z.view(), ctx);
      linalg::gemm<float>(1.0F, z.view(), left.view().transposed(), 0.0F, output, ctx);
    });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, rows_, y, cols_);
    const auto left = a(), right = b();
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      matrix<float> z(x.rows(), rank_);
      linalg::gemm<float>(1.0F, input, left.view(), 0.0F, z.view(), ctx);
      linalg::gemm<float>(1.0F, z.view(), right.view(), 0.0F, output, ctx);
    });
  }
  matrix<float> to_dense() const {
    const auto left = a(), right = b();
    matrix<float> w(rows_, cols_);
    linalg::gemm<float>(1.0F, left.view(), right.view(), 0.0F, w.view());
    return w;
  }

 private:
  friend class described_operator<low_rank>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.attribute("rank", self.rank_);
    a.tensor("a", self.a_, {self.rows_, self.rank_});
    a.tensor("b", self.b_, {self.rank_, self.cols_});
  }
  static matrix<float> factor(const real_array& values, index_t rows, index_t cols) {
    matrix<float> m(rows, cols);
    values.read(0, m.values());
    return m;
  }

  index_t rows_ = 0, cols_ = 0, rank_ = 0;
  real_array a_, b_;
};

}  // namespace tersor::op
