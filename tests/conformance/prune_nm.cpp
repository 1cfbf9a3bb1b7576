// tersor - conformance: N:M masks against NVIDIA/apex contrib/sparsity/sparse_masklib.py
// SPDX-License-Identifier: MIT
#include <tersor/prune/nm_mask.hpp>

#include "vectors.hpp"

namespace {

using tersor::matrix;

const conformance::technique nm{"prune_nm"};

/// "m4n2_1d", "m4n2_2d_greedy", "m4n2_2d_best", or the keys `kept` and `m`.
tersor::prune::nm_mask options_of(const conformance::test_case& c) {
  const auto text = c.option<std::string>("pattern", "");
  tersor::prune::nm_mask o;
  if (!text.empty()) {
    const auto n = text.find('n');
    o.pattern = {std::stoi(text.substr(n + 1)), std::stoi(text.substr(1))};
    if (text.ends_with("2d_greedy")) o.layout = tersor::prune::nm_layout::transposable_greedy;
    if (text.ends_with("2d_best")) o.layout = tersor::prune::nm_layout::transposable;
  } else {
    o.pattern = {c.option("kept", 2), c.option("m", 4)};
    if (c.config().contains("patterns")) o.layout = tersor::prune::nm_layout::transposable;
  }
  return o;
}

template <std::size_t Rank>
std::vector<std::uint8_t> convolution(const std::vector<float>& w, const std::vector<tersor::index_t>& shape,
                                      tersor::solve::nm_pattern pattern) {
  std::array<tersor::index_t, Rank> extents;
  std::ranges::copy(shape, extents.begin());
  return tersor::prune::nm_convolution_mask(tersor::tensor_view<const float, Rank>(w.data(), extents),
                                            pattern);
}

}  // namespace

TEST_CASE("conformance: prune_nm") {
  conformance::for_each_case(nm.stem, [](const conformance::test_case& c) {
    if (c.config().contains("algorithm")) {
      WARN("skipped: " << c.name() << " (channel permutation search: no technique of that name yet)");
      return;
    }
    const auto options = options_of(c);
    const auto expected = c.output("mask");
    const auto shape = c.input_shape("W");
    const auto w = c.input_vector("W");
    std::vector<std::uint8_t> kept;
    if (shape.size() == 2) {
      const auto mask = options.mask(tersor::prune::magnitude::score(c.input("W")));
      kept.assign(mask.values().begin(), mask.values().end());
      // along rows, a matrix is a convolution without kernel
      if (options.layout == tersor::prune::nm_layout::rows)
        CHECK(kept == convolution<2>(w, shape, options.pattern));
    } else if (shape.size() == 1) {
      kept = convolution<1>(w, shape, options.pattern);
    } else if (shape.size() == 3) {
      kept = convolution<3>(w, shape, options.pattern);
    } else {
      REQUIRE(shape.size() == 4);
      kept = convolution<4>(w, shape, options.pattern);
    }
    CHECK(conformance::mismatches(kept, expected.values()) == 0);

    if (c.has_output("patterns")) {
      const auto table = c.output("patterns");
      std::set<unsigned> theirs;
      for (tersor::index_t p = 0; p < table.rows(); ++p) {
        unsigned bits = 0;
        for (tersor::index_t i = 0; i < 16; ++i)
          if (table(p, i) != 0.0F) bits |= 1U << i;
        theirs.insert(bits);
      }
      const auto ours = tersor::prune::transposable_patterns();
      CHECK(theirs == std::set<unsigned>(ours.begin(), ours.end()));
    }
  });
}
