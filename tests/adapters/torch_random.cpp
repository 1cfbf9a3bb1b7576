// tersor - tests of adapters/torch_random.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/torch_random.hpp>

#include "contract_checks.hpp"

namespace torch_random_tests {

using namespace tersor_test;
using tersor::adapters::torch_generator;

TEST_CASE("torch random: the well-known first numbers", "[torch_random]") {
  // torch.manual_seed(0): torch.rand(5) prints 0.4963 0.7682 0.0885 0.1320 0.3074
  torch_generator g(0);
  std::vector<float> x(5);
  g.uniform(x, 0, 1);
  const double expected[] = {0.4963, 0.7682, 0.0885, 0.1320, 0.3074};
  for (std::size_t i = 0; i < 5; ++i) CHECK(std::abs(static_cast<double>(x[i]) - expected[i]) <= 5e-5);
  // and torch.randperm(10) prints 4 1 7 5 3 9 0 8 6 2
  CHECK(torch_generator(0).permutation(10) == std::vector<index_t>{4, 1, 7, 5, 3, 9, 0, 8, 6, 2});
}

TEST_CASE("torch random: ranges and streams", "[torch_random]") {
  std::vector<float> x(2000), y(2000);
  torch_generator(7).uniform(x, -2, 3);
  for (const float v : x) REQUIRE((v >= -2 && v <= 3));
  CHECK(*std::ranges::max_element(x) > 2.9F);
  CHECK(*std::ranges::min_element(x) < -1.9F);
  torch_generator g(7);
  g.uniform(std::span(y).first(1000), -2, 3);
  g.uniform(std::span(y).last(1000), -2, 3);
  CHECK(x == y);
  for (const index_t n : {0, 1, 2, 17}) {
    auto order = torch_generator(3).permutation(n);
    std::ranges::sort(order);
    for (index_t i = 0; i < n; ++i) REQUIRE(order[static_cast<std::size_t>(i)] == i);
  }
  torch_generator a(5), b(5);
  const std::uint64_t high = a.bits32(), low = a.bits32();
  CHECK(b.bits64() == (high << 32 | low));
}

}  // namespace torch_random_tests
