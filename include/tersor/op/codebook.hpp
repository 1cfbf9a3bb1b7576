// tersor - codebook operator: codes of shared levels times a scale for each block
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/block_scales.hpp>
#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] = level[code] * scale of its block. Blocks are runs of `block_size` weights of the
/// row-major matrix, so they may go on in the next row; the last may be shorter. Codes of 1 ... 8 bits lie in
/// one dense little-endian bit stream. Bits per weight: bits + scale bits / block_size, and the table of
/// levels.
///
/// The micro-scaled formats are codebooks of the 16 levels of E2M1, 0 0.5 1 1.5 2 3 4 6 and the same
/// negative, in the order of their codes. MXFP4: blocks of 32, scale_rule{.type = f8_e8m0}. NVFP4: blocks of
/// 16, scale_rule{.coding = factored, .type = f8_e4m3}.
class codebook : public decoded_operator<codebook> {
 public:
  codebook() = default;
  /// @param codes [rows, cols], each below the number of levels, which is a power of two; @param scales one
  /// for each block.
  codebook(const matrix<std::uint8_t>& codes, std::vector<float> levels, index_t block_size,
           block_scales scales)
      : rows_(codes.rows()),
        cols_(codes.cols()),
        block_size_(block_size),
        levels_(std::move(levels)),
        scales_(std::move(scales)) {
    while (bits_ < 8 && static_cast<std::size_t>(1) << bits_ < levels_.size()) ++bits_;
    check("codebook");
    require(scales_.size() == blocks(), "codebook: number of scales", scales_.size(), blocks());
    codes_ = pack_bits(bits_, codes.values());
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  int bits() const { return bits_; }
  index_t block_size() const { return block_size_; }
  /// [2^bits], the level of each code.
  const std::vector<float>& levels() const { return levels_; }
  const block_scales& scales() const { return scales_; }
  static constexpr std::string_view kind() { return "codebook"; }

  matrix<std::uint8_t> codes() const {
    matrix<std::uint8_t> q(rows_, cols_);
    unpack_bits(bits_, codes_, 0, q.values());
    return q;
  }
  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    if (cols_ == 0 || r0 == r1) return;
    const index_t first_block = r0 * cols_ / block_size_, last_block = (r1 * cols_ - 1) / block_size_;
    std::vector<float> scale(static_cast<std::size_t>(last_block - first_block + 1));
    scales_.read(first_block, scale);
    std::vector<std::uint8_t> q(static_cast<std::size_t>(cols_));
    for (index_t r = r0; r < r1; ++r) {
      unpack_bits(bits_, codes_, static_cast<std::size_t>(r * cols_), q);
      float* out = w.data + (r - r0) * w.strides[0];
      for (index_t j = 0; j < cols_;) {
        const index_t block = (r * cols_ + j) / block_size_;
        const index_t end = std::min(cols_, (block + 1) * block_size_ - r * cols_);
        const float s = scale[static_cast<std::size_t>(block - first_block)];
        for (; j < end; ++j) out[j] = s * levels_[q[static_cast<std::size_t>(j)]];
      }
    }
  }

 private:
  friend class described_operator<codebook>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.attribute("bits", self.bits_);
    a.attribute("block_size", self.block_size_);
    if constexpr (Archive::loading) {
      require(self.bits_ >= 1 && self.bits_ <= 8, concat(a.in.where(), ": bits"), self.bits_, "1 .. 8");
      require(self.block_size_ >= 1, concat(a.in.where(), ": block_size"), self.block_size_, "at least 1");
    }
    a.tensor("levels", self.levels_, {index_t{1} << self.bits_});
    if constexpr (Archive::loading) self.check(a.in.where());
    block_scales::describe(self.scales_, a, self.blocks());
    a.tensor(
        "codes", self.codes_,
        {static_cast<index_t>(packed_bytes(self.bits_, static_cast<std::size_t>(self.rows_ * self.cols_)))});
  }
  index_t blocks() const { return rows_ * cols_ / block_size_ + (rows_ * cols_ % block_size_ != 0); }
  void check(std::string_view where) const {
    require(block_size_ >= 1, concat(where, ": block_size"), block_size_, "at least 1");
    require(levels_.size() == std::size_t{1} << bits_, concat(where, ": number of levels"), levels_.size(),
            "a power of two from 2 to 256");
    for (std::size_t i = 0; i < levels_.size(); ++i)
      require(std::isfinite(levels_[i]), concat(where, ": levels[", i, "]"), levels_[i], "a finite number");
  }

  index_t rows_ = 0, cols_ = 0, block_size_ = 1;
  int bits_ = 1;
  std::vector<float> levels_;
  block_scales scales_;
  std::vector<std::uint8_t> codes_;
};

}  // namespace tersor::op
