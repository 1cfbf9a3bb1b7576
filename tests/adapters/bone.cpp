// tersor - tests of adapters/bone.hpp
// SPDX-License-Identifier: MIT
#include <tersor/adapters/bone.hpp>
#include <tersor/linalg/svd.hpp>

#include "contract_checks.hpp"

namespace bone_tests {

using namespace tersor_test;
using tersor::adapters::bone;

TEST_CASE("bone: the contract, short last chunks and repeated columns", "[bone]") {
  for (const auto& shape : adapter_shapes)
    for (const index_t rank : {1, 4, 12})
      for (const index_t mini : {index_t{0}, shape.out, shape.out % 2 == 0 ? shape.out / 2 : 1}) {
        const bone o{.rank = rank, .mini = mini};
        auto s = o.init<double>(matrix<double>(shape.out, shape.in), random_generator(1));
        CHECK(s.trainable_count() == rank * (mini > 0 ? mini : shape.out));
        check_identity(s, 1);
        randomise(s, 2);
        check_contract(s, shape.tokens, 3);
        CHECK(difference(s.as_lora().delta_weight(), s.delta_weight()) <= 1e-15);
      }
}

TEST_CASE("bone: all full chunks of the change are equal, its rank is bounded", "[bone]") {
  auto s = bone{.rank = 4}.init<double>(matrix<double>(7, 10), random_generator(1));
  randomise(s, 2);
  const auto d = s.delta_weight();
  for (index_t o = 0; o < 7; ++o)
    for (index_t i = 4; i < 10; ++i) CHECK(d(o, i) == d(o, i - 4));
  const auto spectrum = tersor::linalg::svd(d).s;
  CHECK(spectrum[4] <= 1e-12 * spectrum[0]);
}

TEST_CASE("bone: a mini block of all columns is Bone", "[bone]") {
  const matrix<double> w(6, 9);
  auto s = bone{.rank = 4}.init<double>(w, random_generator(1)),
       m = bone{.rank = 4, .mini = 6}.init<double>(w, random_generator(1));
  randomise(s, 2);
  randomise(m, 2);
  CHECK(s.delta_weight() == m.delta_weight());
  CHECK_THROWS_AS((bone{.rank = 4, .mini = 4}.init<double>(w, random_generator(1))), tersor::error);
  // before the memory of so many columns is asked for
  CHECK_THROWS_WITH((bone{.rank = 65536, .mini = 1'000'000'000'000}.init<double>(w, random_generator(1))),
                    "bone: mini = 1000000000000: expected a divisor of the 6 outputs");
  CHECK_THROWS_AS(bone{.rank = 0}.init<double>(w, random_generator(1)), tersor::error);
}

}  // namespace bone_tests
