// tersor - the KV cache of one layer: an eviction policy, a codec, attention over what they leave
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional

#include <tersor/core/random.hpp>
#include <tersor/kv/attention.hpp>
#include <tersor/kv/codec.hpp>
#include <tersor/kv/eviction.hpp>
#include <tersor/kv/pages.hpp>

namespace tersor::kv {

/// How keys are stored.
enum class key_position {
  rotated,  ///< after rotary embedding, as they come
  plain     ///< before it; rotated when they are read
};
constexpr auto option_names(key_position) {
  using row = std::pair<std::string_view, key_position>;
  return std::array<row, 2>{{{"rotated", key_position::rotated}, {"plain", key_position::plain}}};
}

/// An eviction policy and a codec that work on the same tokens.
struct cache_policy {
  any_eviction eviction;
  any_codec codec;
};
/// `first | second`: the policy chooses, the codec stores what is left.
template <eviction E, codec C>
cache_policy operator|(E first, C second) {
  return {any_eviction(std::move(first)), any_codec(std::move(second))};
}

/// Keys and values of one layer of one sequence, evicted and compressed (no paper: the frame of all
/// techniques of this folder; conventions as in NVIDIA/kvpress, jy-yuan/KIVI and opengear-project/GEAR).
///
/// A prompt is attended to exactly by the caller; `prefill` then selects and encodes. At decode each token is
/// appended to an uncompressed tail, attended to, and flushed by the codec's rule. Keys and queries come as
/// `keys()` says: rotated to `next_position()`, or plain. Attention runs over bodies and tails as they are
/// stored, with one softmax. Results are the same bits for any number of threads. A copy is an
/// independent cache. After an error inside `prefill` or a step a cache is not to be used again.
///
///     tersor::kv::any_cache cache({.heads = 32, .kv_heads = 8, .head_dim = 128, .rotary = rotary},
///                                 tersor::kv::full{} | tersor::kv::kivi{.bits = 2});
///     cache.prefill(keys, values, queries);             // [heads, tokens, head_dim]
///     cache.step(q, k, v, out);                         // one token: [heads, head_dim]
///     double bits = cache.bits_per_element();
class any_cache {
 public:
  any_cache(attention_layout layout, cache_policy policy, key_position keys = key_position::rotated)
      : layout_(std::move(layout)), policy_(std::move(policy)), keys_(keys), table_(layout_.rotary) {
    layout_.validate();
    require(!policy_.eviction.drops() || policy_.codec.drops(), concat(policy_.eviction.id(), ": codec"),
            policy_.codec.id(),
            "a codec that stores each token by itself, because this policy drops tokens one by "
            "one (dense, group, bfp)");
    require(!policy_.eviction.drops() || !policy_.eviction.contiguous() || keys_ == key_position::plain ||
                layout_.rotary.empty(),
            concat(policy_.eviction.id(), ": keys"), option_text<key_position>::format(keys_),
            "plain, because positions move with every token that is dropped");
    assert(!policy_.codec.drops() || !policy_.codec.joins_heads());
    for (const side s : {side::keys, side::values})  // what the codec cannot do with this shape
      (void)policy_.codec.open(s, policy_.codec.joins_heads() ? layout_.kv_heads : 1, layout_.head_dim);
  }
  any_cache(attention_layout layout, any_eviction e, any_codec c, key_position keys = key_position::rotated)
      : any_cache(std::move(layout), cache_policy{std::move(e), std::move(c)}, keys) {}

  const attention_layout& layout() const { return layout_; }
  key_position keys() const { return keys_; }
  const cache_policy& policy() const { return policy_; }
  /// Tokens of the sequence so far, evicted ones included.
  index_t seen() const { return seen_; }
  /// Tokens that are held for a key-value head.
  index_t tokens(index_t kv_head) const {
    if (lanes_.empty()) return 0;
    const auto& l = lane_of(kv_head);
    return l.keys.body->tokens() + l.keys.tail.tokens();
  }
  /// Of those, the ones in the body of a side; the rest are in its tail.
  index_t body_tokens(side s, index_t kv_head) const {
    return lanes_.empty() ? 0 : lane_of(kv_head).at(s).body->tokens();
  }
  /// Original positions of the tokens that are held for a head, ascending.
  std::vector<index_t> kept(index_t kv_head) const {
    if (evicted_) {
      const auto& p = positions_[static_cast<std::size_t>(kv_head)];
      return {p.begin(), p.end()};
    }
    std::vector<index_t> every(static_cast<std::size_t>(seen_));
    std::iota(every.begin(), every.end(), index_t{0});
    return every;
  }
  /// The position to which the next token's key and query are rotated: how many tokens the sequence has, or,
  /// with contiguous positions, how many are held.
  index_t next_position() const { return policy_.eviction.contiguous() ? tokens(0) : seen_; }

  /// Takes a prompt, once, into an empty cache. Keys and queries are rotated to positions 0, 1, 2 ..., also
  /// for a cache of plain keys. @param keys, values [kv_heads, T, head_dim]. @param queries [heads, Q,
  /// head_dim] of the last Q tokens, for policies that look at attention; may have Q = 0.
  void prefill(heads_view<const float> keys, heads_view<const float> values, heads_view<const float> queries,
               const context& ctx = {}) {
    require(seen_ == 0, "prefill: tokens in the cache", seen_, "an empty cache");
    const prompt p{layout_, keys, values, queries};
    p.validate();
    for (index_t h = 0; h < layout_.kv_heads; ++h) {
      require_finite(head(keys, h), concat("prefill: keys[", h, "]"));
      require_finite(head(values, h), concat("prefill: values[", h, "]"));
    }
    if (p.tokens() == 0) return;
    auto s = policy_.eviction.select(p, ctx);
    require(!policy_.eviction.contiguous() || s.is_rectangular(),
            concat(policy_.eviction.id(), ": tokens kept by the heads"), "different numbers",
            "the same number in each head, for contiguous positions");
    open_lanes(s.is_rectangular(), ctx);
    seen_ = p.tokens();
    for (const auto& k : s.kept) evicted_ = evicted_ || static_cast<index_t>(k.size()) < seen_;
    if (evicted_)
      for (std::size_t h = 0; h < positions_.size(); ++h)
        positions_[h].assign(s.kept[h].begin(), s.kept[h].end());
    if (policy_.eviction.keeps_scores())
      for (std::size_t h = 0; h < scores_.size(); ++h) {
        if (s.scores.empty())
          scores_[h].assign(s.kept[h].size(), 0.0F);
        else
          scores_[h] = s.scores[h];
      }
    parallel_for(static_cast<index_t>(lanes_.size()), ctx, [&](index_t i) {
      lane& l = lanes_[static_cast<std::size_t>(i)];
      l.keys.fill(gathered(l, keys, s, side::keys), policy_.codec.rule(side::keys), ctx);
      l.values.fill(gathered(l, values, s, side::values), policy_.codec.rule(side::values), ctx);
    });
    for (std::size_t h = 0; h < pages_.size(); ++h) {
      const auto rows = copy_as<float>(head(keys, static_cast<index_t>(h)));
      for (index_t t = 0; t < rows.rows(); ++t) pages_[h].append(rows.row(t));
    }
    grow_table();
  }

  /// Appends one token. @param k, v [kv_heads, head_dim], of any strides; k as `keys()` says.
  void append(matrix_view<const float> k, matrix_view<const float> v, const context& ctx = {}) {
    require_shape(k, layout_.kv_heads, layout_.head_dim, "append: k");
    require_shape(v, layout_.kv_heads, layout_.head_dim, "append: v");
    require_finite(k, "append: k");
    require_finite(v, "append: v");
    if (lanes_.empty()) open_lanes(true, ctx);
    for (lane& l : lanes_) {
      const auto rows = [&](matrix_view<const float> x) {
        return copy_as<float>(x.rows(l.first_head, l.heads));
      };
      l.keys.push(rows(k));
      l.values.push(rows(v));
    }
    if (evicted_)
      for (auto& p : positions_) p.push_back(static_cast<std::int32_t>(seen_));
    if (policy_.eviction.keeps_scores())
      for (auto& s : scores_) s.push_back(0.0F);
    ++seen_;
    grow_table();
    if (pages_.empty()) return;
    auto rotated = copy_as<float>(k);
    for (index_t h = 0; h < rotated.rows(); ++h) {
      if (turns()) table_.apply(rotated.row(h).data(), next_position() - 1);
      pages_[static_cast<std::size_t>(h)].append(rotated.row(h));
    }
  }

  /// out [heads, head_dim] = attention of the newest token's queries over all tokens that are held.
  /// @param q [heads, head_dim], rotated to the newest token's position, or plain, as `keys()` says.
  /// Of a policy that chooses pages, over those. @param weights null, or one matrix [group, tokens that are
  /// read] for each kv head.
  void attend(matrix_view<const float> q, matrix_view<float> out, const context& ctx = {},
              std::vector<matrix<float>>* weights = nullptr) const {
    require_shape(q, layout_.heads, layout_.head_dim, "attend: q");
    require_shape(out, layout_.heads, layout_.head_dim, "attend: out");
    require(seen_ > 0, "attend: cached tokens", seen_, "at least 1");
    if (weights) weights->assign(static_cast<std::size_t>(layout_.kv_heads), {});
    auto queries = copy_as<float>(q);
    if (turns())
      for (index_t h = 0; h < queries.rows(); ++h) table_.apply(queries.row(h).data(), next_position() - 1);
    // All heads of a piece of the tokens, then the next: what heads store together is read while it is near.
    std::vector<head_reader> readers(static_cast<std::size_t>(layout_.kv_heads));
    const index_t group = layout_.group();
    parallel_for(layout_.kv_heads, ctx, [&](index_t h) {
      open_reader(readers[static_cast<std::size_t>(h)], h,
                  std::as_const(queries).view().rows(h * group, group),
                  weights ? &(*weights)[static_cast<std::size_t>(h)] : nullptr);
    });
    index_t pieces = 0;
    for (const auto& r : readers) pieces = std::max(pieces, r.attention->pieces());
    parallel_for(pieces * layout_.kv_heads, ctx, [&](index_t i) {
      auto& a = *readers[static_cast<std::size_t>(i % layout_.kv_heads)].attention;
      if (const index_t piece = i / layout_.kv_heads; piece < a.pieces()) a.run(piece);
    });
    for (index_t h = 0; h < layout_.kv_heads; ++h) {
      matrix<float> result(group, layout_.head_dim);
      readers[static_cast<std::size_t>(h)].attention->finish(result.view());
      copy(result.view(), out.rows(h * group, group));
    }
  }

  /// Moves what the codec's rule says from the tails to the bodies.
  void flush_if_needed(const context& ctx = {}) {
    parallel_for(static_cast<index_t>(lanes_.size()), ctx, [&](index_t i) {
      lane& l = lanes_[static_cast<std::size_t>(i)];
      l.keys.flush(policy_.codec.rule(side::keys), ctx);
      l.values.flush(policy_.codec.rule(side::values), ctx);
    });
  }
  /// Ends a decode step: flushes, and lets the policy drop tokens. @param weights of `attend`; needed by
  /// policies that look at them.
  void finish_step(std::span<const matrix<float>> weights = {}, const context& ctx = {}) {
    flush_if_needed(ctx);
    if (!policy_.eviction.drops()) return;
    require(!policy_.eviction.needs_weights() || static_cast<index_t>(weights.size()) == layout_.kv_heads,
            concat(policy_.eviction.id(), ": attention weights of the step"), weights.size(),
            "one matrix for each kv head");
    std::vector<std::vector<index_t>> held;
    for (index_t h = 0; h < layout_.kv_heads; ++h) held.push_back(kept(h));
    drop(policy_.eviction.after_step({layout_, seen_, held, weights, scores_}));
  }
  /// One decode step: append, attend, finish.
  void step(matrix_view<const float> q, matrix_view<const float> k, matrix_view<const float> v,
            matrix_view<float> out, const context& ctx = {}) {
    append(k, v, ctx);
    std::vector<matrix<float>> weights;
    attend(q, out, ctx, policy_.eviction.needs_weights() ? &weights : nullptr);
    finish_step(weights, ctx);
  }

  /// Keys (as stored) or values of a head, decoded, [tokens, head_dim]: for inspection.
  matrix<float> to_dense(side s, index_t kv_head) const {
    matrix<float> x(tokens(kv_head), layout_.head_dim);
    if (lanes_.empty()) return x;
    const lane& l = lane_of(kv_head);
    index_t first = 0;
    for (const segment* part : l.at(s).segments()) {
      part->read(kv_head - l.first_head, 0, x.view().rows(first, part->tokens()));
      first += part->tokens();
    }
    return x;
  }

  /// Exact bytes by part ("keys.codes", "values.tail" ...) at this moment. Positions are stored, and counted,
  /// from the first eviction on.
  op::storage_report storage() const {
    op::storage_report report;
    for (const lane& l : lanes_)
      for (const side s : {side::keys, side::values}) {
        const std::string prefix = s == side::keys ? "keys." : "values.";
        for (const auto& p : l.at(s).body->storage().parts)
          add_storage(report, prefix + p.name, p.type, p.shape.front(), p.bytes);
        for (const auto& p : l.at(s).tail.storage().parts)
          add_storage(report, prefix + "tail", p.type, p.shape.front(), p.bytes);
      }
    for (const auto& p : positions_)
      add_storage(report, "positions", dtype::i32, static_cast<index_t>(p.size()), p.size() * 4);
    for (const auto& pages : pages_)
      for (const auto& part : pages.storage().parts)
        add_storage(report, "pages." + part.name, part.type, part.shape.front(), part.bytes);
    for (const auto& s : scores_)
      add_storage(report, "scores", dtype::f32, static_cast<index_t>(s.size()), s.size() * 4);
    return report;
  }
  /// What a cache of all tokens seen takes in f16.
  std::size_t baseline_bytes() const {
    return static_cast<std::size_t>(2 * layout_.kv_heads * seen_ * layout_.head_dim) * 2;
  }
  /// Stored bits for each key and value element of the sequence, evicted ones included; 16 is the baseline.
  double bits_per_element() const {
    return seen_ == 0 ? 0.0
                      : 16.0 * static_cast<double>(storage().bytes()) / static_cast<double>(baseline_bytes());
  }

 private:
  /// Keys or values of a lane.
  struct half {
    std::unique_ptr<kv::body> body;
    dense_tokens tail;

    half(std::unique_ptr<kv::body> b, index_t heads, index_t head_dim, dtype type)
        : body(std::move(b)), tail(heads, head_dim, type) {}
    half(const half& other) : body(other.body->clone()), tail(other.tail) {}
    half(half&&) = default;
    half& operator=(const half& other) { return *this = half(other); }
    half& operator=(half&&) = default;

    std::vector<const segment*> segments() const { return {body.get(), &tail}; }
    void push(const matrix<float>& rows) {  // [heads, head_dim]
      tail.append({rows.data(), {rows.rows(), 1, rows.cols()}}, false);
    }
    /// @param rows [heads * tokens, head_dim]
    void fill(const matrix<float>& rows, const flush_rule& rule, const context& ctx) {
      const index_t heads = body->heads(), n = rows.rows() / heads, flushed = rule.of_prompt(n);
      const heads_view<const float> x(rows.data(), {heads, n, rows.cols()});
      if (flushed > 0) body->append(kv::tokens(x, 0, flushed), true, ctx);
      if (flushed < n) tail.append(kv::tokens(x, flushed, n - flushed), true, ctx);
    }
    void flush(const flush_rule& rule, const context& ctx) {
      for (index_t n; (n = rule.of_tail(tail.tokens())) > 0;) {
        matrix<float> rows(tail.heads() * n, tail.head_dim());
        for (index_t h = 0; h < tail.heads(); ++h) tail.read(h, 0, rows.view().rows(h * n, n));
        body->append({rows.data(), {tail.heads(), n, rows.cols()}}, false, ctx);
        tail.drop_range(0, n);
      }
    }
  };
  /// Heads that are stored together: all of them, or one.
  struct lane {
    index_t first_head, heads;
    half keys, values;
    const half& at(side s) const { return s == side::keys ? keys : values; }
  };

  /// The segments of a head as a step reads them, and attention over them.
  struct head_reader {
    std::vector<rotated_view> views;
    std::optional<picked_tokens> picked_keys, picked_values;
    std::optional<piecewise_attention> attention;
  };
  void open_reader(head_reader& r, index_t kv_head, matrix_view<const float> q,
                   matrix<float>* weights) const {
    const lane& l = lane_of(kv_head);
    segment_lists segments{l.keys.segments(), l.values.segments()};
    if (turns()) {
      r.views.reserve(segments.keys.size());
      index_t first = 0;
      for (const segment*& s : segments.keys) {
        r.views.emplace_back(*s, table_, stored_positions(kv_head), first);
        first += s->tokens();
        s = &r.views.back();
      }
    }
    if (!pages_.empty()) {
      const auto picked = tokens_to_read(kv_head, q);
      segments = {{&r.picked_keys.emplace(segments.keys, picked)},
                  {&r.picked_values.emplace(segments.values, picked)}};
    }
    r.attention.emplace(std::move(segments), kv_head - l.first_head, q, weights);
  }

  const lane& lane_of(index_t kv_head) const {
    assert(kv_head >= 0 && kv_head < layout_.kv_heads);
    return lanes_[lanes_.size() == 1 ? 0 : static_cast<std::size_t>(kv_head)];
  }
  void open_lanes(bool rectangular, const context& ctx) {
    const index_t width = policy_.codec.joins_heads() && rectangular ? layout_.kv_heads : 1;
    for (index_t h = 0; h < layout_.kv_heads; h += width) {
      const auto make = [&](side s) {
        context own = ctx;  // a seed for each layer, head and side
        const auto place = (layout_.layer * layout_.kv_heads + h) * 2 + (s == side::keys ? 0 : 1);
        own.seed = random_generator(ctx.seed).fork(static_cast<std::uint64_t>(place))();
        return half(policy_.codec.open(s, width, layout_.head_dim, own), width, layout_.head_dim,
                    policy_.codec.tail());
      };
      lanes_.push_back({h, width, make(side::keys), make(side::values)});
    }
    positions_.resize(static_cast<std::size_t>(layout_.kv_heads));
    scores_.resize(positions_.size());
    if (const index_t page = policy_.eviction.page_tokens(layout_); page > 0)
      pages_.assign(positions_.size(), key_pages(page, layout_.head_dim));
  }
  /// The kept rows of a lane's heads, [heads * kept, head_dim], keys at the positions of this cache.
  matrix<float> gathered(const lane& l, heads_view<const float> x, const selection& s, side which) const {
    const auto n = static_cast<index_t>(s.kept[static_cast<std::size_t>(l.first_head)].size());
    matrix<float> rows(l.heads * n, layout_.head_dim);
    for (index_t h = 0; h < l.heads; ++h) {
      const auto& kept = s.kept[static_cast<std::size_t>(l.first_head + h)];
      std::vector<index_t> turn(kept.size());
      for (index_t i = 0; i < n; ++i) {
        const index_t t = kept[static_cast<std::size_t>(i)];
        copy(head(x, l.first_head + h).rows(t, 1), rows.view().rows(h * n + i, 1));
        if (keys_ == key_position::plain)
          turn[static_cast<std::size_t>(i)] = -t;
        else if (policy_.eviction.contiguous())
          turn[static_cast<std::size_t>(i)] = i - t;
      }
      const bool moves = std::ranges::any_of(turn, [](index_t p) { return p != 0; });
      if (which == side::keys && moves)
        layout_.rotary.apply(rows.view().rows(h * n, n), 1, std::span<const index_t>(turn));
    }
    return rows;
  }
  /// The tokens of the pages that the policy chooses for a step's queries [group, head_dim] of a head,
  /// ascending.
  std::vector<index_t> tokens_to_read(index_t kv_head, matrix_view<const float> q) const {
    const auto& pages = pages_[static_cast<std::size_t>(kv_head)];
    const index_t page = policy_.eviction.page_tokens(layout_);
    matrix<float> bounds(q.rows(), pages.pages());
    pages.upper_bounds(q, bounds.view());
    std::vector<index_t> picked;
    for (const index_t p : policy_.eviction.choose_pages(std::as_const(bounds).view()))
      for (index_t t = p * page; t < std::min((p + 1) * page, pages.tokens()); ++t) picked.push_back(t);
    return picked;
  }
  bool turns() const { return keys_ == key_position::plain && !layout_.rotary.empty(); }
  std::span<const std::int32_t> stored_positions(index_t kv_head) const {
    if (policy_.eviction.contiguous() || !evicted_) return {};
    return positions_[static_cast<std::size_t>(kv_head)];
  }
  void grow_table() {
    if (turns()) table_.grow(next_position());
  }
  void drop(const dropped_tokens& dropped) {
    if (dropped.empty()) return;
    const std::string_view id = policy_.eviction.id();
    require(static_cast<index_t>(dropped.size()) == layout_.kv_heads,
            concat(id, ": heads of the dropped tokens"), dropped.size(), layout_.kv_heads);
    if (!evicted_)
      for (index_t h = 0; h < layout_.kv_heads; ++h) {
        const auto all = kept(h);
        positions_[static_cast<std::size_t>(h)].assign(all.begin(), all.end());
      }
    evicted_ = true;
    for (index_t h = 0; h < layout_.kv_heads; ++h) {
      const auto& list = dropped[static_cast<std::size_t>(h)];
      require(!policy_.eviction.contiguous() || list.size() == dropped.front().size(),
              concat(id, ": dropped tokens of head ", h), list.size(), dropped.front().size(),
              ", as in the other heads, for contiguous positions");
      index_t after = tokens(h);
      for (std::size_t k = list.size(); k-- > 0;) {
        const index_t t = list[k];
        require(t >= 0 && t < after, concat(id, ": dropped token of head ", h), t, "ascending indices below ",
                tokens(h));
        after = t;
        drop_one(h, t);
      }
    }
  }
  void drop_one(index_t kv_head, index_t t) {
    lane& l = lanes_[static_cast<std::size_t>(kv_head)];
    for (half* x : {&l.keys, &l.values}) {
      const index_t body = x->body->tokens();
      if (t < body)
        x->body->drop(t);
      else
        x->tail.drop_range(t - body, 1);
    }
    auto& p = positions_[static_cast<std::size_t>(kv_head)];
    p.erase(p.begin() + t);
    auto& s = scores_[static_cast<std::size_t>(kv_head)];
    if (!s.empty()) s.erase(s.begin() + t);
  }

  attention_layout layout_;
  cache_policy policy_;
  key_position keys_;
  index_t seen_ = 0;
  bool evicted_ = false;
  std::vector<lane> lanes_;
  std::vector<std::vector<std::int32_t>> positions_;  // of each kv head; empty until a token is evicted
  std::vector<std::vector<float>> scores_;            // of each kv head; empty unless the policy keeps scores
  std::vector<key_pages> pages_;                      // of each kv head; empty unless the policy reads pages
  kernel::rotation_table table_;                      // of plain keys
};

/// The same with the types of its parts fixed when it is compiled.
template <eviction Eviction, codec Codec, key_position Keys = key_position::rotated>
class cache : public any_cache {
 public:
  static constexpr key_position stored_keys = Keys;
  explicit cache(attention_layout layout, Eviction e = {}, Codec c = {})
      : any_cache(std::move(layout), any_eviction(std::move(e)), any_codec(std::move(c)), Keys) {}
};

}  // namespace tersor::kv
