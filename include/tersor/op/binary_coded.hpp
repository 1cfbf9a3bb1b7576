// tersor - binary-coded operator: sums of planes of signs, each with a scale for every group
// SPDX-License-Identifier: MIT
#pragma once

// LUT-GEMM (arXiv:2206.09557): the format and the conversion from uniform codes.

#include <tersor/core/bits.hpp>
#include <tersor/op/quantized.hpp>

namespace tersor::op {

/// W [rows, cols] = Σ_i scale_i * sign_i (+ offset), i over 1 ... 8 planes. Groups are runs of `group_size`
/// columns of a row, the last may be shorter; each has a scale for every plane and, if the operator has
/// offsets, an offset. Bit i of a weight's code says whether its sign in plane i is +1; codes lie row-major
/// in one dense little-endian bit stream. Bits per weight: planes + (planes * scale bits + offset bits) /
/// group_size.
class binary_coded : public decoded_operator<binary_coded> {
 public:
  binary_coded() = default;
  /// @param codes [rows, cols], each below 2^planes.
  /// @param scales [rows * groups, planes], row after row; @param offsets [rows, groups], or empty.
  binary_coded(const matrix<std::uint8_t>& codes, int planes, index_t group_size, real_array scales,
               real_array offsets = {})
      : rows_(codes.rows()),
        cols_(codes.cols()),
        group_size_(group_size),
        planes_(planes),
        scales_(std::move(scales)),
        offsets_(std::move(offsets)) {
    check("binary_coded");
    require_wide_real(scales_.type(), "binary_coded: type of scales");
    require_wide_real(offsets_.type(), "binary_coded: type of offsets");
    require(scales_.size() == rows_ * groups() * planes_, "binary_coded: number of scales", scales_.size(),
            rows_ * groups() * planes_);
    require(offsets_.empty() || offsets_.size() == rows_ * groups(), "binary_coded: number of offsets",
            offsets_.size(), rows_ * groups(), " or none");
    codes_ = pack_bits(planes_, codes.values());
  }
  /// The same weights as planes: s (c - z) = Σ_i s 2^(i-1) sign_i + s ((2^bits - 1) / 2 - z). Scales keep
  /// their type, offsets are f32; exact where the grid's scales are f16 or bf16 and no scale underflows, to
  /// rounding where they are f32. Error for groups that are not runs of columns (act-order).
  static binary_coded from(const quantized& w) {
    const auto& grid = w.grid();
    require(grid.g_idx().empty(), "binary_coded: groups of columns", "act-order", "runs of columns");
    const index_t groups = w.rows() == 0 ? 0 : grid.groups();
    real_array scales(grid.scales().type(), w.rows() * groups * grid.bits());
    real_array offsets(dtype::f32, w.rows() * groups);
    const float middle = static_cast<float>((1 << grid.bits()) - 1) / 2;
    for (index_t r = 0; r < w.rows(); ++r)
      for (index_t g = 0; g < groups; ++g) {
        const float s = grid.scale(r, g);
        for (int i = 0; i < grid.bits(); ++i)
          scales.set((r * groups + g) * grid.bits() + i, std::ldexp(s, i - 1));
        offsets.set(r * groups + g, s * (middle - static_cast<float>(grid.zero_point(r, g))));
      }
    return {w.codes(), grid.bits(), grid.group_size(), std::move(scales), std::move(offsets)};
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  int planes() const { return planes_; }
  index_t group_size() const { return group_size_; }
  index_t groups() const { return cols_ / group_size_ + (cols_ % group_size_ != 0); }
  const real_array& scales() const { return scales_; }
  /// Empty where there are none.
  const real_array& offsets() const { return offsets_; }
  static constexpr std::string_view kind() { return "binary_coded"; }

  matrix<std::uint8_t> codes() const {
    matrix<std::uint8_t> q(rows_, cols_);
    unpack_bits(planes_, codes_, 0, q.values());
    return q;
  }
  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    const auto planes = static_cast<std::size_t>(planes_);
    std::vector<float> scale(static_cast<std::size_t>(groups()) * planes);
    std::vector<float> offset(static_cast<std::size_t>(groups()));
    std::vector<std::uint8_t> q(static_cast<std::size_t>(cols_));
    std::vector<float> sums(std::size_t{1} << planes);
    for (index_t r = r0; r < r1; ++r) {
      unpack_bits(planes_, codes_, static_cast<std::size_t>(r * cols_), q);
      scales_.read(r * groups() * planes_, scale);
      if (!offsets_.empty()) offsets_.read(r * groups(), offset);
      float* out = w.data + (r - r0) * w.strides[0];
      for (index_t j = 0, g = 0; j < cols_; ++g) {
        const auto at = static_cast<std::size_t>(g);
        const std::span<const float> mine(scale.data() + at * planes, planes);
        const index_t end = std::min(cols_, j + group_size_);
        const bool tabulate = end - j >= static_cast<index_t>(sums.size());
        for (std::size_t c = 0; tabulate && c < sums.size(); ++c) sums[c] = value(c, mine, offset[at]);
        for (; j < end; ++j) {
          const std::size_t code = q[static_cast<std::size_t>(j)];
          out[j] = tabulate ? sums[code] : value(code, mine, offset[at]);
        }
      }
    }
  }

 private:
  friend class described_operator<binary_coded>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.attribute("planes", self.planes_);
    a.attribute("group_size", self.group_size_);
    if constexpr (Archive::loading) self.check(a.in.where());
    a.tensor("scales", self.scales_, {self.rows_, self.groups(), index_t{self.planes_}});
    a.optional_tensor("offsets", self.offsets_, {self.rows_, self.groups()});
    a.tensor("codes", self.codes_,
             {static_cast<index_t>(
                 packed_bytes(self.planes_, static_cast<std::size_t>(self.rows_ * self.cols_)))});
  }
  void check(std::string_view where) const {
    require(planes_ >= 1 && planes_ <= 8, concat(where, ": planes"), planes_, "1 .. 8");
    require(group_size_ >= 1, concat(where, ": group_size"), group_size_, "at least 1");
  }
  static float value(std::size_t code, std::span<const float> scale, float offset) {
    float sum = offset;
    for (std::size_t i = 0; i < scale.size(); ++i) sum += (code >> i & 1U) != 0 ? scale[i] : -scale[i];
    return sum;
  }

  index_t rows_ = 0, cols_ = 0, group_size_ = 1;
  int planes_ = 1;
  real_array scales_, offsets_;
  std::vector<std::uint8_t> codes_;
};

}  // namespace tersor::op
