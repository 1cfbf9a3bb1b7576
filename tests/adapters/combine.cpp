// tersor - tests of adapters/combine.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/combine.hpp>
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/ia3.hpp>
#include <tersor/adapters/loha.hpp>
#include <tersor/adapters/pissa.hpp>
#include <tersor/quant/rtn.hpp>

#include "contract_checks.hpp"

namespace combine_tests {

using namespace tersor_test;
using namespace tersor::adapters;

template <class State>
any_adapter trained(State state, std::uint64_t seed) {
  randomise(state, seed, 0.3);
  return state;
}
matrix<float> change(const any_adapter& a, const dense_layer<float>& layer) {
  auto w = a.effective(layer).weight;
  for (std::size_t i = 0; i < w.values().size(); ++i) w.values()[i] -= layer.weight.values()[i];
  return w;
}

TEST_CASE("combine: every method that is a LoRA is exported exactly", "[combine]") {
  const auto layer = random_layer<float>(6, 9, 1);
  const random_generator random(1);
  const any_adapter all[] = {
      trained(lora{.rank = 2, .bias = true}.init(layer, random), 2),
      trained(adalora{.rank = 3, .target_rank = 2}.init(layer, random), 3),
      trained(vera{.rank = 4}.init(layer, vera_projections<float>::draw(4, 12, 12)), 4),
      trained(aflora{.rank = 2}.init(layer, random), 5),
      trained(lamda{.rank = 3}.init(layer).state, 6),
      trained(bone{.rank = 4}.init(layer, random), 7)};
  for (const auto& a : all) {
    INFO(a.id());
    const auto exported = as_lora(a).effective(layer);
    const auto original = a.effective(layer);
    CHECK(gap(exported.weight, original.weight) <= 1e-5);
    CHECK(exported.bias == original.bias);
  }
  for (const any_adapter& a : {any_adapter(dora{}.init(layer, random)), any_adapter(ia3{}.init(layer)),
                               any_adapter(loha{}.init(layer, random))}) {
    INFO(a.id());
    CHECK_THROWS_AS(as_lora(a), tersor::error);
  }
}

TEST_CASE("combine: weights 1, 0, ... give the first exactly, others their sum", "[combine]") {
  const auto layer = random_layer<float>(6, 9, 1);
  const random_generator random(1);
  const any_adapter parts[] = {trained(lora{.rank = 2, .alpha = 3}.init(layer, random), 2),
                               trained(lora{.rank = 4, .alpha = 1, .bias = true}.init(layer, random), 3),
                               trained(bone{.rank = 3}.init(layer, random), 4)};
  const auto first = combine(parts, std::vector<double>{1, 0, 0});
  CHECK(first.a() == parts[0].as<lora_state<float>>()->a());
  CHECK(first.b() == parts[0].as<lora_state<float>>()->b());
  CHECK(first.scale() == 1.5);
  const std::vector<double> weights{0.5, -2, 1.25};
  const auto sum = combine(parts, weights);
  CHECK(sum.rank() == 2 + 4 + 3);
  const auto merged = sum.effective(layer);
  const auto expected = combined_weight(parts, weights, layer);
  CHECK(gap(merged.weight, expected.weight) <= 1e-5);
  for (std::size_t o = 0; o < 6; ++o) CHECK(std::abs(merged.bias[o] - expected.bias[o]) <= 1e-5F);
  double direct = 0;
  for (std::size_t i = 0; i < 3; ++i)
    direct += weights[i] * static_cast<double>(change(parts[i], layer)(2, 3));
  CHECK(std::abs(direct - static_cast<double>(expected.weight(2, 3) - layer.weight(2, 3))) <= 1e-5);
}

TEST_CASE("combine: what is not additive is refused by name, and added on dense weights", "[combine]") {
  const auto layer = random_layer<float>(6, 9, 1);
  const random_generator random(1);
  const any_adapter mixed[] = {trained(lora{.rank = 2}.init(layer, random), 2),
                               trained(dora{.rank = 2}.init(layer, random), 3)};
  try {
    combine(mixed, std::vector<double>{1, 1});
    FAIL("no error");
  } catch (const tersor::error& e) {
    CHECK(e.value() == "dora");
  }
  CHECK_NOTHROW(combine(mixed, std::vector<double>{1, 0}));  // it does not take part
  const auto both = combined_weight(mixed, std::vector<double>{1, 1}, layer);
  // each sees the original weight: the order does not matter
  const any_adapter turned[] = {mixed[1], mixed[0]};
  CHECK(gap(both.weight, combined_weight(turned, std::vector<double>{1, 1}, layer).weight) <= 1e-6);
  CHECK(combined_weight(mixed, std::vector<double>{0, 0}, layer).weight == layer.weight);
  CHECK(combined_weight(std::span(mixed).last(1), std::vector<double>{1}, layer).weight ==
        mixed[1].effective(layer).weight);
}

TEST_CASE("combine: PiSSA as a plain LoRA of twice the rank", "[combine]") {
  for (const bool rs : {false, true}) {
    const auto w = random_matrix<float>(8, 10, 1);
    const pissa method{.rank = 3, .alpha = 5, .rslora = rs};
    const auto start = method.init(w);
    auto s = start.state;
    randomise(s, 2);
    const auto plain = as_plain_lora(s, start.state);
    CHECK(plain.rank() == 6);
    CHECK(gap(plain.effective({w, {}}).weight, s.effective({start.weight, {}}).weight) <= 1e-5);
    // the scale of a file with twice the rank, and twice (√2 times) the alpha
    const lora file{.rank = 6, .alpha = rs ? 5 * std::sqrt(2.0) : 10, .rslora = rs};
    CHECK(std::abs(file.scale() - plain.scale()) <= 1e-12);
  }
}

TEST_CASE("combine: merging into a quantized weight says what is kept", "[combine]") {
  const auto w = random_matrix<float>(16, 32, 1);
  const tersor::quant::rtn fine{.bits = 8, .group_size = 16}, coarse{.bits = 2, .group_size = 16};
  auto s = lora{.rank = 4}.init(w, random_generator(2));
  randomise(s, 3);
  const tersor::op::any_operator op = fine(w).op;
  const auto good = merge_compressed(s, op, {}, fine);
  CHECK(good.op.kind() == "quantized");
  CHECK(good.relative_error < 0.01);
  CHECK(good.change_kept > 0.98);
  CHECK(gap(good.op.to_dense(), s.effective({op.to_dense(), {}}).weight) < 0.1);
  const auto bad = merge_compressed(s, op, {}, coarse);
  CHECK(bad.relative_error > good.relative_error);
  CHECK(bad.change_kept < good.change_kept);
  // no change at all is kept whole
  CHECK(merge_compressed(lora{.rank = 4}.init(w, random_generator(2)), op, {}, coarse).change_kept == 1);
}

TEST_CASE("combine: errors", "[combine]") {
  const auto layer = random_layer<float>(6, 9, 1);
  const any_adapter one[] = {lora{.rank = 2}.init(layer, random_generator(1))};
  CHECK_THROWS_AS(combine(one, std::vector<double>{}), tersor::error);
  CHECK_THROWS_AS(combine(one, std::vector<double>{0}), tersor::error);
  CHECK_THROWS_AS(combine(one, std::vector<double>{std::numeric_limits<double>::infinity()}), tersor::error);
  const any_adapter shapes[] = {one[0], lora{.rank = 2}.init(matrix<float>(6, 8), random_generator(1))};
  CHECK_THROWS_AS(combine(shapes, std::vector<double>{1, 1}), tersor::error);
  const lora_state<float> other(matrix<float>(3, 9), matrix<float>(6, 3), 1);
  CHECK_THROWS_AS(as_plain_lora(*one[0].as<lora_state<float>>(), other), tersor::error);
}

}  // namespace combine_tests
