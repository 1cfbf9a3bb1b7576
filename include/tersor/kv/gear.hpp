// tersor - GEAR: a low-bit backbone, its largest errors exactly, and a low-rank fit of the rest
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/random.hpp>
#include <tersor/kv/gear_block.hpp>

namespace tersor::kv {

/// How GEAR's backbone groups values.
enum class gear_backbone {
  kivi,      ///< keys: `group_size` tokens of a channel; values: `group_size` entries of a token, all heads
  kcvt,      ///< keys: all tokens of the block in a channel; values: the whole token, all heads
  per_token  ///< keys and values: `group_size` entries of a token, all heads
};
constexpr auto option_names(gear_backbone) {
  using row = std::pair<std::string_view, gear_backbone>;
  return std::array<row, 3>{{{"kivi", gear_backbone::kivi},
                             {"kcvt", gear_backbone::kcvt},
                             {"per_token", gear_backbone::per_token}}};
}

/// The blocks of one side of a cache, in order.
class gear_tokens final : public body {
 public:
  /// @param decode_rank the rank of blocks that come from decoded tokens.
  gear_tokens(index_t heads, index_t head_dim, gear_options options, index_t decode_rank, std::uint64_t seed)
      : heads_(heads), head_dim_(head_dim), options_(options), decode_rank_(decode_rank), seed_(seed) {}

  index_t heads() const override { return heads_; }
  index_t head_dim() const override { return head_dim_; }
  index_t tokens() const override {
    index_t n = 0;
    for (const auto& b : blocks_) n += b.tokens();
    return n;
  }
  const std::vector<gear_block>& blocks() const { return blocks_; }
  void append(heads_view<const float> rows, bool is_prompt, const context& ctx) override {
    const index_t rank = std::min({is_prompt ? options_.rank : decode_rank_, rows.extents[1], head_dim_});
    const auto block = random_generator(seed_).fork(static_cast<std::uint64_t>(blocks_.size()));
    std::vector<matrix<float>> start;
    for (index_t h = 0; h < heads_; ++h) {
      auto uniform = block.fork(static_cast<std::uint64_t>(h));
      matrix<float> p(head_dim_, rank);
      for (float& x : p.values()) x = static_cast<float>(uniform.uniform());
      start.push_back(std::move(p));
    }
    blocks_.emplace_back(rows, options_, std::move(start), ctx);
  }
  void read(index_t head, index_t first, matrix_view<float> out) const override {
    for_each_block(first, out.rows(), [&](const gear_block& b, index_t from, index_t at, index_t n) {
      b.read(head, from, out.rows(at, n));
    });
  }
  using segment::accumulate;
  using segment::scores;
  void scores(index_t head, index_t first, matrix_view<const float> q,
              matrix_view<float> out) const override {
    for_each_block(first, out.cols(), [&](const gear_block& b, index_t from, index_t at, index_t n) {
      b.scores(head, from, q, out.block(0, at, q.rows(), n));
    });
  }
  void accumulate(index_t head, index_t first, matrix_view<const float> a,
                  matrix_view<float> out) const override {
    for_each_block(first, a.cols(), [&](const gear_block& b, index_t from, index_t at, index_t n) {
      b.accumulate(head, from, a.block(0, at, a.rows(), n), out);
    });
  }
  op::storage_report storage() const override {
    op::storage_report report;
    for (const auto& b : blocks_)
      for (const auto& p : b.storage().parts) add_storage(report, p.name, p.type, p.shape.front(), p.bytes);
    return report;
  }
  std::unique_ptr<body> clone() const override { return std::make_unique<gear_tokens>(*this); }

 private:
  /// f(block, its first token, the place in the run, tokens) for what [first, first + count) touches.
  template <class F>
  void for_each_block(index_t first, index_t count, const F& f) const {
    index_t begin = 0;  // of the block
    for (const auto& b : blocks_) {
      const index_t low = std::max(first, begin), high = std::min(first + count, begin + b.tokens());
      if (low < high) f(b, low - begin, low - first, high - low);
      begin += b.tokens();
    }
  }

  index_t heads_, head_dim_;
  gear_options options_;
  index_t decode_rank_;
  std::uint64_t seed_;
  std::vector<gear_block> blocks_;
};

/// GEAR (arXiv:2403.05527, official code opengear-project/GEAR): X = D + L + S. S holds the largest and the
/// smallest entries of each vector (a key channel over the block's tokens, a value token over all heads)
/// exactly; D is the low-bit backbone of what is left, with the vector's mean in their place; L is a low-rank
/// fit of each head's residual. `outliers = 0` is GEAR-L; `outlier_scope = block` spends the exact entries
/// where the values spread most: on our model that is what makes them worth their bytes
/// (docs/reference_numbers.md). The prompt is one block, then each full buffer of `buffer` tokens; a block is
/// compressed once. KCVT in the official scripts: bits = 4, backbone = kcvt, buffer = 20.
///
/// Differences, where the program errs: 2^b - 1 levels (not b² - 1) with outliers; m = int(outliers n / 2)
/// with n the vector's own length, so keys of short blocks keep no exact entries (the program takes m from
/// the width of a token); factors are orthonormalised in every round. Where heads keep different numbers of
/// tokens, groups and vectors of a token end at its head. The rank is at most min(tokens, head_dim).
///
/// Cost: of a block, 4 tokens head_dim rank loops per head, and a sort of each vector; of attention, the
/// backbone's decoding and rank (tokens + head_dim) per query. Guarantee: the residual is no larger than that
/// of D
/// + S, as L is a projection (up to the rounding of its stored factors). Bits per element: bits + 32 /
/// group_size
/// + 16 rank (1 / T + 1 / head_dim) + 32 outliers.
///
///     tersor::kv::any_cache cache(layout, tersor::kv::full{} | tersor::kv::gear{.bits = 2});
struct gear {
  int bits = 2;
  gear_backbone backbone = gear_backbone::kivi;
  index_t group_size = 64;
  double outliers = 0.02;
  kv::outlier_scope outlier_scope = kv::outlier_scope::vector;
  index_t rank = 4;
  index_t decode_rank = 2;
  int loops = 3;
  index_t buffer = 64;
  index_t residual = 0;
  dtype scale_type = dtype::f16;
  dtype value_type = dtype::f16;
  dtype tail_type = dtype::f16;

  static constexpr solve::stage_kind kind = solve::stage_kind::codec;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "gear",
      .family = "kv",
      .title = "Low-bit backbone, exact outliers and a low-rank residual",
      .arxiv = "2403.05527",
      .header = "tersor/kv/gear.hpp",
      .guarantee = "the low-rank part never adds to the error of backbone and outliers"};
  static constexpr auto options() {
    return std::tuple{
        option{"bits",
               &gear::bits,
               {.help = "width of the backbone's codes", .symbol = "b", .min = 1, .max = 8}},
        option{"backbone", &gear::backbone, {.help = "how the backbone groups values"}},
        option{
            "group_size",
            &gear::group_size,
            {.help = "values that share a scale (kivi, per_token)", .symbol = "g_s", .min = 1, .max = 1e6}},
        option{"outliers",
               &gear::outliers,
               {.help = "share of a vector that is kept exactly, half at each end; 0: GEAR-L",
                .symbol = "s",
                .min = 0,
                .max = 1}},
        option{
            "outlier_scope",
            &gear::outlier_scope,
            {.help = "where outliers are looked for: each channel (keys) or token (values) as released, or "
                     "all of a block, by the distance from the mean of these"}},
        option{
            "rank", &gear::rank, {.help = "of the prompt's residual", .symbol = "r_p", .min = 0, .max = 1e6}},
        option{"decode_rank",
               &gear::decode_rank,
               {.help = "of the residual of a decoded block", .symbol = "r_g", .min = 0, .max = 1e6}},
        option{"loops", &gear::loops, {.help = "rounds of the power iteration", .min = 1, .max = 100}},
        option{"buffer",
               &gear::buffer,
               {.help = "newest tokens in full precision, compressed together",
                .symbol = "n_b",
                .min = 1,
                .max = 1e6}},
        option{"residual",
               &gear::residual,
               {.help = "newest tokens that stay in full precision beside the buffer; 0 as released",
                .min = 0,
                .max = 1e6}},
        option{"scale_type", &gear::scale_type, {.help = "stored type of scales and minimums"}},
        option{"value_type", &gear::value_type, {.help = "stored type of outliers and factors"}},
        option{"tail_type", &gear::tail_type, {.help = "stored type of the buffer"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(backbone != gear_backbone::kivi || buffer % group_size == 0, "gear: buffer", buffer,
            "a multiple of group_size, ", group_size);
  }

  /// What is done to the blocks of a side.
  gear_options block_options(side s) const {
    const bool along_tokens = s == side::keys && backbone != gear_backbone::per_token;
    return {.bits = bits,
            .axis = along_tokens ? group_axis::tokens : group_axis::channels,
            .group_size = backbone == gear_backbone::kcvt ? 0 : group_size,
            .vectors = s,
            .outliers = outliers,
            .outlier_scope = outlier_scope,
            .rank = rank,
            .loops = loops,
            .scale_type = scale_type,
            .value_type = value_type};
  }
  std::unique_ptr<body> open(side s, index_t heads, index_t head_dim, const context& ctx = {}) const {
    validate();
    return std::make_unique<gear_tokens>(heads, head_dim, block_options(s), decode_rank, ctx.seed);
  }
  /// Keys and values alike: what the groups of keys leave of a prompt waits in the buffer.
  flush_rule rule(side) const {
    return {
        .keep = residual, .prompt_lump = backbone == gear_backbone::kivi ? group_size : 1, .lump = buffer};
  }
  dtype tail() const { return tail_type; }
  bool joins_heads() const { return true; }
  bool drops() const { return false; }
};

}  // namespace tersor::kv
