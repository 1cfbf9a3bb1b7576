// tersor - tests of kv/dense.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kv/dense.hpp>
#include <tersor/kv/full.hpp>

#include "samples.hpp"

namespace dense_tests {

using namespace tersor_test;
using kv::element_type;

TEST_CASE("dense: each element is rounded once, from a prompt and at decode", "[dense]") {
  const auto k = random_heads(2, 20, 6, 1), v = random_heads(2, 20, 6, 2), q = random_heads(4, 20, 6, 3);
  for (const auto& [name, type] : kv::option_names(element_type{})) {
    INFO(name);
    kv::any_cache cache(layout_of(4, 2, 6), kv::full{} | kv::dense{type});
    cache.prefill(k.first(12), v.first(12), q.first(12));
    for (index_t t = 12; t < 20; ++t) {
      matrix<float> out(4, 6);
      cache.step(q.token(t).view(), k.token(t).view(), v.token(t).view(), out.view());
    }
    kv::real_list expected(kv::to_dtype(type));
    expected.append(k.head(1).values());
    const auto held = cache.to_dense(kv::side::keys, 1);
    for (index_t i = 0; i < held.size(); ++i) CHECK(held.data()[i] == expected[i]);
    CHECK(cache.bits_per_element() == bits_of(kv::to_dtype(type)));
    CHECK(cache.body_tokens(kv::side::keys, 0) == 20);
  }
}

TEST_CASE("dense: relative error of FP8 is within half a unit", "[dense]") {
  const auto x = random_heads(1, 50, 16, 4);
  for (const auto& [type, bound] :
       {std::pair{element_type::f8_e4m3, 0x1p-4}, {element_type::f8_e5m2, 0x1p-3}}) {
    const auto body = kv::dense{type}.open(kv::side::keys, 1, 16);
    body->append(x.view(), true, {});
    const auto y = body->to_dense(0);
    for (index_t i = 0; i < y.size(); ++i) {
      const auto value = static_cast<double>(x.values[static_cast<std::size_t>(i)]);
      if (std::abs(value) > 0x1p-6)  // above the subnormal numbers
        CHECK(std::abs(static_cast<double>(y.data()[i]) - value) <= bound * std::abs(value));
    }
  }
}

}  // namespace dense_tests
