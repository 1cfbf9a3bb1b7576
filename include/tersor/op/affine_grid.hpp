// tersor - scales and zero points of a matrix quantized to an integer grid
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>  // std::int32_t
#include <vector>   // std::vector

#include <tersor/core/bits.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/real_array.hpp>

namespace tersor::op {

/// Value of code q at (row r, column j): scale(r, g) * (q - zero_point(r, g)), g = group_of(j). Groups are
/// runs of `group_size` columns (the last may be shorter), or whatever `g_idx` says (act-order). One row of
/// scales serves all rows when the unit is the whole tensor.
///
/// Stored: scales [units, groups] as f32, f16 or bf16; zero points as `bits`-bit integers in one dense
/// stream, or as one number where all are equal (symmetric grids); g_idx as one int32 per column where it is
/// not monotone.
class affine_grid {
 public:
  affine_grid() = default;
  /// @param scale, zero_point [units, groups], units = rows or 1. Zero points are integers in 0 .. 2^bits
  /// - 1.
  /// @param g_idx empty, or the group of each of `cols` columns.
  affine_grid(int bits, index_t rows, index_t cols, index_t group_size, matrix_view<const float> scale,
              matrix_view<const float> zero_point, dtype scale_type, std::vector<std::int32_t> g_idx = {})
      : bits_(bits), group_size_(group_size), units_(scale.rows()), g_idx_(std::move(g_idx)) {
    check("affine_grid", rows, cols);
    require_shape(zero_point, units_, scale.cols(), "affine_grid: zero_point");
    require_wide_real(scale_type, "affine_grid: type of scales");
    scales_ = store_as(scale_type, scale);
    std::vector<std::uint8_t> zeros;
    zeros.reserve(static_cast<std::size_t>(scale.size()));
    bool constant = true;
    for (index_t r = 0; r < units_; ++r)
      for (index_t g = 0; g < scale.cols(); ++g) {
        const float z = zero_point(r, g);
        require(z >= 0.0F && z <= static_cast<float>((1 << bits) - 1) &&
                    z == static_cast<float>(static_cast<int>(z)),
                "affine_grid: zero_point", z, "an integer from 0 to ", (1 << bits) - 1);
        zeros.push_back(static_cast<std::uint8_t>(z));
        constant = constant && zeros.back() == zeros.front();
      }
    if (constant)
      zero_point_ = zeros.empty() ? 0 : zeros.front();
    else
      zeros_ = pack_bits(bits, zeros);
    finish("affine_grid", cols);
  }

  int bits() const { return bits_; }
  index_t group_size() const { return group_size_; }
  index_t groups() const { return groups_; }
  bool has_zero_points() const { return !zeros_.empty(); }
  /// Empty when groups are runs of columns.
  const std::vector<std::int32_t>& g_idx() const { return g_idx_; }
  index_t group_of(index_t column) const {
    return g_idx_.empty() ? column / group_size_ : g_idx_[static_cast<std::size_t>(column)];
  }
  float scale(index_t row, index_t group) const { return scales_[unit(row) * groups_ + group]; }
  int zero_point(index_t row, index_t group) const {
    if (zeros_.empty()) return zero_point_;
    std::uint8_t z = 0;
    unpack_bits(bits_, zeros_, static_cast<std::size_t>(unit(row) * groups_ + group), std::span(&z, 1));
    return z;
  }
  /// Scales and zero points of one row, [groups] each.
  void row(index_t r, std::span<float> scale, std::span<float> zero) const {
    scales_.read(unit(r) * groups_, scale);
    if (zeros_.empty()) {
      for (float& z : zero) z = static_cast<float>(zero_point_);
    } else {
      std::vector<std::uint8_t> codes(zero.size());
      unpack_bits(bits_, zeros_, static_cast<std::size_t>(unit(r) * groups_), codes);
      for (std::size_t g = 0; g < zero.size(); ++g) zero[g] = static_cast<float>(codes[g]);
    }
  }
  const real_array& scales() const { return scales_; }

  /// Part of the owner's description: `rows` and `cols` must be set.
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a, index_t rows, index_t cols) {
    a.attribute("bits", self.bits_);
    a.attribute("group_size", self.group_size_);
    a.attribute("units", self.units_);
    a.attribute("groups", self.groups_);
    a.attribute("zero_point", self.zero_point_);
    if constexpr (Archive::loading) self.check(a.in.where(), rows, cols);
    a.tensor("scales", self.scales_, {self.units_, self.groups_});
    const auto zero_bytes =
        static_cast<index_t>(packed_bytes(self.bits_, static_cast<std::size_t>(self.units_ * self.groups_)));
    a.optional_tensor("zeros", self.zeros_, {zero_bytes});
    a.optional_tensor("g_idx", self.g_idx_, {cols});
    if constexpr (Archive::loading) self.finish(a.in.where(), cols);
  }

 private:
  index_t unit(index_t row) const { return units_ == 1 ? 0 : row; }
  void check(std::string_view where, index_t rows, index_t cols) const {
    require(bits_ >= 1 && bits_ <= 8, concat(where, ": bits"), bits_, "1 .. 8");
    require(group_size_ >= 1, concat(where, ": group_size"), group_size_, "at least 1");
    require(units_ == rows || units_ == 1, concat(where, ": units"), units_, "1 or ", rows);
    require(groups_ >= 0 && groups_ <= std::max<index_t>(cols, 1), concat(where, ": groups"), groups_,
            "at most ", cols);
    require(zero_point_ >= 0 && zero_point_ < (1 << bits_), concat(where, ": zero_point"), zero_point_,
            "0 .. ", (1 << bits_) - 1);
  }
  void finish(std::string_view where, index_t cols) {
    groups_ = units_ == 0 ? 0 : scales_.size() / units_;
    if (g_idx_.empty()) {
      const index_t expected = cols / group_size_ + (cols % group_size_ != 0);
      require(units_ == 0 || groups_ == expected, concat(where, ": groups"), groups_, expected);
    }
    require(g_idx_.empty() || static_cast<index_t>(g_idx_.size()) == cols, concat(where, ": length of g_idx"),
            g_idx_.size(), cols);
    for (const auto g : g_idx_)
      require(g >= 0 && g < groups_, concat(where, ": g_idx"), g, "0 .. ", groups_ - 1);
  }

  int bits_ = 4;
  index_t group_size_ = 1, units_ = 0, groups_ = 0;
  int zero_point_ = 0;
  real_array scales_;
  std::vector<std::uint8_t> zeros_;
  std::vector<std::int32_t> g_idx_;
};

}  // namespace tersor::op
