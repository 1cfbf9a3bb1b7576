// tersor - tests of kv/quantized_tokens.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/quantized_tokens.hpp>

#include "samples.hpp"

namespace quantized_tokens_tests {

using namespace tersor_test;
using kv::group_axis;
using tersor::dtype;

TEST_CASE("quantized_tokens: a ramp on its own grid, a constant group") {
  const std::vector<float> ramp{0, 1, 2, 3}, same(4, 2.5F), one{7};
  auto g = kv::fit_range(ramp, 2, dtype::f32);
  CHECK((g.minimum == 0.0F && g.scale == 1.0F));
  for (int x = 0; x < 4; ++x) CHECK(kv::range_code(static_cast<float>(x), g, 2) == x);
  CHECK(kv::range_code(0.5F, g, 2) == 0);  // ties to even
  CHECK(kv::range_code(1.5F, g, 2) == 2);
  CHECK(kv::range_code(9.0F, g, 2) == 3);
  g = kv::fit_range(same, 2, dtype::f32);
  CHECK((g.minimum == 2.5F && g.scale == 0.0F));
  CHECK(kv::range_code(2.5F, g, 2) == 0);
  CHECK(kv::fit_range(one, 8, dtype::f16).minimum == 7.0F);
}

TEST_CASE("quantized_tokens: every element within half a step of its group's grid, extremes reproduced") {
  for (const auto axis : {group_axis::tokens, group_axis::channels})
    for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
      for (const int bits : {1, 2, 3, 4, 8})
        for (const auto& [heads, tokens, dim, group] : {std::array<index_t, 4>{1, 1, 1, 1},
                                                        {2, 12, 5, 4},
                                                        {3, 66, 20, 6},
                                                        {1, 64, 32, 32},
                                                        {2, 8, 7, 8}}) {
          const auto x = random_heads(
              heads, tokens - tokens % group + (axis == group_axis::tokens ? 0 : tokens % group), dim, 7);
          kv::quantized_tokens s(heads, dim, bits, axis, group, type);
          s.append(x.view(), true);
          CHECK(s.tokens() == x.tokens);
          for (index_t h = 0; h < heads; ++h) {
            const auto dense = s.to_dense(h);
            for (index_t t = 0; t < x.tokens; ++t)
              for (index_t c = 0; c < dim; ++c) {
                const auto g = s.grid(h, t, c);
                // one rounding each of the quotient and of the value
                const float slack = 4e-7F * (std::abs(g.minimum) + 256 * g.scale);
                CHECK(std::abs(dense(t, c) - x(h, t, c)) <= g.scale / 2 + slack);
                // the largest of a group is reached from below by the top code
                CHECK(g.minimum <= x(h, t, c));
                if (type == dtype::f32 && x(h, t, c) == g.minimum) CHECK(dense(t, c) == g.minimum);
                CHECK(x(h, t, c) <= g.minimum + g.scale * static_cast<float>((1 << bits) - 1) + slack);
              }
          }
          if (bits == 3 || dim == 7) check_segment(s);
        }
}

TEST_CASE("quantized_tokens: groups are runs of tokens in a channel, or of channels through all heads") {
  heads_array x(2, 4, 3);
  for (index_t h = 0; h < 2; ++h)
    for (index_t t = 0; t < 4; ++t)
      for (index_t c = 0; c < 3; ++c) x(h, t, c) = static_cast<float>(100 * h + 10 * t + c);
  kv::quantized_tokens k(2, 3, 8, group_axis::tokens, 2, dtype::f32);
  k.append(x.view(), true);
  CHECK(k.grid(1, 3, 2).minimum == 122.0F);  // of tokens 2 and 3
  CHECK(k.grid(1, 3, 2).scale == 10.0F / 255);
  kv::quantized_tokens v(2, 3, 8, group_axis::channels, 4, dtype::f32);
  v.append(x.view(), true);
  CHECK(v.groups_of_token() == 2);
  CHECK(v.grid(0, 1, 2).minimum == 10.0F);
  CHECK(v.grid(1, 1, 0).minimum == 10.0F);  // entry 3 of the token: still the first group
  CHECK(v.grid(1, 1, 1).minimum == 111.0F);
}

TEST_CASE("quantized_tokens: in pieces or at once the same codes, sizes, removal") {
  for (const auto axis : {group_axis::tokens, group_axis::channels})
    for (const int bits : {2, 3, 5}) {
      const auto x = random_heads(2, 24, 6, 3);
      kv::quantized_tokens once(2, 6, bits, axis, 4), pieces(2, 6, bits, axis, 4);
      once.append(x.view(), true);
      for (index_t t = 0; t < 24; t += 4) pieces.append(kv::tokens(x.view(), t, 4), false);
      for (index_t h = 0; h < 2; ++h) {
        CHECK(once.codes(h) == pieces.codes(h));
        CHECK(once.to_dense(h) == pieces.to_dense(h));
      }
      const std::size_t row = (6 * static_cast<std::size_t>(bits) + 7) / 8,
                        groups = axis == group_axis::tokens ? 2 * 6 * 6 : 24 * 3;
      CHECK(once.storage().bytes() == 2 * 24 * row + groups * 4);
      if (axis == group_axis::tokens) {
        CHECK_THROWS_AS(once.drop(3), tersor::error);
        CHECK_THROWS_AS(once.append(x.first(3), false), tersor::error);
        continue;
      }
      const auto before = once.to_dense(1);
      once.drop(5);
      const auto after = once.to_dense(1);
      REQUIRE(after.rows() == 23);
      for (index_t t = 0; t < 23; ++t) CHECK(std::ranges::equal(after.row(t), before.row(t < 5 ? t : t + 1)));
      CHECK(once.storage().bytes() == 2 * 23 * row + 23 * 3 * 4);
    }
}

TEST_CASE("quantized_tokens: errors") {
  CHECK_THROWS_AS(kv::quantized_tokens(1, 4, 9, group_axis::tokens, 4), tersor::error);
  CHECK_THROWS_AS(kv::quantized_tokens(1, 4, 2, group_axis::tokens, 0), tersor::error);
  CHECK_THROWS_AS(kv::quantized_tokens(1, 4, 2, group_axis::tokens, 4, dtype::f8_e4m3), tersor::error);
  heads_array x(1, 1, 4);
  x(0, 0, 1) = 1e6F;
  kv::quantized_tokens s(1, 4, 2, group_axis::channels, 4, dtype::f16);
  CHECK(holds(error_of([&] { s.append(x.view(), true); }), {"scale", "F16"}));
}

}  // namespace quantized_tokens_tests
