// tersor - conformance: 2:4 storage against pytorch (layout A) and compressed-tensors (layout B)
// SPDX-License-Identifier: MIT
#include <tersor/prune/sp24_store.hpp>

#include "vectors.hpp"

namespace prune_sp24_tests {

using tersor::matrix;

const conformance::technique sp24{"prune_sp24", {"type", "layout", "fill", "seed"}};

template <class T, class Metadata>
void check(const conformance::test_case& c, tersor::prune::sp24_layout layout, const matrix<T>& w,
           const std::vector<T>& expected_values) {
  const auto half = tersor::prune::sp24_encode(w.view(), layout);
  CHECK(half.values == expected_values);

  const auto meta = tersor::prune::sp24_gpu_metadata<Metadata>(half, layout);
  const auto expected = c.output_integers("meta");
  REQUIRE(meta.size() == expected.size());
  for (std::size_t i = 0; i < meta.size(); ++i) CHECK(meta[i] == static_cast<Metadata>(expected[i]));

  const auto back = tersor::prune::sp24_from_gpu<Metadata>(w.rows(), w.cols(), half.values,
                                                           std::span<const Metadata>(meta), layout);
  CHECK(back == half);
  CHECK(tersor::prune::sp24_decode(back) == w);
}

TEST_CASE("conformance: prune_sp24") {
  conformance::for_each_case(sp24, [](const conformance::test_case& c) {
    const auto layout = c.choice<tersor::prune::sp24_layout>(
        "layout", "A", {{"A", tersor::prune::sp24_layout::a}, {"B", tersor::prune::sp24_layout::b}});
    const auto shape = c.input_shape("W");
    if (c.choice<bool>("type", "half", {{"half", false}, {"int8", true}})) {
      const auto numbers = c.input_integers("W"), values = c.output_integers("values");
      matrix<std::int8_t> w(shape[0], shape[1]);
      std::ranges::transform(numbers, w.values().begin(), [](int v) { return static_cast<std::int8_t>(v); });
      check<std::int8_t, std::uint32_t>(c, layout, w, {values.begin(), values.end()});
    } else {
      check<float, std::uint16_t>(c, layout, c.input("W"), c.output_vector("values"));
    }
  });
}

}  // namespace prune_sp24_tests
