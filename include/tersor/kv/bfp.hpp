// tersor - block floating point cache, with channels of similar size in a block
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/bits.hpp>
#include <tersor/kv/codec.hpp>
#include <tersor/kv/key_order.hpp>

namespace tersor::kv {

/// The exponent of a block: floor(log2 max |x|) in -127 .. 127; -127 for a block of zeros.
inline int block_exponent(std::span<const float> x) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::abs(v));
  return largest == 0 ? -127 : std::max(std::ilogb(largest), -127);
}
/// x on the grid of a block: the nearest multiple of 2^(exponent - bits + 2), ties to even, at most
/// 2^(bits-1) - 1 of them.
inline int block_mantissa(float x, int exponent, int bits) {
  const int most = (1 << (bits - 1)) - 1;
  const double q = std::nearbyint(std::ldexp(static_cast<double>(x), bits - 2 - exponent));
  return static_cast<int>(std::min(std::max(q, -static_cast<double>(most)), static_cast<double>(most)));
}
/// Rounds x to block floating point in place, blocks of `block` entries: for queries, which the paper keeps
/// at 8 bits.
inline void round_to_blocks(std::span<float> x, int bits, index_t block) {
  require(bits >= 2 && bits <= 8, "round_to_blocks: bits", bits, "2 .. 8");
  require(block >= 1, "round_to_blocks: block", block, "at least 1");
  for (std::size_t first = 0; first < x.size(); first += static_cast<std::size_t>(block)) {
    const auto part = x.subspan(first, std::min(static_cast<std::size_t>(block), x.size() - first));
    const int e = block_exponent(part);
    for (float& v : part) v = std::ldexp(static_cast<float>(block_mantissa(v, e, bits)), e - bits + 2);
  }
}

/// Tokens in block floating point: blocks of consecutive channels (the last of a head may be shorter) share
/// an 8-bit exponent. Keys may be stored in an order of channels that is taken from the prompt.
class bfp_tokens final : public body {
 public:
  bfp_tokens(index_t heads, index_t head_dim, int bits, index_t block, bool sort)
      : head_dim_(head_dim),
        block_(block),
        bits_(bits),
        sort_(sort),
        row_bytes_(packed_bytes(bits, static_cast<std::size_t>(head_dim))),
        codes_(static_cast<std::size_t>(heads)),
        exponents_(codes_.size()) {}

  index_t heads() const override { return static_cast<index_t>(codes_.size()); }
  index_t head_dim() const override { return head_dim_; }
  index_t tokens() const override { return tokens_; }
  index_t blocks() const { return (head_dim_ + block_ - 1) / block_; }
  void read(index_t head, index_t first, matrix_view<float> out) const override {
    const auto h = static_cast<std::size_t>(head);
    std::vector<std::uint8_t> code(static_cast<std::size_t>(head_dim_));
    const int offset = (1 << (bits_ - 1)) - 1;
    for (index_t t = 0; t < out.rows(); ++t) {
      unpack_bits(bits_,
                  std::span<const std::uint8_t>(codes_[h]).subspan(
                      static_cast<std::size_t>(first + t) * row_bytes_, row_bytes_),
                  0, code);
      for (index_t b = 0; b < blocks(); ++b) {
        const int e = exponents_[h][static_cast<std::size_t>((first + t) * blocks() + b)] - 127;
        const float unit = std::ldexp(1.0F, e - bits_ + 2);
        for (index_t j = b * block_; j < std::min(head_dim_, (b + 1) * block_); ++j)
          out(t, channel(head, j)) = static_cast<float>(code[static_cast<std::size_t>(j)] - offset) * unit;
      }
    }
  }
  op::storage_report storage() const override {
    op::storage_report report;
    for (std::size_t h = 0; h < codes_.size(); ++h) {
      add_storage(report, "codes", dtype::u8, static_cast<index_t>(codes_[h].size()), codes_[h].size());
      add_storage(report, "exponents", dtype::u8, static_cast<index_t>(exponents_[h].size()),
                  exponents_[h].size());
    }
    for (const auto& o : order_)
      add_storage(report, "order", dtype::u16, static_cast<index_t>(o.size()), 2 * o.size());
    return report;
  }
  void append(heads_view<const float> rows, bool is_prompt, const context& = {}) override {
    if (sort_ && is_prompt && tokens_ == 0) choose_order(rows);
    std::vector<float> sorted(static_cast<std::size_t>(head_dim_));
    std::vector<std::uint8_t> code(sorted.size());
    const int offset = (1 << (bits_ - 1)) - 1;
    for (index_t h = 0; h < heads(); ++h)
      for (index_t t = 0; t < rows.extents[1]; ++t) {
        for (index_t j = 0; j < head_dim_; ++j)
          sorted[static_cast<std::size_t>(j)] = rows(h, t, channel(h, j));
        for (index_t b = 0; b < blocks(); ++b) {
          const index_t begin = b * block_, end = std::min(head_dim_, begin + block_);
          const int e = block_exponent(std::span(sorted).subspan(static_cast<std::size_t>(begin),
                                                                 static_cast<std::size_t>(end - begin)));
          exponents_[static_cast<std::size_t>(h)].push_back(static_cast<std::uint8_t>(e + 127));
          for (index_t j = begin; j < end; ++j)
            code[static_cast<std::size_t>(j)] = static_cast<std::uint8_t>(
                block_mantissa(sorted[static_cast<std::size_t>(j)], e, bits_) + offset);
        }
        const auto bytes = pack_bits(bits_, code);
        auto& all = codes_[static_cast<std::size_t>(h)];
        all.insert(all.end(), bytes.begin(), bytes.end());
      }
    tokens_ += rows.extents[1];
  }
  void drop(index_t t) override {
    const auto bytes = static_cast<index_t>(row_bytes_);
    for (auto& c : codes_) c.erase(c.begin() + t * bytes, c.begin() + (t + 1) * bytes);
    for (auto& e : exponents_) e.erase(e.begin() + t * blocks(), e.begin() + (t + 1) * blocks());
    --tokens_;
  }
  std::unique_ptr<body> clone() const override { return std::make_unique<bfp_tokens>(*this); }

 private:
  index_t channel(index_t head, index_t place) const {
    return order_.empty() ? place : order_[static_cast<std::size_t>(head)][static_cast<std::size_t>(place)];
  }
  void choose_order(heads_view<const float> rows) {
    for (index_t h = 0; h < heads(); ++h) {
      std::vector<double> squares(static_cast<std::size_t>(head_dim_));
      for (index_t t = 0; t < rows.extents[1]; ++t)
        for (index_t c = 0; c < head_dim_; ++c)
          squares[static_cast<std::size_t>(c)] +=
              static_cast<double>(rows(h, t, c)) * static_cast<double>(rows(h, t, c));
      const auto order = decreasing_order(squares);
      order_.emplace_back(order.begin(), order.end());
    }
  }

  index_t head_dim_, block_, tokens_ = 0;
  int bits_;
  bool sort_;
  std::size_t row_bytes_;
  std::vector<std::vector<std::uint8_t>> codes_;      // of each head, [tokens, row_bytes]
  std::vector<std::vector<std::uint8_t>> exponents_;  // of each head, [tokens, blocks], e + 127
  std::vector<std::vector<std::uint16_t>>
      order_;  // of each head: the channel of each place; empty: as they are
};

/// Block floating point with K-sort (arXiv:2403.20137; no official code): `block` channels of a token share
/// an 8-bit exponent, so a loud channel takes mantissa bits from its neighbours. Keys are stored with
/// channels of similar size side by side: `sort` takes the order from the norms in the prompt and undoes it
/// when keys are read. The paper's own form, which costs nothing at run time, folds the order into the
/// weights: kv/key_order.hpp, then `sort = false`.
///
/// Sorting lowers the relative error of channels whatever their sizes, and the total error where the
/// logarithms of their sizes have a spread of up to about 0.8; beyond that, at 4 bits, loud channels in one
/// block lose more than quiet ones gain.
///
/// Cost: one pass over new tokens; each token is stored by itself. Guarantee: |x - x^| <= 2^(e - bits + 1), e
/// the exponent of the block's largest entry, except for entries that round beyond the largest code, which
/// lose at most twice that. Bits per element: bits + 8 / block (BFP12: 4 bits).
///
///     tersor::kv::any_cache cache(layout, tersor::kv::full{} | tersor::kv::bfp{.bits = 4, .block = 32});
struct bfp {
  int bits = 4;
  int value_bits = 0;
  index_t block = 32;
  bool sort = true;

  static constexpr solve::stage_kind kind = solve::stage_kind::codec;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "bfp",
      .family = "kv",
      .title = "Block floating point with sorted key channels",
      .arxiv = "2403.20137",
      .header = "tersor/kv/bfp.hpp",
      .guarantee =
          "every element is within one step of its block's grid, within half a step below the largest code"};
  static constexpr auto options() {
    return std::tuple{
        option{"bits",
               &bfp::bits,
               {.help = "of a mantissa, its sign included", .symbol = "m", .min = 2, .max = 8}},
        option{"value_bits", &bfp::value_bits, {.help = "of values; 0: as keys", .min = 0, .max = 8}},
        option{"block",
               &bfp::block,
               {.help = "channels that share an exponent", .symbol = "n", .min = 1, .max = 1e6}},
        option{"sort", &bfp::sort, {.help = "store key channels in the order of their size in the prompt"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(value_bits != 1, "bfp: value_bits", value_bits, "0 or 2 .. 8");
  }

  std::unique_ptr<body> open(side s, index_t heads, index_t head_dim, const context& = {}) const {
    validate();
    require(head_dim <= 65536, "bfp: channels of a head", head_dim, "at most 65536");
    const bool keys = s == side::keys;
    return std::make_unique<bfp_tokens>(heads, head_dim, keys || value_bits == 0 ? bits : value_bits, block,
                                        keys && sort);
  }
  flush_rule rule(side) const { return {}; }
  dtype tail() const { return dtype::f32; }  // for one step
  bool joins_heads() const { return false; }
  bool drops() const { return true; }
};

}  // namespace tersor::kv
