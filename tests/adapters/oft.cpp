// tersor - tests of adapters/oft.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/oft.hpp>

#include "contract_checks.hpp"

namespace oft_tests {

using namespace tersor_test;
using tersor::adapters::oft;
using tersor::adapters::oft_map;

TEST_CASE("oft: the contract, both maps, shared or not", "[oft]") {
  for (const auto& [out, in, block] :
       {std::tuple<index_t, index_t, index_t>{5, 8, 4}, {3, 6, 3}, {1, 4, 2}, {4, 3, 1}, {2, 5, 5}})
    for (const int terms : {0, 1, 2, 3, 4, 5, 7})
      for (const bool shared : {false, true}) {
        const oft o{.block_size = block, .neumann = terms > 0, .terms = std::max(terms, 1), .shared = shared};
        auto s = o.init<double>(matrix<double>(out, in));
        check_identity(s, 1);
        CHECK(s.trainable_count() == (shared ? 1 : in / block) * block * (block - 1) / 2);
        randomise(s, 2, 0.1);
        check_contract(s, 2, 3);
      }
}

TEST_CASE("oft: exact rotations keep norms, the series is close to one", "[oft]") {
  const auto w = random_matrix(6, 12, 1);
  for (const bool neumann : {false, true}) {
    auto s = oft{.block_size = 4, .neumann = neumann}.init<double>(w);
    randomise(s, 2, neumann ? 0.02 : 1.0);
    double before = 0, after = 0;
    for (const double v : w.values()) before += v * v;
    const auto turned = s.effective({w, {}}).weight;
    for (const double v : turned.values()) after += v * v;
    for (const auto& r : s.rotations()) CHECK(column_defect(r) <= (neumann ? 1e-4 : 1e-12));
    CHECK(std::abs(before - after) <= (neumann ? 1e-4 : 1e-12) * before);
  }
}

TEST_CASE("oft: the two maps have opposite signs", "[oft]") {
  const auto w = random_matrix(2, 4, 1);
  auto exact = oft{.block_size = 4, .neumann = false}.init<double>(w);
  auto series = oft{.block_size = 4, .terms = 40}.init<double>(w);
  randomise(exact, 2, 0.1);
  series.tensors()[0].value = exact.tensors()[0].value;
  for (double& v : series.tensors()[0].value.values()) v = -v;
  CHECK(difference(exact.rotations()[0], series.rotations()[0]) <= 1e-10);
}

TEST_CASE("oft: coefficients of the series", "[oft]") {
  using list = std::vector<double>;
  CHECK(oft_map{true, 1}.coefficients() == list{});
  CHECK(oft_map{true, 2}.coefficients() == list{2});
  CHECK(oft_map{true, 3}.coefficients() == list{2, 2, 1});
  CHECK(oft_map{true, 4}.coefficients() == list{2, 2, 1});
  CHECK(oft_map{true, 5}.coefficients() == list{2, 2, 2, 1});
}

TEST_CASE("oft: block sizes and the ball", "[oft]") {
  CHECK(oft{.block_size = 32}.block_for(96) == 32);
  CHECK(oft{.block_size = 5}.block_for(24) == 4);  // 4 and 6 are as near: the smaller
  CHECK(oft{.block_size = 0, .blocks = 4}.block_for(24) == 6);
  CHECK(oft{.block_size = 0, .blocks = 5}.block_for(24) == 6);
  CHECK(oft{.block_size = 100}.block_for(7) == 7);
  auto s = oft{.block_size = 4}.init<double>(matrix<double>(3, 8));
  randomise(s, 1);
  s.tensors()[0].value(1, 0) = 1e-9;
  for (index_t j = 1; j < 6; ++j) s.tensors()[0].value(1, j) = 0;
  const auto inside = s.tensors()[0].value;
  s.project(0.05);
  double norm = 0;
  for (const double v : s.tensors()[0].value.row(0)) norm += 2 * v * v;
  CHECK(std::abs(std::sqrt(norm) - 0.05 / std::sqrt(2.0)) <= 1e-12);
  CHECK(s.tensors()[0].value(1, 0) == inside(1, 0));
  CHECK_THROWS_AS(s.project(0), tersor::error);
  CHECK_THROWS_AS(oft{.block_size = 0}.validate(), tersor::error);
  CHECK_THROWS_AS((oft{.block_size = 2, .blocks = 2}.validate()), tersor::error);
  CHECK_THROWS_AS(oft{.terms = 0}.validate(), tersor::error);
  CHECK_THROWS_AS((oft{.block_size = 2, .eps = HUGE_VAL}.validate()), tersor::error);
}

}  // namespace oft_tests
