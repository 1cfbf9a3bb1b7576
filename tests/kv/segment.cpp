// tersor - tests of kv/segment.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/segment.hpp>

#include "samples.hpp"

namespace segment_tests {

using namespace tersor_test;
using tersor::dtype;

/// Counts what is asked of it: token t, channel c is t + c / 8.
class counting_segment final : public kv::segment {
 public:
  explicit counting_segment(index_t tokens) : tokens_(tokens) {}
  index_t heads() const override { return 1; }
  index_t tokens() const override { return tokens_; }
  index_t head_dim() const override { return 8; }
  tersor::op::storage_report storage() const override { return {}; }
  void read(index_t, index_t first, matrix_view<float> out) const override {
    largest = std::max(largest, out.rows());
    decoded += out.rows();
    for (index_t t = 0; t < out.rows(); ++t)
      for (index_t c = 0; c < 8; ++c) out(t, c) = static_cast<float>(first + t) + static_cast<float>(c) / 8;
  }
  mutable index_t largest = 0, decoded = 0;

 private:
  index_t tokens_;
};

TEST_CASE("segment: products decode each token once, in tiles, for all queries of a group") {
  for (const index_t tokens : {1, 63, 64, 65, 1000}) {
    const counting_segment s(tokens);
    matrix<float> q(4, 8, 1.0F), a(4, tokens, 1.0F), scores(4, tokens), out(4, 8);
    s.scores(0, q.view(), scores.view());
    CHECK(s.decoded == tokens);
    s.accumulate(0, a.view(), out.view());
    CHECK(s.decoded == 2 * tokens);
    CHECK(s.largest <= kv::segment::tile_tokens);
    CHECK(scores(3, tokens - 1) == 8.0F * static_cast<float>(tokens - 1) + 3.5F);
    const auto n = static_cast<float>(tokens);
    CHECK(out(2, 4) == n * (n - 1) / 2 + n / 2);
    check_segment(s);
  }
}

TEST_CASE("segment: dense tokens of every type, products, sizes, removal") {
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16, dtype::f8_e4m3, dtype::f8_e5m2})
    for (const auto& [tokens, dim] : {std::pair<index_t, index_t>{1, 1}, {70, 5}, {130, 33}, {3, 128}}) {
      const auto x = random_heads(2, tokens, dim, 3);
      kv::dense_tokens s(2, dim, type);
      s.append(x.first(tokens / 2), true);
      s.append(kv::tokens(x.view(), tokens / 2, tokens - tokens / 2), false);
      CHECK(s.tokens() == tokens);
      if (type == dtype::f32)
        for (index_t h = 0; h < 2; ++h) CHECK(s.to_dense(h) == x.head(h));
      check_segment(s);
      CHECK(s.storage().bytes() ==
            static_cast<std::size_t>(2 * tokens * dim) * static_cast<std::size_t>(bits_of(type)) / 8);
      const auto copy = s.clone();
      const auto before = s.to_dense(1);
      s.drop(tokens / 2);
      CHECK(s.tokens() == tokens - 1);
      CHECK(copy->to_dense(1) == before);
      const auto after = s.to_dense(1);
      for (index_t t = 0; t < tokens - 1; ++t)
        CHECK(std::ranges::equal(after.row(t), before.row(t < tokens / 2 ? t : t + 1)));
    }
}

TEST_CASE("segment: a rotated view is rotation of what it views") {
  const auto layout = layout_of(1, 1, 6);
  tersor::kernel::rotation_table table(layout.rotary);
  table.grow(300);
  const auto x = random_heads(1, 90, 6, 5);
  kv::dense_tokens s(1, 6, dtype::f32);
  s.append(x.view(), true);
  std::vector<std::int32_t> positions;
  for (std::int32_t t = 0; t < 100; ++t) positions.push_back(2 * t + 1);
  for (const index_t first : {0, 4})
    for (const bool listed : {false, true}) {
      const kv::rotated_view view(
          s, table, listed ? std::span<const std::int32_t>(positions) : std::span<const std::int32_t>(),
          first);
      auto expected = x.head(0);
      std::vector<index_t> at;
      for (index_t t = 0; t < 90; ++t) at.push_back(listed ? 2 * (first + t) + 1 : first + t);
      layout.rotary.apply(expected.view(), 1, std::span<const index_t>(at));
      CHECK(view.to_dense(0) == expected);
      check_segment(view);
      CHECK(view.storage().bytes() == s.storage().bytes());
    }
}

TEST_CASE("segment: parts of one name are added up") {
  tersor::op::storage_report r;
  kv::add_storage(r, "codes", dtype::u8, 3, 3);
  kv::add_storage(r, "scale", dtype::f16, 2, 4);
  kv::add_storage(r, "codes", dtype::u8, 5, 5);
  kv::add_storage(r, "nothing", dtype::u8, 0, 0);
  REQUIRE(r.parts.size() == 2);
  CHECK(r.parts[0].bytes == 8);
  CHECK(r.parts[0].shape == std::vector<index_t>{8});
  CHECK(r.bytes() == 12);
}

}  // namespace segment_tests
