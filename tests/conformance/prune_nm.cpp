// tersor - conformance: N:M masks against NVIDIA/apex contrib/sparsity/sparse_masklib.py
// SPDX-License-Identifier: MIT
#include <tersor/prune/nm_mask.hpp>

#include "vectors.hpp"

namespace prune_nm_tests {

using tersor::matrix;

const conformance::technique nm{"prune_nm",
                                {"pattern", "groups_along", "kept", "m", "patterns", "algorithm",
                                 "stripe_group_size", "escape", "note", "seed"}};

/// "m4n2_1d", "m4n2_2d_greedy", "m4n2_2d_best", or the keys `kept` and `m`.
tersor::prune::nm_mask options_of(const conformance::test_case& c) {
  const auto text = c.option<std::string>("pattern", "");
  tersor::prune::nm_mask o;
  if (!text.empty()) {
    const auto n = text.find('n'), kind = text.find('_');
    if (text[0] != 'm' || n == text.npos || kind == text.npos)
      tersor::fail("config pattern", text, "m4n2_1d, say");
    o.pattern = {std::stoi(text.substr(n + 1)), std::stoi(text.substr(1))};
    const auto name = text.substr(kind + 1);
    if (name == "2d_greedy")
      o.layout = tersor::prune::nm_layout::transposable_greedy;
    else if (name == "2d_best")
      o.layout = tersor::prune::nm_layout::transposable;
    else if (name != "1d")
      tersor::fail("config pattern", text, "one that ends in 1d, 2d_greedy or 2d_best");
  } else {
    o.pattern = {c.option("kept", 2), c.option("m", 4)};
    if (c.config().contains("patterns")) o.layout = tersor::prune::nm_layout::transposable;
  }
  const auto axis = c.option<std::string>("groups_along", "input axis");
  if (axis != "input axis") tersor::fail("config groups_along", axis, "input axis");
  return o;
}

/// For each entry of a weight [out, in, kernel...], its place in the program's matrix: rows run over kernel
/// positions and outputs (kernel of one axis: outputs first), columns over inputs.
std::vector<std::size_t> places(const std::vector<tersor::index_t>& shape) {
  const tersor::index_t out = shape.size() == 1 ? 1 : shape[0], in = shape[shape.size() == 1 ? 0 : 1];
  tersor::index_t kernel = 1;
  for (std::size_t a = 2; a < shape.size(); ++a) kernel *= shape[a];
  std::vector<std::size_t> place;
  for (tersor::index_t o = 0; o < out; ++o)
    for (tersor::index_t i = 0; i < in; ++i)
      for (tersor::index_t k = 0; k < kernel; ++k) {
        const auto row = shape.size() == 3 ? o * kernel + k : k * out + o;
        place.push_back(static_cast<std::size_t>(row * in + i));
      }
  return place;
}

template <std::size_t Rank>
std::vector<std::uint8_t> convolution(const std::vector<float>& w, const std::vector<tersor::index_t>& shape,
                                      tersor::solve::nm_pattern pattern) {
  std::array<tersor::index_t, Rank> extents;
  std::ranges::copy(shape, extents.begin());
  return tersor::prune::nm_convolution_mask(tersor::tensor_view<const float, Rank>(w.data(), extents),
                                            pattern);
}

TEST_CASE("conformance: prune_nm") {
  conformance::for_each_case(nm, [](const conformance::test_case& c) {
    if (c.config().contains("algorithm")) {
      WARN("skipped: " << c.name() << " (channel permutation search: no technique of that name yet)");
      return;
    }
    const auto options = options_of(c);
    const auto expected = c.output("mask");
    const auto shape = c.input_shape("W");
    const auto w = c.input_vector("W");
    REQUIRE((shape.size() >= 1 && shape.size() <= 4));

    const auto place = places(shape);
    const tersor::index_t in = shape[shape.size() == 1 ? 0 : 1];
    matrix<float> rows(static_cast<tersor::index_t>(w.size()) / in, in);
    for (std::size_t i = 0; i < w.size(); ++i) rows.values()[place[i]] = w[i];
    const auto mask = options.mask(tersor::prune::magnitude::score(rows));
    std::vector<std::uint8_t> kept;
    for (const auto p : place) kept.push_back(mask.values()[p]);
    CHECK(conformance::mismatches(kept, expected.values()) == 0);

    if (options.layout == tersor::prune::nm_layout::rows)  // what a user of convolutions calls
      CHECK(kept == (shape.size() == 1   ? convolution<1>(w, shape, options.pattern)
                     : shape.size() == 2 ? convolution<2>(w, shape, options.pattern)
                     : shape.size() == 3 ? convolution<3>(w, shape, options.pattern)
                                         : convolution<4>(w, shape, options.pattern)));

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

}  // namespace prune_nm_tests
