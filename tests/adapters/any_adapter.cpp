// tersor - tests of adapters/any_adapter.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/any_adapter.hpp>
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/ia3.hpp>

#include "contract_checks.hpp"

namespace any_adapter_tests {

using namespace tersor_test;
using tersor::adapters::adapter_algebra;
using tersor::adapters::any_adapter;
using tersor::adapters::lora_state;

static_assert(tersor::adapters::adapter<lora_state<float>, float>);
static_assert(tersor::adapters::adapter<tersor::adapters::dora_state<double>, double>);

TEST_CASE("any_adapter: does what the held state does", "[any_adapter]") {
  const auto layer = random_layer<float>(5, 7, 1);
  const auto x = random_matrix<float>(4, 7, 2), gy = random_matrix<float>(4, 5, 3);
  auto s = tersor::adapters::lora{.rank = 2, .bias = true}.init(layer, random_generator(4));
  randomise(s, 5);
  any_adapter a = s;
  CHECK((a.id() == "lora" && a.algebra() == adapter_algebra::additive));
  CHECK((a.out_features() == 5 && a.in_features() == 7));
  CHECK(output(a, layer, x) == output(s, layer, x));
  auto ga = a.make_gradients(), gs = s.make_gradients();
  matrix<float> gxa(4, 7), gxs(4, 7);
  a.backward(layer, x, gy, gxa, ga);
  s.backward(layer, x, gy, gxs, gs);
  CHECK((ga == gs && gxa == gxs));
  CHECK((a.trainable_count() == s.trainable_count() && a.stored_bytes() == s.stored_bytes()));
  CHECK(a.stored_count() == s.stored_count());
  CHECK(a.effective(layer).weight == s.effective(layer).weight);
  auto merged = layer;
  a.merge(merged);
  CHECK(a.merged());
  a.unmerge(merged);
  CHECK(gap(merged.weight, layer.weight) <= 1e-5);
  CHECK(a.as<lora_state<float>>()->rank() == 2);
  CHECK(a.as<tersor::adapters::dora_state<float>>() == nullptr);
}

TEST_CASE("any_adapter: copies are independent", "[any_adapter]") {
  any_adapter a = tersor::adapters::ia3{}.init(matrix<float>(3, 2));
  any_adapter b = a;
  b.tensors()[0].value(0, 0) = 9;
  CHECK(a.tensors()[0].value(0, 0) == 1);
  a = b;
  CHECK(a.tensors()[0].value(0, 0) == 9);
  CHECK_FALSE(any_adapter());
  const any_adapter moved = std::move(b);
  CHECK(moved);
}

}  // namespace any_adapter_tests
