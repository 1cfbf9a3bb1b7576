// tersor - compressed sparse rows, for matrices with few non-zeros
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] as row offsets (int32 [rows + 1]), column indices (uint16 where cols <= 65536, else int32)
/// and values (f32, f16 or bf16). Bits per weight at density d: d (value bits + 16 or 32) + 32 / cols. Right
/// for outlier side matrices; above a density of a few per cent `sparse_bitmap` is smaller.
class sparse_csr : public described_operator<sparse_csr> {
 public:
  sparse_csr() = default;
  /// Stores the entries of w where `kept` [rows, cols] is non-zero.
  sparse_csr(matrix_view<const float> w, const matrix<std::uint8_t>& kept, dtype type)
      : rows_(w.rows()), cols_(w.cols()) {
    require_shape(kept.view(), rows_, cols_, "sparse_csr: kept");
    require(w.size() <= INT32_MAX, "sparse_csr: number of weights", w.size(), "at most ", INT32_MAX);
    std::vector<float> values;
    for (index_t r = 0; r < rows_; ++r) {
      for (index_t j = 0; j < cols_; ++j) {
        if (kept(r, j) == 0) continue;
        push_column(j);
        values.push_back(w(r, j));
      }
      offsets_.push_back(static_cast<std::int32_t>(values.size()));
    }
    require_wide_real(type, "sparse_csr: type");
    values_ = store_as(type, values);
  }
  /// Of its parts: `offsets` [rows + 1], the entries' columns, rising in every row, and their values.
  sparse_csr(index_t rows, index_t cols, std::vector<std::int32_t> offsets,
             std::span<const std::int32_t> columns, real_array values)
      : rows_(rows), cols_(cols), offsets_(std::move(offsets)), values_(std::move(values)) {
    require(static_cast<index_t>(offsets_.size()) == rows_ + 1, "sparse_csr: offsets", offsets_.size(),
            rows_ + 1);
    check_offsets("sparse_csr");
    require(offsets_.back() == kept() && columns.size() == static_cast<std::size_t>(kept()),
            "sparse_csr: entries", concat(columns.size(), " columns, ", kept(), " values"), offsets_.back(),
            " of both");
    for (const auto c : columns) {
      require(c >= 0 && c < cols_, "sparse_csr: column", c, "0 .. ", cols_ - 1);
      push_column(c);
    }
    check_columns("sparse_csr");
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  index_t kept() const { return values_.size(); }
  /// [rows + 1]: the entries of row r are those from offsets()[r] on.
  std::span<const std::int32_t> offsets() const { return offsets_; }
  /// Of the entries: u16 where cols <= 65536, else empty, and i32 where not.
  std::span<const std::uint16_t> narrow_columns() const { return columns16_; }
  std::span<const std::int32_t> wide_columns() const { return columns32_; }
  const real_array& values() const { return values_; }
  static constexpr std::string_view kind() { return "sparse_csr"; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols_, y, rows_);
    parallel_chunks(rows_, 64, ctx, [&](index_t r0, index_t r1) {
      for (index_t r = r0; r < r1; ++r)
        for (index_t t = 0; t < x.rows(); ++t) {
          float sum = 0.0F;
          for (index_t k = begin(r); k < begin(r + 1); ++k) sum += values_[k] * x(t, column(k));
          y(t, r) = sum;
        }
    });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, rows_, y, cols_);
    parallel_chunks(x.rows(), 8, ctx, [&](index_t t0, index_t t1) {
      for (index_t t = t0; t < t1; ++t) {
        for (index_t j = 0; j < cols_; ++j) y(t, j) = 0.0F;
        for (index_t r = 0; r < rows_; ++r)
          for (index_t k = begin(r); k < begin(r + 1); ++k) y(t, column(k)) += values_[k] * x(t, r);
      }
    });
  }
  matrix<float> to_dense() const {
    matrix<float> w(rows_, cols_);
    for (index_t r = 0; r < rows_; ++r)
      for (index_t k = begin(r); k < begin(r + 1); ++k) w(r, column(k)) = values_[k];
    return w;
  }

 private:
  friend class described_operator<sparse_csr>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.tensor("offsets", self.offsets_, {self.rows_ + 1});
    const index_t n = self.offsets_.back();
    if constexpr (Archive::loading) self.check_offsets(a.in.where());
    if (self.cols_ <= 65536)
      a.tensor("columns", self.columns16_, {n});
    else
      a.tensor("columns", self.columns32_, {n});
    a.tensor("values", self.values_, {n});
    if constexpr (Archive::loading) self.check_columns(a.in.where());
  }
  void check_offsets(const std::string& where) const {
    for (std::size_t r = 0; r < offsets_.size(); ++r)
      require(offsets_[r] >= (r == 0 ? 0 : offsets_[r - 1]) && (r != 0 || offsets_[r] == 0),
              concat(where, ".offsets[", r, "]"), offsets_[r], "a rising sequence from 0");
  }
  void check_columns(const std::string& where) const {
    for (index_t r = 0; r < rows_; ++r)
      for (index_t k = begin(r); k < begin(r + 1); ++k) {
        const index_t least = k == begin(r) ? 0 : column(k - 1) + 1;
        require(column(k) >= least && column(k) < cols_, concat(where, ".columns[", k, "]"), column(k),
                "rising in a row, ", least, " .. ", cols_ - 1);
      }
  }
  void push_column(index_t j) {
    if (cols_ <= 65536)
      columns16_.push_back(static_cast<std::uint16_t>(j));
    else
      columns32_.push_back(static_cast<std::int32_t>(j));
  }
  index_t begin(index_t r) const { return offsets_[static_cast<std::size_t>(r)]; }
  index_t column(index_t k) const {
    return cols_ <= 65536 ? columns16_[static_cast<std::size_t>(k)] : columns32_[static_cast<std::size_t>(k)];
  }

  index_t rows_ = 0, cols_ = 0;
  std::vector<std::int32_t> offsets_{0};
  std::vector<std::uint16_t> columns16_;
  std::vector<std::int32_t> columns32_;
  real_array values_;
};

}  // namespace tersor::op
