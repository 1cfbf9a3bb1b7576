// tersor - tests of adapters/bat.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/bat.hpp>
#include <tersor/adapters/bone.hpp>

#include "contract_checks.hpp"

namespace bat_tests {

using namespace tersor_test;
using tersor::adapters::bat;
using tersor::adapters::bat_state;

TEST_CASE("bat: the contract", "[bat]") {
  for (const auto& [out, in, rank] :
       {std::tuple<index_t, index_t, index_t>{6, 9, 3}, {4, 4, 4}, {2, 6, 2}, {3, 5, 1}}) {
    auto s = bat{.rank = rank}.init<double>(matrix<double>(out, in), random_generator(1));
    CHECK(s.trainable_count() == rank * out);
    CHECK(s.tensors()[0].shape == std::vector<index_t>{out / rank, rank, rank});
    check_identity(s, 1);
    randomise(s, 2, 0.3);
    check_contract(s, 3, 3);
  }
}

TEST_CASE("bat: B = c I adds c W and c times the tiled identity", "[bat]") {
  const auto w = random_matrix(6, 9, 1);
  matrix<double> blocks(6, 3);
  for (index_t i = 0; i < 6; ++i) blocks(i, i % 3) = 0.5;
  const auto e = bat_state<double>(9, blocks).effective({w, {}}).weight;
  for (index_t o = 0; o < 6; ++o)
    for (index_t j = 0; j < 9; ++j)
      REQUIRE(std::abs(e(o, j) - 1.5 * w(o, j) - (o % 3 == j % 3 ? 0.5 : 0.0)) <= 1e-12);
}

TEST_CASE("bat: on a zero weight it is Bone", "[bat]") {
  const matrix<double> zero(6, 9);
  auto s = bat{.rank = 3}.init<double>(zero, random_generator(1));
  randomise(s, 2);
  matrix<double> m(3, 6);
  for (index_t j = 0; j < 3; ++j)
    for (index_t o = 0; o < 6; ++o) m(j, o) = s.tensors()[0].value(o, j);
  CHECK(difference(s.effective({zero, {}}).weight,
                   tersor::adapters::bone_state<double>(6, 9, m).delta_weight()) <= 1e-15);
}

TEST_CASE("bat: what cannot be unmerged, and errors", "[bat]") {
  matrix<double> blocks(4, 2);
  blocks(2, 0) = blocks(3, 1) = -1;  // I + B of the second block row is zero
  bat_state<double> s(6, blocks);
  dense_layer<double> layer{random_matrix(4, 6, 1), {}};
  s.merge(layer);
  try {
    s.unmerge(layer);
    FAIL("no error");
  } catch (const tersor::error& e) {
    CHECK(e.argument() == "bat: I + B of block row 1");
  }
  CHECK(s.merged());
  CHECK_THROWS_AS(bat{.rank = 2}.init<double>(matrix<double>(4, 5), random_generator(1)), tersor::error);
  CHECK_THROWS_AS(bat{.rank = 3}.init<double>(matrix<double>(4, 6), random_generator(1)), tersor::error);
}

}  // namespace bat_tests
