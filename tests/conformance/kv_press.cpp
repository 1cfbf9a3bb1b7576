// tersor - conformance: scores, budgets and selections against NVIDIA/kvpress
// SPDX-License-Identifier: MIT
#include <tersor/kv/adakv.hpp>
#include <tersor/kv/cache.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/expected.hpp>
#include <tersor/kv/h2o.hpp>
#include <tersor/kv/keydiff.hpp>
#include <tersor/kv/knorm.hpp>
#include <tersor/kv/pyramid.hpp>
#include <tersor/kv/streaming.hpp>
#include <tersor/kv/tova.hpp>

#include "vectors.hpp"

namespace kv_press_tests {

namespace kv = tersor::kv;
using tersor::index_t;
using tersor::matrix;

const conformance::technique press{
    "kv_press",
    {"compression_ratio", "n_kept", "n_safe", "window_size", "kernel_size", "use_covariance", "use_vnorm",
     "epsilon", "n_future_positions", "n_sink", "base", "alpha_safeguard", "columns", "B", "H", "Hkv", "T",
     "D",
     // of presses that are reported as skipped
     "leverage_type", "use_local_approximation", "local_window_size", "num_sinks", "lag_size",
     "cross_scoring", "chunk_size", "sketch_dimension", "first_stage_ratio", "chunk_length",
     "key_channel_compression_ratio", "block_size", "similarity_threshold", "merge_fraction", "queries"}};

/// The inputs of a case, [B, heads, T, D] each; zeros where it has none.
struct inputs {
  index_t batches, tokens, dim;
  kv::attention_layout layout;
  std::vector<float> q, k, v;

  explicit inputs(const conformance::test_case& c)
      : batches(c.option<index_t>("B", 1)),
        tokens(c.option<index_t>("T", 0)),
        dim(c.option<index_t>("D", 1)) {
    layout.heads = c.option<index_t>("H", 1);
    layout.kv_heads = c.option<index_t>("Hkv", layout.heads);
    layout.head_dim = dim;
    layout.rotary = tersor::kernel::rotary(tersor::kernel::rotary::base_frequencies(dim, 10000.0));
    const auto read = [&](const char* role, index_t heads) {
      if (c.has_input(role)) return c.input_vector(role);
      return std::vector<float>(static_cast<std::size_t>(batches * heads * tokens * dim));
    };
    k = read("k", layout.kv_heads);
    v = read("v", layout.kv_heads);
    q = read(c.has_input("q_pre") ? "q_pre" : "q", layout.heads);
    if (!c.has_input("q_pre")) return;
    for (index_t h = 0; h < batches * layout.heads; ++h)
      layout.rotary.apply({q.data() + h * tokens * dim, {tokens, dim}}, 1, 0);
  }
  kv::prompt prompt(index_t batch) const {
    const auto part = [&](const std::vector<float>& x, index_t heads) {
      return kv::heads_view<const float>(x.data() + batch * heads * tokens * dim, {heads, tokens, dim});
    };
    return {layout, part(k, layout.kv_heads), part(v, layout.kv_heads), part(q, layout.heads)};
  }
};

/// Tokens that a case keeps, for each head of each batch.
template <class Policy>
std::vector<std::vector<index_t>> kept_of(const Policy& policy, const inputs& in) {
  std::vector<std::vector<index_t>> kept;
  for (index_t b = 0; b < in.batches; ++b)
    for (auto& head : kv::any_eviction(policy).select(in.prompt(b)).kept) kept.push_back(std::move(head));
  return kept;
}

void check_kept(const conformance::test_case& c, const std::vector<std::vector<index_t>>& kept) {
  const auto official = c.output_integers("kept");
  const auto sure = c.has_output("sure") ? c.output_integers("sure") : std::vector<std::int32_t>{};
  const std::size_t per_head = official.size() / kept.size(),
                    tokens = static_cast<std::size_t>(c.option<index_t>("T", 0));
  for (std::size_t h = 0; h < kept.size(); ++h) {
    REQUIRE(kept[h].size() == per_head);
    if (sure.empty()) {
      CHECK(conformance::mismatches(kept[h], std::span(official).subspan(h * per_head, per_head)) == 0);
      continue;
    }
    for (std::size_t t = 0; t < tokens; ++t)
      if (const auto known = sure[h * tokens + t]; known != 2)
        CHECK(std::ranges::count(kept[h], static_cast<index_t>(t)) == known);
  }
}

/// Scores and what they keep. Tokens that must stay have max + 1 there.
template <class Policy>
void check_scores(const conformance::test_case& c, const Policy& policy) {
  const inputs in(c);
  const auto official = c.output_vector("score");
  std::vector<float> ours;
  for (index_t b = 0; b < in.batches; ++b) {
    const auto s = policy.scores(in.prompt(b));
    ours.insert(ours.end(), s.values().begin(), s.values().end());
  }
  REQUIRE(ours.size() == official.size());
  float largest = -std::numeric_limits<float>::infinity();
  for (const float x : ours)
    if (x != kv::always_kept) largest = std::max(largest, x);
  double scale = 0, worst = 0;  // of the scores that are not replaced
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const auto theirs = static_cast<double>(official[i]);
    if (ours[i] == kv::always_kept) {
      CHECK(std::abs(theirs - static_cast<double>(largest) - 1) <= c.tolerance("score"));
      continue;
    }
    scale = std::max(scale, std::abs(theirs));
    worst = std::max(worst, std::abs(static_cast<double>(ours[i]) - theirs));
  }
  CHECK(worst <= c.tolerance("score") * scale);
  check_kept(c, kept_of(policy, in));
}

kv::snapkv snapkv_of(const conformance::test_case& c) {
  return {.capacity = 0,
          .ratio = c.option("compression_ratio", 0.0),
          .window = c.option<index_t>("window_size", 64),
          .kernel = c.option<index_t>("kernel_size", 5)};
}

void check_streaming(const conformance::test_case& c) {
  const inputs in(c);
  const index_t sinks = c.option<index_t>("n_sink", 4),
                count = kv::kept_count(in.tokens, c.option("compression_ratio", 0.0));
  const auto kept = kept_of(kv::streaming{.sinks = sinks, .window = count - sinks}, in);
  check_kept(c, kept);
  const auto score = c.output_vector("score");
  for (std::size_t i = 0; i < score.size(); ++i) {
    const auto tokens = static_cast<std::size_t>(in.tokens);
    CHECK((score[i] > 0.5F) == (std::ranges::count(kept[i / tokens], static_cast<index_t>(i % tokens)) == 1));
  }
}

void check_adakv(const conformance::test_case& c) {
  const inputs in(c);
  REQUIRE(c.option<std::string>("base", "snapkv") == "snapkv");
  const kv::adakv options{.ratio = c.option("compression_ratio", 0.0),
                          .alpha = c.option("alpha_safeguard", 0.2),
                          .window = c.option<index_t>("window_size", 64),
                          .kernel = c.option<index_t>("kernel_size", 5)};
  const auto kept = kept_of(options, in);
  std::vector<std::int32_t> mask(static_cast<std::size_t>(in.tokens) * kept.size()), counts;
  for (std::size_t h = 0; h < kept.size(); ++h) {
    counts.push_back(static_cast<std::int32_t>(kept[h].size()));
    for (const index_t t : kept[h])
      mask[h * static_cast<std::size_t>(in.tokens) + static_cast<std::size_t>(t)] = 1;
  }
  CHECK(conformance::mismatches(counts, c.output_integers("kept_per_head")) == 0);
  CHECK(conformance::mismatches(mask, c.output_integers("kept_mask")) == 0);
}

/// Knorm whose kept tokens move up to the positions inside the cache.
struct contiguous_knorm : kv::knorm {
  bool contiguous = true;
  explicit contiguous_knorm(double share) : kv::knorm{.ratio = share} {}
};

template <class Policy>
void check_rerotation(const conformance::test_case& c, const Policy& policy) {
  const inputs in(c);
  check_kept(c, kept_of(policy, in));
  std::vector<float> keys;
  for (index_t b = 0; b < in.batches; ++b) {
    const auto p = in.prompt(b);
    kv::any_cache cache(in.layout, kv::any_eviction(policy),
                        kv::any_codec(kv::dense{.type = kv::element_type::f32}));
    cache.prefill(p.keys, p.values, p.queries);
    for (index_t h = 0; h < in.layout.kv_heads; ++h) {
      const auto k = cache.to_dense(kv::side::keys, h);
      keys.insert(keys.end(), k.values().begin(), k.values().end());
    }
  }
  const auto official = c.output_vector("K_out");
  CHECK(conformance::max_difference(keys, official, conformance::max_abs(official)) <= c.tolerance("K_out"));
}

void check_pyramid(const conformance::test_case& c) {
  const auto columns = c.config().at("columns").get<std::vector<std::string>>();
  const auto table = c.output_integers("table");
  for (std::size_t row = 0; row < table.size() / columns.size(); ++row) {
    const auto value = [&](std::string_view name) {
      const auto at = static_cast<std::size_t>(std::ranges::find(columns, name) - columns.begin());
      REQUIRE(at < columns.size());
      return static_cast<index_t>(table[row * columns.size() + at]);
    };
    kv::attention_layout layout{.heads = 1, .kv_heads = 1, .head_dim = 1};
    layout.layers = value("layers");
    layout.layer = value("layer");
    const kv::pyramid options{.ratio = static_cast<double>(value("compression_ratio_percent")) / 100,
                              .beta = static_cast<double>(value("beta")),
                              .window = value("window")};
    INFO("row " << row);
    CHECK(options.budget(layout, value("tokens")) == value("budget"));
  }
}

void check(const conformance::test_case& c, std::set<std::string>& skipped) {
  const auto run = c.description().at("run").get<std::string>();
  const auto name = run.substr(run.find("::") + 2);
  const double ratio = c.option("compression_ratio", 0.0);
  const auto base = c.option<std::string>("base", "");
  if (name == "StreamingLLMPress")
    check_streaming(c);
  else if (name == "SnapKVPress")
    check_scores(c, snapkv_of(c));
  else if (name == "TOVAPress")
    check_scores(c, kv::tova{.ratio = ratio});
  else if (name == "KnormPress")
    check_scores(c, kv::knorm{.ratio = ratio});
  else if (name == "KeyDiffPress")
    check_scores(c, kv::keydiff{.ratio = ratio});
  else if (name == "ObservedAttentionPress")
    check_scores(c, kv::h2o{.ratio = ratio, .recent = 0, .normalise = true, .rolling = false});
  else if (name == "ExpectedAttentionPress")
    check_scores(c, kv::expected{.ratio = ratio,
                                 .sinks = c.option<index_t>("n_sink", 4),
                                 .future = c.option<index_t>("n_future_positions", 512),
                                 .covariance = c.option("use_covariance", true),
                                 .value_norm = c.option("use_vnorm", true),
                                 .epsilon = c.option("epsilon", 0.0)});
  else if (name == "AdaKVPress")
    check_adakv(c);
  else if (name == "KeyRerotationPress" && base == "knorm")
    check_rerotation(c, contiguous_knorm(ratio));
  else if (name == "KeyRerotationPress" && base == "streaming")
    check_rerotation(c, kv::streaming{.window = kv::kept_count(c.option<index_t>("T", 0), ratio) - 4,
                                      .rolling = false,
                                      .contiguous = true});
  else if (name == "PyramidKVPress.get_layer_budget")
    check_pyramid(c);
  else if (skipped.insert(name).second)
    WARN("skipped: " << name << " (no policy of that name yet)");
}

TEST_CASE("conformance: kv_press") {
  std::set<std::string> skipped;
  conformance::for_each_case(press, [&](const conformance::test_case& c) { check(c, skipped); });
}

}  // namespace kv_press_tests
