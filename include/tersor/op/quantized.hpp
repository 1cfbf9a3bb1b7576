// tersor - quantized operator: integer codes on an affine grid
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/affine_grid.hpp>
#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] = scale * (code - zero_point), codes of 1 ... 8 bits, row-major in one dense little-endian
/// bit stream (bit 0 of byte 0 is the lowest bit of the first code). Bits per weight: bits + (scale bits +
/// zero-point bits) / group_size, and 32 / rows more with a g_idx.
class quantized : public decoded_operator<quantized> {
 public:
  quantized() = default;
  /// @param codes [rows, cols], each below 2^bits of the grid.
  quantized(const matrix<std::uint8_t>& codes, affine_grid grid)
      : rows_(codes.rows()),
        cols_(codes.cols()),
        grid_(std::move(grid)),
        codes_(pack_bits(grid_.bits(), codes.values())) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const affine_grid& grid() const { return grid_; }
  static constexpr std::string_view kind() { return "quantized"; }

  matrix<std::uint8_t> codes() const {
    matrix<std::uint8_t> q(rows_, cols_);
    unpack_bits(grid_.bits(), codes_, 0, q.values());
    return q;
  }
  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    const auto groups = static_cast<std::size_t>(grid_.groups());
    std::vector<float> scale(groups), zero(groups);
    std::vector<std::uint8_t> q(static_cast<std::size_t>(cols_));
    for (index_t r = r0; r < r1; ++r) {
      unpack_bits(grid_.bits(), codes_, static_cast<std::size_t>(r * cols_), q);
      grid_.row(r, scale, zero);
      float* out = w.data + (r - r0) * w.strides[0];
      if (grid_.g_idx().empty()) {
        for (index_t j = 0, g = 0; j < cols_; ++g) {
          const index_t end = std::min(cols_, j + grid_.group_size());
          const float s = scale[static_cast<std::size_t>(g)], z = zero[static_cast<std::size_t>(g)];
          for (; j < end; ++j) out[j] = s * (static_cast<float>(q[static_cast<std::size_t>(j)]) - z);
        }
      } else {
        for (index_t j = 0; j < cols_; ++j) {
          const auto g = static_cast<std::size_t>(grid_.g_idx()[static_cast<std::size_t>(j)]);
          out[j] = scale[g] * (static_cast<float>(q[static_cast<std::size_t>(j)]) - zero[g]);
        }
      }
    }
  }

 private:
  friend class described_operator<quantized>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    affine_grid::describe(self.grid_, a, self.rows_, self.cols_);
    a.tensor("codes", self.codes_,
             {static_cast<index_t>(
                 packed_bytes(self.grid_.bits(), static_cast<std::size_t>(self.rows_ * self.cols_)))});
  }

  index_t rows_ = 0, cols_ = 0;
  affine_grid grid_;
  std::vector<std::uint8_t> codes_;
};

}  // namespace tersor::op
