// tersor - one scale for each block of weights, stored as reals or quantized a second time
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/bits.hpp>
#include <tersor/core/level_table.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/real_array.hpp>
#include <tersor/core/rounding.hpp>

namespace tersor::op {

/// How the scales of blocks are stored. In the coded forms, `dynamic`, `table` and `linear`, a scale is
/// offset + largest[b] * level(code), b its block of `block_size` scales.
enum class scale_coding {
  plain,     ///< reals
  factored,  ///< reals of a type with a short range, times one f32 factor for all (NVFP4)
  dynamic,   ///< 8-bit codes of the dynamic table; the offset is the mean (QLoRA's double quantization)
  table,     ///< the same with levels of its own: in files the last bits of the table vary
  linear     ///< codes / (2^bits - 1); the offset is the smallest scale (LQ-LoRA)
};
constexpr auto option_names(scale_coding) {
  using row = std::pair<std::string_view, scale_coding>;
  return std::array<row, 5>{{{"plain", scale_coding::plain},
                             {"factored", scale_coding::factored},
                             {"dynamic", scale_coding::dynamic},
                             {"table", scale_coding::table},
                             {"linear", scale_coding::linear}}};
}

/// What becomes of the scales, and the type of what is stored of them.
struct scale_rule {
  scale_coding coding = scale_coding::plain;
  int bits = 8;              ///< of a code; dynamic and table: 8
  index_t block_size = 256;  ///< scales with one `largest`
  dtype type = dtype::f32;   ///< of the reals; plain and factored ones may have 8 bits (core/float8.hpp)
  bool coded() const { return by_table() || coding == scale_coding::linear; }
  bool by_table() const { return coding == scale_coding::dynamic || coding == scale_coding::table; }
};

/// The scales of blocks. In the forms with a table one that is far below the mean may come out slightly
/// negative: that is its value in bitsandbytes too.
class block_scales {
 public:
  block_scales() = default;
  block_scales(std::span<const float> scales, const scale_rule& rule)
      : rule_(rule), size_(static_cast<index_t>(scales.size())) {
    require(rule.coding != scale_coding::table, "block_scales: coding", "table", "one that fits its levels");
    check("block_scales");
    if (rule.coding == scale_coding::plain) {
      reals_ = store_as(rule.type, scales);
      return;
    }
    if (rule.coding == scale_coding::factored) {
      float most = 0;
      for (const float s : scales) most = std::max(most, s);
      const float factor = most > 0 ? most / largest_of(rule.type) : 1.0F;
      std::vector<float> rest(scales.begin(), scales.end());
      // the largest one may come out an ulp above the range
      for (float& s : rest) s = std::min(s / factor, largest_of(rule.type));
      reals_ = store_as(rule.type, rest);
      factor_.push_back(factor);
      return;
    }
    const bool dynamic = rule.coding == scale_coding::dynamic;
    float offset = 0.0F;
    if (size_ > 0 && dynamic) {
      double sum = 0;
      for (const float s : scales) sum += static_cast<double>(s);
      offset = static_cast<float>(sum / static_cast<double>(size_));
    } else if (size_ > 0) {
      offset = *std::min_element(scales.begin(), scales.end());
    }
    offset_.push_back(offset);
    std::vector<float> largest(static_cast<std::size_t>(blocks()));
    std::vector<std::uint8_t> codes(scales.size());
    const auto table = dynamic ? dynamic_levels(true) : level_table();
    for (index_t b = 0; b < blocks(); ++b) {
      const auto first = static_cast<std::size_t>(b * rule.block_size),
                 last = std::min(scales.size(), first + static_cast<std::size_t>(rule.block_size));
      float& most = largest[static_cast<std::size_t>(b)];
      for (std::size_t i = first; i < last; ++i) most = std::max(most, std::abs(scales[i] - offset));
      most = round_to(rule.type, most, "block_scales: largest scale");
      for (std::size_t i = first; i < last; ++i) {
        const float x = scales[i] - offset;
        if (dynamic)
          codes[i] = table.code(most > 0 ? x / most : 0.0F);
        else if (most > negligible)
          codes[i] =
              static_cast<std::uint8_t>(std::clamp(round_half_even(x * steps() / most), 0.0F, steps()));
      }
    }
    reals_ = store_as(rule.type, largest);
    codes_ = pack_bits(rule.bits, codes);
  }

  /// Scales factor * stored: those of a factored form as a file holds them.
  static block_scales factored(real_array stored, float factor) {
    block_scales s;
    s.rule_ = {.coding = scale_coding::factored, .type = stored.type()};
    s.size_ = stored.size();
    s.reals_ = std::move(stored);
    s.factor_.push_back(factor);
    s.check("block_scales");
    return s;
  }
  /// Scales as they are, in any type.
  static block_scales plain(real_array stored) {
    block_scales s;
    s.rule_.type = stored.type();
    s.size_ = stored.size();
    s.reals_ = std::move(stored);
    return s;
  }

  /// Scales offset + largest[b] * levels[code], as a file holds them. @param largest of each block of
  /// `block_size`; @param levels 256 finite numbers
  static block_scales from_table(std::span<const std::uint8_t> codes, real_array largest, float offset,
                                 index_t block_size, std::vector<float> levels) {
    block_scales s;
    const bool dynamic = levels == dynamic_table().values();
    s.rule_ = {.coding = dynamic ? scale_coding::dynamic : scale_coding::table,
               .block_size = block_size,
               .type = largest.type()};
    s.size_ = static_cast<index_t>(codes.size());
    if (!dynamic) s.levels_ = std::move(levels);
    s.check("block_scales");
    require(largest.size() == s.blocks(), "block_scales: number of largest scales", largest.size(),
            s.blocks());
    s.codes_.assign(codes.begin(), codes.end());
    s.reals_ = std::move(largest);
    s.offset_.push_back(offset);
    return s;
  }

  index_t size() const { return size_; }
  const scale_rule& rule() const { return rule_; }
  /// Of the coded forms: code of each scale, largest distance from the offset of each block, offset.
  std::vector<std::uint8_t> codes() const {
    std::vector<std::uint8_t> q(rule_.coded() ? static_cast<std::size_t>(size_) : 0);
    if (!q.empty()) unpack_bits(rule_.bits, codes_, 0, q);
    return q;
  }
  const real_array& reals() const { return reals_; }
  /// Of the factored form; else 1.
  float factor() const { return factor_.empty() ? 1.0F : factor_.front(); }
  float offset() const { return offset_.empty() ? 0.0F : offset_.front(); }
  /// Of the forms with a table: its 256 levels.
  const std::vector<float>& levels() const { return levels_.empty() ? dynamic_table().values() : levels_; }

  /// out[i] = scale first + i.
  void read(index_t first, std::span<float> out) const {
    if (!rule_.coded()) {
      reals_.read(first, out);
      if (rule_.coding == scale_coding::factored)
        for (float& s : out) s *= factor();
      return;
    }
    std::vector<std::uint8_t> q(out.size());
    unpack_bits(rule_.bits, codes_, static_cast<std::size_t>(first), q);
    const auto& level = levels();
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float most = reals_[(first + static_cast<index_t>(i)) / rule_.block_size];
      out[i] = rule_.by_table() ? level[q[i]] * most + offset()
                                : static_cast<float>(q[i]) * most / steps() + offset();
    }
  }

  /// Part of the owner's description: the owner knows how many scales there are.
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a, index_t size) {
    a.attribute("scale_coding", self.rule_.coding);
    if constexpr (Archive::loading) self.size_ = size;
    if (self.rule_.coding == scale_coding::plain) {
      a.any_reals("scales", self.reals_, {size});
    } else if (self.rule_.coding == scale_coding::factored) {
      a.any_reals("scales", self.reals_, {size});
      a.tensor("scale_factor", self.factor_, {1});
    } else {
      a.attribute("scale_bits", self.rule_.bits);
      a.attribute("scale_block_size", self.rule_.block_size);
      if constexpr (Archive::loading) self.check(a.in.where());
      a.tensor("scales", self.reals_, {self.blocks()});
      a.tensor("scale_codes", self.codes_,
               {static_cast<index_t>(packed_bytes(self.rule_.bits, static_cast<std::size_t>(size)))});
      a.tensor("scale_offset", self.offset_, {1});
      if (self.rule_.coding == scale_coding::table) a.tensor("scale_levels", self.levels_, {256});
    }
    if constexpr (Archive::loading) {
      self.rule_.type = self.reals_.type();
      self.check(a.in.where());
    }
  }

 private:
  /// LQ-LoRA's: below it all codes are 0.
  static constexpr float negligible = 1.0F / (1 << 24);

  static const level_table& dynamic_table() {
    static const level_table table = dynamic_levels(true);
    return table;
  }
  float steps() const { return static_cast<float>((1 << rule_.bits) - 1); }
  index_t blocks() const { return size_ / rule_.block_size + (size_ % rule_.block_size != 0); }
  void check(std::string_view where) const {
    require(rule_.bits >= 1 && rule_.bits <= 8, concat(where, ": scale_bits"), rule_.bits, "1 .. 8");
    require(!rule_.by_table() || rule_.bits == 8, concat(where, ": scale_bits"), rule_.bits,
            "8 for codes of a table");
    require(levels_.empty() || levels_.size() == 256, concat(where, ": scale_levels"), levels_.size(), 256);
    for (std::size_t i = 0; i < levels_.size(); ++i)
      require(std::isfinite(levels_[i]), concat(where, ": scale_levels[", i, "]"), levels_[i],
              "a finite number");
    require(rule_.block_size >= 1, concat(where, ": scale_block_size"), rule_.block_size, "at least 1");
    if (rule_.coded()) require_wide_real(rule_.type, concat(where, ": type of the largest scales"));
    if (rule_.coding != scale_coding::factored) return;
    require(rule_.type == dtype::f8_e4m3 || rule_.type == dtype::f8_e5m2 || rule_.type == dtype::f16,
            concat(where, ": type of factored scales"), name(rule_.type), "F8_E4M3, F8_E5M2 or F16");
    require(std::isfinite(factor()), concat(where, ": scale_factor"), factor(), "a finite number");
  }

  scale_rule rule_;
  index_t size_ = 0;
  real_array reals_;  // the scales, or the largest of each block
  std::vector<std::uint8_t> codes_;
  std::vector<float> levels_;  // 256 with a table of its own
  std::vector<float> offset_;  // one value in the coded forms
  std::vector<float> factor_;  // one in the factored form
};

}  // namespace tersor::op
