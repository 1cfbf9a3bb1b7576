// tersor - conformance: SnapKV against FasterDecoding/SnapKV snapkv_utils.py
// SPDX-License-Identifier: MIT
#include <tersor/kv/snapkv.hpp>

#include "vectors.hpp"

namespace kv_snapkv_tests {

namespace kv = tersor::kv;
using tersor::index_t;
using tersor::matrix;

const conformance::technique snapkv{"kv_snapkv",
                                    {"window", "capacity", "kernel", "pooling", "gqa", "B", "H", "T", "D"}};

/// The program chooses a set for each query head; its votes are sums over the window.
void check(const conformance::test_case& c) {
  const auto heads = c.option<index_t>("H", 1), tokens = c.option<index_t>("T", 0),
             dim = c.option<index_t>("D", 1), batches = c.option<index_t>("B", 1),
             window = c.option<index_t>("window", 64), capacity = c.option<index_t>("capacity", 320);
  const kv::snapkv options{
      .capacity = capacity,
      .window = window,
      .kernel = c.option<index_t>("kernel", 5),
      .pooling = c.choice<kv::vote_pooling>(
          "pooling", "avgpool", {{"avgpool", kv::vote_pooling::avg}, {"maxpool", kv::vote_pooling::max}}),
      .reduce = kv::group_reduction::none};
  const auto k = c.input_vector("K");
  const auto q = c.has_input("Q")
                     ? c.input_vector("Q")
                     : std::vector<float>(static_cast<std::size_t>(batches * heads * tokens * dim));
  const index_t kv_heads = c.input_shape("K")[1], prefix = tokens - window;
  std::vector<float> votes, pooled;
  std::vector<std::vector<index_t>> kept;
  for (index_t b = 0; b < batches; ++b) {
    const auto keys =
        kv::repeat_heads({k.data() + b * kv_heads * tokens * dim, {kv_heads, tokens, dim}}, heads / kv_heads);
    const kv::heads_view<const float> all(keys.data(), {heads, tokens, dim}),
        queries(q.data() + b * heads * tokens * dim, {heads, tokens, dim});
    const kv::attention_layout layout{.heads = heads, .kv_heads = heads, .head_dim = dim};
    const kv::prompt p{layout, all, all, queries};
    auto alone = options;
    alone.kernel = 1;
    const auto plain = alone.scores(p), near = options.scores(p);
    for (index_t h = 0; h < heads; ++h)
      for (index_t t = 0; t < prefix; ++t) {
        votes.push_back(plain(h, t) * static_cast<float>(window));
        pooled.push_back(near(h, t) * static_cast<float>(window));
      }
    for (auto& head : options.select(p).kept) kept.push_back(std::move(head));
  }
  if (c.has_output("tokens_kept")) {
    for (const auto& head : kept)
      CHECK(static_cast<std::int32_t>(head.size()) == c.output_integers("tokens_kept").front());
    return;
  }
  const auto official_votes = c.output_vector("votes"), official_pooled = c.output_vector("pooled");
  CHECK(conformance::max_difference(votes, official_votes, conformance::max_abs(official_votes)) <=
        c.tolerance("votes"));
  CHECK(conformance::max_difference(pooled, official_pooled, conformance::max_abs(official_pooled)) <=
        c.tolerance("pooled"));
  // the window stays; of the prefix, what the program kept, or where `sure` is 2 as many in its place
  const auto official = c.output_integers("kept");
  const auto sure = c.has_output("sure") ? c.output_integers("sure") : std::vector<std::int32_t>{};
  const auto per_head = static_cast<std::size_t>(capacity - window);
  REQUIRE(official.size() == kept.size() * per_head);
  for (std::size_t h = 0; h < kept.size(); ++h) {
    REQUIRE(kept[h].size() == static_cast<std::size_t>(std::min(capacity, tokens)));
    for (std::size_t i = 0; i < static_cast<std::size_t>(window); ++i)
      CHECK(kept[h][per_head + i] == prefix + static_cast<index_t>(i));
    const auto chosen = std::span<const index_t>(kept[h]).first(per_head);
    if (sure.empty()) {
      CHECK(conformance::mismatches(chosen, std::span(official).subspan(h * per_head, per_head)) == 0);
      continue;
    }
    for (index_t t = 0; t < prefix; ++t) {
      const auto known = sure[h * static_cast<std::size_t>(prefix) + static_cast<std::size_t>(t)];
      if (known != 2) CHECK(std::ranges::count(chosen, t) == known);
    }
  }
}

TEST_CASE("conformance: kv_snapkv") { conformance::for_each_case(snapkv, check); }

}  // namespace kv_snapkv_tests
