// tersor - conformance: KIVI against jy-yuan/KIVI new_pack.py and llama_kivi.py
// SPDX-License-Identifier: MIT
#include <tersor/kv/cache.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/kivi.hpp>

#include "vectors.hpp"

namespace kv_kivi_tests {

namespace kv = tersor::kv;
using tersor::index_t;
using tersor::matrix;

const conformance::technique kivi{
    "kv_kivi",
    {"bits", "group", "axis", "B", "H", "Hkv", "T", "D", "prompt", "steps", "residual", "k_bits", "v_bits"}};

/// Words of 32 bits as the program packs them along the last axis of `codes`, the first code in the low bits.
std::vector<std::int32_t> words_of(const matrix<std::uint8_t>& codes, int bits) {
  std::vector<std::int32_t> words;
  tersor::with_width(bits, [&](auto width) {
    using packing = tersor::bit_packing<width(), std::uint32_t>;
    for (index_t r = 0; r < codes.rows(); ++r) {
      std::vector<std::uint32_t> row(packing::words(static_cast<std::size_t>(codes.cols())));
      packing::pack(codes.row(r), row);
      for (const auto w : row) words.push_back(static_cast<std::int32_t>(w));
    }
  });
  return words;
}
template <class T>
matrix<T> transposed(const matrix<T>& x) {
  return tersor::copy_as<T>(x.view().transposed());
}
void append_to(std::vector<float>& all, const matrix<float>& x) {
  all.insert(all.end(), x.values().begin(), x.values().end());
}

/// Codes, words, scales and minimums of a block. Inputs and outputs are [1, heads, tokens, D].
void check_quantizer(const conformance::test_case& c) {
  const bool keys = c.has_input("K");
  const auto shape = c.input_shape(keys ? "K" : "V");
  const auto x = c.input_vector(keys ? "K" : "V");
  const int bits = c.option("bits", 2);
  const auto group = c.option<index_t>("group", 32);
  const index_t batches = shape[0], heads = shape[1], tokens = shape[2], dim = shape[3];
  kv::kivi options{.bits = bits, .group_size = group, .residual = group, .scale_type = tersor::dtype::f32};
  std::vector<std::int32_t> codes, words;
  std::vector<float> decoded, scale, minimum;
  for (index_t b = 0; b < batches; ++b)
    for (index_t h = 0; h < heads; ++h) {
      // a channel count that the group does not divide occurs for keys alone, whose groups run along tokens
      kv::quantized_tokens body(1, dim, bits, keys ? kv::group_axis::tokens : kv::group_axis::channels, group,
                                options.scale_type);
      body.append({x.data() + (b * heads + h) * tokens * dim, {1, tokens, dim}}, true);
      const auto q = body.codes(0);
      codes.insert(codes.end(), q.values().begin(), q.values().end());
      append_to(decoded, body.to_dense(0));
      // the program packs keys along tokens; the manifest shows its words with the channels last
      const auto packed = words_of(keys ? transposed(q) : q, bits);
      const auto per_row = static_cast<index_t>(packed.size()) / (keys ? dim : tokens);
      if (keys) {
        for (index_t w = 0; w < per_row; ++w)
          for (index_t channel = 0; channel < dim; ++channel)
            words.push_back(packed[static_cast<std::size_t>(channel * per_row + w)]);
      } else {
        words.insert(words.end(), packed.begin(), packed.end());
      }
      for (index_t t = 0; t < tokens; t += keys ? group : 1)
        for (index_t channel = 0; channel < dim; channel += keys ? 1 : group) {
          scale.push_back(body.grid(0, t, channel).scale);
          minimum.push_back(body.grid(0, t, channel).minimum);
        }
    }
  CHECK(conformance::mismatches(words, c.output_integers("packed")) == 0);
  if (c.has_output("codes")) CHECK(conformance::mismatches(codes, c.output_integers("codes")) == 0);
  CHECK(conformance::mismatches(minimum, c.output_vector("min")) == 0);
  const auto official = c.output_vector("scale");
  CHECK(conformance::max_difference(scale, official, conformance::max_abs(official)) <= c.tolerance("scale"));
  if (!c.has_output("deq")) return;
  const auto values = c.output_vector("deq");
  CHECK(conformance::max_difference(decoded, values, conformance::max_abs(values)) <= c.tolerance("deq"));
}

/// Prompt and decode steps: lengths of body and tail, outputs, final bodies.
void check_decode(const conformance::test_case& c) {
  const auto heads = c.option<index_t>("H", 1), kv_heads = c.option<index_t>("Hkv", heads);
  const auto dim = c.option<index_t>("D", 0), prompt = c.option<index_t>("prompt", 0),
             steps = c.option<index_t>("steps", 0);
  const kv::kivi options{.bits = c.option("k_bits", 2),
                         .value_bits = c.option("v_bits", 2),
                         .group_size = c.option<index_t>("group", 32),
                         .residual = c.option<index_t>("residual", 128),
                         .scale_type = tersor::dtype::f32,
                         .tail_type = tersor::dtype::f32};
  const auto q = c.input_vector("q"), k = c.input_vector("k"), v = c.input_vector("v");
  const kv::heads_view<const float> queries(q.data(), {heads, steps, dim}),
      keys(k.data(), {kv_heads, prompt + steps, dim}), values(v.data(), {kv_heads, prompt + steps, dim});
  kv::cache<kv::full, kv::kivi> cache({.heads = heads, .kv_heads = kv_heads, .head_dim = dim}, {}, options);
  cache.prefill(kv::tokens(keys, 0, prompt), kv::tokens(values, 0, prompt), kv::tokens(queries, 0, 0));
  std::vector<std::int32_t> lengths;
  const auto note_lengths = [&] {
    for (const auto s : {kv::side::keys, kv::side::values}) {
      const index_t body = cache.body_tokens(s, 0);
      lengths.push_back(static_cast<std::int32_t>(body));
      lengths.push_back(static_cast<std::int32_t>(cache.tokens(0) - body));
    }
  };
  note_lengths();
  std::vector<float> outputs;
  const auto token = [&](kv::heads_view<const float> x, index_t t) {
    return tersor::matrix_view<const float>(x.data + t * x.strides[1], {x.extents[0], dim},
                                            {x.strides[0], 1});
  };
  for (index_t t = 0; t < steps; ++t) {
    matrix<float> out(heads, dim);
    cache.step(token(queries, t), token(keys, prompt + t), token(values, prompt + t), out.view());
    append_to(outputs, out);
    note_lengths();
  }
  const auto official = c.output_vector("out");
  CHECK(conformance::max_difference(outputs, official, conformance::max_abs(official)) <= c.tolerance("out"));
  CHECK(conformance::mismatches(lengths, c.output_integers("lengths")) == 0);
  // the bodies at the end, encoded at once: their words
  std::vector<std::int32_t> key_words, value_words;
  for (index_t h = 0; h < kv_heads; ++h)
    for (const auto s : {kv::side::keys, kv::side::values}) {
      const index_t n = cache.body_tokens(s, h);
      const auto body = options.open(s, 1, dim);
      const auto& x = s == kv::side::keys ? keys : values;
      body->append({x.data + h * x.strides[0], {1, n, dim}}, true, {});
      const auto& codes = dynamic_cast<const kv::quantized_tokens&>(*body);
      // what the cache holds is what those codes say
      const auto held = cache.to_dense(s, h);
      CHECK(conformance::mismatches(held.values().first(static_cast<std::size_t>(n * dim)),
                                    codes.to_dense(0).values()) == 0);
      const auto words =
          words_of(s == kv::side::keys ? transposed(codes.codes(0)) : codes.codes(0), codes.bits());
      auto& all = s == kv::side::keys ? key_words : value_words;
      all.insert(all.end(), words.begin(), words.end());
    }
  CHECK(conformance::mismatches(key_words, c.output_integers("k_body")) == 0);
  CHECK(conformance::mismatches(value_words, c.output_integers("v_body")) == 0);
}

TEST_CASE("conformance: kv_kivi") {
  conformance::for_each_case(kivi, [](const conformance::test_case& c) {
    if (c.has_input("q"))
      check_decode(c);
    else
      check_quantizer(c);
  });
}

}  // namespace kv_kivi_tests
