// tersor - ternary operator: weights -1, 0 and 1 times a scale, five in a byte
// SPDX-License-Identifier: MIT
#pragma once

// BitNet b1.58 (arXiv:2402.17764): the weights; the byte is that of GGUF's TQ1_0.

#include <tersor/core/trits.hpp>
#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] = scale * (digit - 1), digits 0 ... 2 row-major in one stream of five in a byte
/// (core/trits.hpp). Groups are runs of `group_size` columns of a row, the last may be shorter; a single
/// group gives each row a scale, and a single unit gives the tensor one. Bits per weight: 1.6 + scale bits /
/// group_size.
class ternary : public decoded_operator<ternary> {
 public:
  ternary() = default;
  /// @param digits [rows, cols]; @param scales [units, groups], units = rows or 1.
  ternary(const matrix<std::uint8_t>& digits, index_t group_size, matrix_view<const float> scales,
          dtype scale_type = dtype::f32)
      : rows_(digits.rows()), cols_(digits.cols()), group_size_(group_size), units_(scales.rows()) {
    check("ternary");
    require(scales.cols() == groups(), "ternary: columns of scales", scales.cols(), groups());
    require_wide_real(scale_type, "ternary: type of scales");
    scales_ = store_as(scale_type, scales);
    digits_ = pack_trit_stream(digits.values());
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  index_t group_size() const { return group_size_; }
  index_t groups() const { return cols_ / group_size_ + (cols_ % group_size_ != 0); }
  /// Rows of scales: 1 where all rows share them.
  index_t units() const { return units_; }
  const real_array& scales() const { return scales_; }
  float scale(index_t row, index_t group) const {
    return scales_[(units_ == 1 ? 0 : row) * groups() + group];
  }
  static constexpr std::string_view kind() { return "ternary"; }

  /// Weight + 1.
  matrix<std::uint8_t> digits() const {
    matrix<std::uint8_t> d(rows_, cols_);
    unpack_trit_stream(digits_, 0, d.values());
    return d;
  }
  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    std::vector<float> scale(static_cast<std::size_t>(groups()));
    std::vector<std::uint8_t> d(static_cast<std::size_t>(cols_));
    for (index_t r = r0; r < r1; ++r) {
      unpack_trit_stream(digits_, static_cast<std::size_t>(r * cols_), d);
      scales_.read(units_ == 1 ? 0 : r * groups(), scale);
      float* out = w.data + (r - r0) * w.strides[0];
      for (index_t j = 0, g = 0; j < cols_; ++g) {
        const float s = scale[static_cast<std::size_t>(g)];
        const float values[3] = {-s, 0, s};
        for (const index_t end = std::min(cols_, j + group_size_); j < end; ++j)
          out[j] = values[d[static_cast<std::size_t>(j)]];
      }
    }
  }

 private:
  friend class described_operator<ternary>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.attribute("group_size", self.group_size_);
    a.attribute("units", self.units_);
    if constexpr (Archive::loading) self.check(a.in.where());
    a.tensor("scales", self.scales_, {self.units_, self.groups()});
    a.tensor("digits", self.digits_,
             {static_cast<index_t>(trit_bytes(static_cast<std::size_t>(self.rows_ * self.cols_)))});
  }
  void check(std::string_view where) const {
    require(group_size_ >= 1, concat(where, ": group_size"), group_size_, "at least 1");
    require(units_ == rows_ || units_ == 1, concat(where, ": units"), units_, "1 or ", rows_);
  }

  index_t rows_ = 0, cols_ = 0, group_size_ = 1, units_ = 0;
  real_array scales_;
  std::vector<std::uint8_t> digits_;
};

}  // namespace tersor::op
