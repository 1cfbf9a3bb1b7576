// tersor - tests of kv/group.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/full.hpp>
#include <tersor/kv/group.hpp>
#include <tersor/kv/streaming.hpp>

#include "samples.hpp"

namespace group_tests {

using namespace tersor_test;
using kv::side;

TEST_CASE("group: each token by itself, whenever it comes, bits per element", "[group]") {
  for (const auto& [dim, group, expected] :
       {std::tuple{index_t{64}, index_t{64}, 4.5}, {64, 16, 6.0}, {32, 64, 5.0}}) {
    const auto k = random_heads(2, 40, dim, 1), v = random_heads(2, 40, dim, 2);
    kv::any_cache once(layout_of(2, 2, dim), kv::full{} | kv::group{.group_size = group}), stepwise = once;
    once.prefill(k.view(), v.view(), k.view());
    stepwise.prefill(k.first(13), v.first(13), k.first(13));
    for (index_t t = 13; t < 40; ++t) {
      matrix<float> out(2, dim);
      stepwise.step(k.token(t).view(), k.token(t).view(), v.token(t).view(), out.view());
    }
    for (const auto s : {side::keys, side::values}) CHECK(once.to_dense(s, 1) == stepwise.to_dense(s, 1));
    CHECK(once.bits_per_element() == expected);
    CHECK(stepwise.bits_per_element() == expected);
  }
}

TEST_CASE("group: tokens can be dropped from the compressed body", "[group]") {
  const auto x = random_heads(2, 60, 8, 1);
  kv::any_cache all(layout_of(2, 2, 8), kv::full{} | kv::group{.group_size = 4});
  kv::any_cache window(layout_of(2, 2, 8),
                       kv::streaming{.sinks = 2, .window = 7} | kv::group{.group_size = 4});
  all.prefill(x.view(), x.view(), x.view());
  window.prefill(x.first(20), x.first(20), x.first(20));
  for (index_t t = 20; t < 60; ++t) {
    matrix<float> out(2, 8);
    window.step(x.token(t).view(), x.token(t).view(), x.token(t).view(), out.view());
  }
  const auto kept = window.kept(1);
  CHECK(kept.size() == 9);
  const auto every = all.to_dense(side::values, 1), some = window.to_dense(side::values, 1);
  for (index_t i = 0; i < 9; ++i)
    CHECK(std::ranges::equal(some.row(i), every.row(kept[static_cast<std::size_t>(i)])));
}

TEST_CASE("group: errors", "[group]") {
  CHECK_THROWS_AS(kv::group{.bits = 0}.validate(), tersor::error);
  CHECK_THROWS_AS(kv::group{.group_size = 0}.validate(), tersor::error);
}

}  // namespace group_tests
