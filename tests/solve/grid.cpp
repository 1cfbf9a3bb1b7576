// tersor - tests of solve/grid.hpp
// SPDX-License-Identifier: MIT
#include <tersor/solve/grid.hpp>

#include "../quant/samples.hpp"

namespace grid_tests {

using namespace tersor_test;
using namespace tersor::solve;
using tersor::dtype;
using tersor::index_t;
namespace op = tersor::op;

float highest(int bits) { return static_cast<float>((1 << bits) - 1); }

std::vector<float> numbers(std::size_t n, std::uint64_t seed, float offset = 0) {
  tersor::random_generator g(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(g.normal()) + offset;
  return x;
}

constexpr std::array every_scheme{grid_scheme::affine0, grid_scheme::sym_unsigned, grid_scheme::sym_signed,
                                  grid_scheme::affine_minmax};

// Closed forms.

TEST_CASE("grid: a constant unit", "[grid]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const float c : {0.7F, -3.1F}) {
      INFO(bits << " bits, " << c);
      const std::vector<float> x(5, c);
      const float n = highest(bits);
      const grid_rule f32{.bits = bits, .scale_type = dtype::f32};
      const auto g = fit_grid(x, f32);  // the range is widened to hold 0
      CHECK(g.scale == std::fabs(c) / n);
      CHECK(g.zero == (c > 0 ? 0.0F : n));
      CHECK(grid_code(c, g, n) == (c > 0 ? n : 0.0F));
      // AWQ's: no width at all, scale 1e-5 / N (sheet: large values saturate)
      const auto m =
          fit_grid(x, {.bits = bits, .scheme = grid_scheme::affine_minmax, .scale_type = dtype::f32});
      CHECK(m.scale == 1e-5F / n);
      CHECK(m.zero == (c > 0 ? 0.0F : n));
      CHECK(grid_code(c, m, n) == (c > 0 ? n : 0.0F));
    }
}

TEST_CASE("grid: a unit of zeros, and none at all", "[grid]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const auto scheme : every_scheme)
      for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
        for (const std::size_t size : {0U, 1U, 6U}) {
          const grid_rule rule{.bits = bits, .scheme = scheme, .scale_type = type};
          const auto g = fit_grid(std::vector<float>(size), rule);
          CHECK(g.scale > 0.0F);
          CHECK(grid_value(0.0F, g, highest(bits)) == 0.0F);
        }
  const auto g = fit_grid(std::vector<float>(3), {.bits = 4, .scale_type = dtype::f32});
  CHECK(g.scale == 2.0F / 15.0F);  // of the range -1 .. 1
  CHECK(g.zero == 7.0F);           // 1 / s = 7.4999996: the float 2 / 15 lies above the fraction
}

TEST_CASE("grid: the smallest steps", "[grid]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const float w : {1e-8F, 1e-6F}) {  // sheet: s >= 1e-5 / (2^(b-1) - 1) and 1e-5 / N
      const std::vector<float> x{w, -w / 2};
      const float n = highest(bits), half = static_cast<float>((1 << (bits - 1)) - 1);
      CHECK(fit_grid(x, {.bits = bits, .scheme = grid_scheme::sym_signed, .scale_type = dtype::f32}).scale ==
            1e-5F / half);
      CHECK(
          fit_grid(x, {.bits = bits, .scheme = grid_scheme::affine_minmax, .scale_type = dtype::f32}).scale ==
          1e-5F / n);
    }
}

TEST_CASE("grid: affine_minmax saturates where all weights have one sign", "[grid]") {
  // sheet: z clamps to an end while s spans max - min only
  for (int bits = 2; bits <= 8; ++bits)
    for (const float sign : {1.0F, -1.0F}) {
      const std::vector<float> x{5 * sign, 6 * sign};
      const float n = highest(bits);
      const auto g = fit_grid(x, {.bits = bits, .scheme = grid_scheme::affine_minmax});
      CHECK(g.zero == (sign > 0 ? 0.0F : n));
      for (const float w : x) CHECK(grid_value(w, g, n) == sign * g.scale * n);
      const auto widened = fit_grid(x, {.bits = bits});  // affine0 does not
      for (const float w : x) CHECK(std::fabs(grid_value(w, widened, n) - w) <= 0.5001F * widened.scale);
    }
}

TEST_CASE("grid: a ramp gets every code", "[grid]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const float s : {0.25F, 1.0F, 8.0F}) {
      std::vector<float> x;
      const float n = highest(bits), z = std::floor(n / 3);
      for (float q = 0; q <= n; ++q) x.push_back(s * (q - z));
      for (const auto scheme : {grid_scheme::affine0, grid_scheme::affine_minmax}) {
        const auto g = fit_grid(x, {.bits = bits, .scheme = scheme});
        CHECK(g.scale == s);
        CHECK(g.zero == z);
        for (float q = 0; q <= n; ++q) CHECK(grid_code(x[static_cast<std::size_t>(q)], g, n) == q);
      }
    }
}

TEST_CASE("grid: the symmetric extreme is clipped by half a step", "[grid]") {
  // sym_unsigned: +a lies at 7.5 steps and becomes 7, -a at -7.5, a tie that goes to the even -8
  const std::vector<float> x{15.0F, -3.0F, 0.0F, 2.0F};
  const auto g = fit_grid(x, {.bits = 4, .scheme = grid_scheme::sym_unsigned});
  CHECK(g.scale == 2.0F);
  CHECK(g.zero == 8.0F);
  CHECK(grid_value(15.0F, g, 15) == 14.0F);
  CHECK(grid_value(-15.0F, g, 15) == -16.0F);
  // sym_signed: codes -8 .. 7, a is 7 steps
  const auto h = fit_grid(x, {.bits = 4, .scheme = grid_scheme::sym_signed, .scale_type = dtype::f32});
  CHECK(h.scale == 15.0F / 7.0F);
  CHECK(grid_code(15.0F, h, 15) == 15.0F);
  CHECK(grid_code(-15.0F, h, 15) == 1.0F);
}

TEST_CASE("grid: one-sided units as released keep a bound of 0", "[grid]") {
  const std::vector<float> x{0.5F, 3.0F, 1.5F};
  const auto mirrored = fit_grid(x, {.scheme = grid_scheme::sym_unsigned, .scale_type = dtype::f32});
  const auto released =
      fit_grid(x, {.scheme = grid_scheme::sym_unsigned, .scale_type = dtype::f32, .compat_one_sided = true});
  CHECK(mirrored.scale == 6.0F / 15.0F);
  CHECK(released.scale == 3.0F / 15.0F);
  CHECK(grid_value(3.0F, released, 15) == 7.0F * released.scale);  // everything above 7 steps is clipped
}

// Properties.

TEST_CASE("grid: no weight is further than half a step, zero stays zero, codes are stable", "[grid]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const auto scheme : every_scheme)
      for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
        for (const std::size_t size : {1U, 2U, 7U, 128U})
          for (std::uint64_t seed = 0; seed < 6; ++seed) {
            const auto x = numbers(size, seed + 100 * size, static_cast<float>(seed) - 2.0F);
            const float n = highest(bits);
            const auto g = fit_grid(x, {.bits = bits, .scheme = scheme, .scale_type = type});
            // the quotient w / s and s itself are rounded: 2 ulp of up to N steps
            const float step = g.scale * (0.5F + 2.4e-7F * n);
            // affine_minmax does not cover 0, so z clamps where all weights have one sign
            const auto [lo, hi] = std::ranges::minmax(x);
            const bool covered = scheme != grid_scheme::affine_minmax || (lo <= 0 && hi >= 0);
            bool close = true, stable = true;
            for (const float w : x) {
              const float v = grid_value(w, g, n);
              close = close && std::fabs(v - w) <= step;
              stable = stable && grid_code(v, g, n) == grid_code(w, g, n);
            }
            INFO(bits << " bits, scheme " << static_cast<int>(scheme) << ", " << size << " weights, seed "
                      << seed);
            if (covered) CHECK(close);
            CHECK(stable);
            CHECK(grid_value(0.0F, g, n) == 0.0F);
            CHECK(tersor::round_to(type, g.scale) == g.scale);  // it is what is stored
          }
}

TEST_CASE("grid: values on a grid come back bit by bit", "[grid]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      tersor::random_generator random(seed);
      const float n = highest(bits), z = static_cast<float>(random.uniform_index(1u << bits));
      const float s = std::ldexp(1.0F, static_cast<int>(random.uniform_index(12)) - 8);
      std::vector<float> codes{0, n}, x;  // both ends are used
      for (int k = 0; k < 20; ++k) codes.push_back(static_cast<float>(random.uniform_index(1u << bits)));
      for (const float q : codes) x.push_back(s * (q - z));
      const auto g = fit_grid(x, {.bits = bits});
      CHECK(g.scale == s);
      CHECK(g.zero == z);
      for (std::size_t k = 0; k < x.size(); ++k) {
        CHECK(grid_code(x[k], g, n) == codes[k]);
        CHECK(grid_value(x[k], g, n) == x[k]);
      }
    }
}

TEST_CASE("grid: scaling by a power of two scales the grid", "[grid]") {
  for (const auto scheme : {grid_scheme::affine0, grid_scheme::sym_unsigned})
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      const auto x = numbers(40, seed);
      const grid_rule rule{
          .bits = 3, .scheme = scheme, .clip_search = seed % 2 == 1, .scale_type = dtype::f32};
      const auto g = fit_grid(x, rule);
      for (const float c : {0.125F, 4.0F}) {
        auto scaled = x;
        for (float& v : scaled) v *= c;
        const auto h = fit_grid(scaled, rule);
        CHECK(h.scale == c * g.scale);
        CHECK(h.zero == g.zero);
        for (std::size_t k = 0; k < x.size(); ++k) CHECK(grid_code(scaled[k], h, 7) == grid_code(x[k], g, 7));
      }
    }
}

TEST_CASE("grid: a clip search never does worse, and finds outliers", "[grid]") {
  const auto loss = [](const std::vector<float>& x, unit_grid g, float n, float norm) {
    double e = 0;
    for (const float w : x) e += std::pow(std::fabs(static_cast<double>(grid_value(w, g, n) - w)), norm);
    return e;
  };
  index_t better = 0;
  for (int bits = 2; bits <= 8; ++bits)
    for (const auto scheme : every_scheme)
      for (const float norm : {1.0F, 2.4F})
        for (std::uint64_t seed = 0; seed < 5; ++seed) {
          auto x = numbers(64, seed);
          x[3] *= 6;
          const grid_rule plain{.bits = bits, .scheme = scheme, .norm = norm};
          auto searched = plain;
          searched.clip_search = true;
          const double before = loss(x, fit_grid(x, plain), highest(bits), norm),
                       after = loss(x, fit_grid(x, searched), highest(bits), norm);
          CHECK(after <= before * (1 + 1e-5));  // the search adds up powers of floats
          better += after < 0.9 * before;
        }
  CHECK(better > 100);
}

TEST_CASE("grid: a clip search takes the first of the best candidates", "[grid]") {
  for (const int bits : {2, 3, 4, 8})
    for (const auto scheme : every_scheme)
      for (const std::size_t size : {1U, 5U, 64U})
        for (std::uint64_t seed = 0; seed < 4; ++seed) {
          const grid_rule rule{.bits = bits, .scheme = scheme, .clip_search = true, .grid = 30};
          auto x = numbers(size, seed);
          x[0] *= 5;
          const auto [lo, hi] = std::ranges::minmax(x);
          const auto range = grid_range(lo, hi, rule);
          unit_grid best;
          double least = infinite;
          for (int i = 0; i < 24; ++i) {  // 1 ... 1 - 23 / 30
            const auto g = tersor::solve::detail::grid_of_range(range.first, range.second,
                                                                static_cast<float>(1.0 - i / 30.0), rule);
            double error = 0;
            for (const float w : x)
              error += static_cast<double>(std::pow(std::fabs(grid_value(w, g, highest(bits)) - w), 2.4F));
            if (error < least) {
              least = error;
              best = g;
            }
          }
          const auto found = fit_grid(x, rule);
          CHECK((found.scale == best.scale && found.zero == best.zero));
        }
}

TEST_CASE("grid: the number of candidates is the share that was written", "[grid]") {
  // sheet: i = 0 ... floor(max_shrink grid) - 1, 80 with the defaults
  CHECK(tersor::solve::detail::clip_candidates(0.8F, 100) == 80);
  bool exact = true;
  for (int grid = 1; grid <= 300; ++grid)
    for (int k = 0; k <= grid; ++k)
      exact = exact && tersor::solve::detail::clip_candidates(
                           static_cast<float>(k) / static_cast<float>(grid), grid) == k;
  CHECK(exact);
  const std::vector<float> x{1, 5, -2};
  const auto none = fit_grid(x, {.clip_search = true, .max_shrink = 0});
  CHECK(none.scale == fit_grid(x, {}).scale);
}

TEST_CASE("grid: scales at the ends of their type", "[grid]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const auto scheme : {grid_scheme::affine0, grid_scheme::sym_unsigned})
      for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
        for (const float size : {1e-45F, 1e-40F, 1e-30F, 1e-9F, 3e-7F}) {
          INFO(bits << " bits, " << size);
          const std::vector<float> x{size, -size / 3, 0.0F};
          const grid_rule rule{.bits = bits, .scheme = scheme, .scale_type = type};
          const auto g = fit_grid(x, rule);
          CHECK(g.scale > 0.0F);
          CHECK(tersor::round_to(type, g.scale) == g.scale);
          // among subnormal numbers the step itself is rounded to a multiple of 2^-149
          const float bound = 0.5001F * g.scale + highest(bits) * 0x1p-149F;
          for (const float w : x) CHECK(std::fabs(grid_value(w, g, highest(bits)) - w) <= bound);
        }
  // 65504 is F16's largest number
  const grid_rule half{.bits = 2};
  CHECK(fit_grid(std::vector<float>{3 * 65504.0F}, half).scale == 65504.0F);
  CHECK(holds(error_text([&] { fit_grid(std::vector<float>{3 * 65505.0F}, half); }), "scale = 65505"));
  CHECK(holds(error_text([&] { fit_grid(std::vector<float>{3e20F, 0}, half); }), "scale"));
  // the width of a range may leave float while the step does not
  for (const auto scheme : every_scheme)
    for (const auto type : {dtype::f32, dtype::bf16}) {
      const std::vector<float> x{-3e38F, 1e38F, 3e38F};
      const auto g = fit_grid(x, {.bits = 4, .scheme = scheme, .scale_type = type});
      for (const float w : x) CHECK(std::fabs(grid_value(w, g, 15) / 2 - w / 2) <= 0.2501F * g.scale);
    }
}

// Matrices.

TEST_CASE("grid: groups of a matrix", "[grid]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 1}, {1, 10}, {5, 1}, {7, 30}})
    for (const index_t group : {index_t{-1}, index_t{1}, index_t{4}, index_t{7}, index_t{1000}}) {
      INFO(rows << " x " << cols << ", groups of " << group);
      const auto w = random_matrix<float>(rows, cols, 5);
      const grid_rule rule{.bits = 3};
      const auto p = fit_grids(w.view(), group, false, rule, threads(1));
      const index_t size = group < 0 ? cols : group;
      REQUIRE(p.scale.rows() == rows);
      REQUIRE(p.scale.cols() == (cols + size - 1) / size);
      const auto codes = quantize(w.view(), p, 3, threads(1));
      for (index_t r = 0; r < rows; ++r)
        for (index_t j = 0; j < cols; ++j) {
          std::vector<float> unit;
          for (index_t k = j / size * size; k < std::min(cols, j / size * size + size); ++k)
            unit.push_back(w(r, k));
          const auto g = fit_grid(unit, rule);
          CHECK(p.at(r, j / size).scale == g.scale);
          CHECK(p.at(r, j / size).zero == g.zero);
          CHECK(static_cast<float>(codes(r, j)) == grid_code(w(r, j), g, 7));
        }
      for (const auto scheme : every_scheme) {  // a part never has a wider range
        const grid_rule other{.bits = 3, .scheme = scheme};
        const auto parts = fit_grids(w.view(), group, false, other),
                   all = fit_grids(w.view(), -1, false, other);
        for (index_t r = 0; r < rows; ++r)
          for (index_t g = 0; g < parts.scale.cols(); ++g) CHECK(parts.scale(r, g) <= all.scale(r, 0));
      }
      for (const int n : {2, 3}) {
        const auto again = fit_grids(w.view(), group, false, rule, threads(n));
        CHECK((again.scale == p.scale && again.zero == p.zero));
        CHECK(quantize(w.view(), again, 3, threads(n)) == codes);
      }
      const auto one = fit_grids(w.view(), group, true, rule);
      REQUIRE(one.scale.size() == 1);
      CHECK(one.at(rows - 1, 0).scale == fit_grid(w.values(), rule).scale);
    }
}

TEST_CASE("grid: errors", "[grid]") {
  const auto w = random_matrix<float>(3, 10, 1);
  const auto fit = [&](int bits, index_t group, bool per_tensor = false) {
    return error_text([&] { fit_grids(w.view(), group, per_tensor, {.bits = bits}); });
  };
  for (const int bits : {-1, 0, 9, 32}) {
    CHECK(fit(bits, 4) == tersor::concat("bits = ", bits, ": expected 1 .. 8"));
    CHECK(fit(bits, 4, true) == fit(bits, 4));
  }
  CHECK(fit(4, 0) == "group_size = 0: expected -1 or at least 1");
  const auto p = fit_grids(w.view(), 4, false, {});
  const auto codes = [&](index_t rows, index_t cols, const grid_parameters& grids, int bits = 4) {
    return error_text([&] { quantize(matrix<float>(rows, cols).view(), grids, bits); });
  };
  CHECK(codes(3, 10, p).empty());
  CHECK(codes(3, 10, p, 9) == "bits = 9: expected 1 .. 8");
  CHECK(holds(codes(4, 10, p), "rows of the grids = 3: expected 1 or 4"));
  CHECK(holds(codes(3, 13, p), "groups of the grids = 3: expected groups of 4 in 13 columns"));
  auto mixed = p;
  mixed.zero = matrix<float>(3, 2);
  CHECK(holds(codes(3, 10, mixed), "zero points of the grids = 3 x 2: expected 3 x 3"));
  CHECK(holds(codes(3, 10, {}), "rows of the grids = 0"));
  for (const float v : {not_a_number, infinite, -infinite})  // callers have checked; a code all the same
    for (const auto scheme : every_scheme) {
      const auto g = fit_grid(std::vector<float>{v, 1.0F}, {.scheme = scheme, .scale_type = dtype::f32});
      const float code = grid_code(v, g, 15), zero = grid_code(0.0F, g, 15);
      CHECK((code >= 0.0F && code <= 15.0F && zero >= 0.0F && zero <= 15.0F));
    }
}

/// A technique with the options of a grid.
struct with_grid {
  int bits = 4;
  grid_scheme scheme = grid_scheme::affine0;
  bool clip_search = false;
  float norm = 2.4F;
  int grid = 100;
  float max_shrink = 0.8F;
  dtype scale_type = dtype::f16;
  bool compat_one_sided = false;
  static constexpr auto options() {
    return std::tuple_cat(std::tuple{scheme_option<with_grid>()}, grid_options<with_grid>());
  }
};

TEST_CASE("grid: every option of a technique reaches its rule", "[grid]") {
  const auto same = [](const grid_rule& a, const grid_rule& b) {
    return a.bits == b.bits && a.scheme == b.scheme && a.clip_search == b.clip_search && a.norm == b.norm &&
           a.grid == b.grid && a.max_shrink == b.max_shrink && a.scale_type == b.scale_type &&
           a.compat_one_sided == b.compat_one_sided;
  };
  CHECK(same(rule_of(with_grid{}), grid_rule{}));
  with_grid t{.bits = 7};
  for (const auto& [name, value] : {std::pair{"scheme", "sym_signed"},
                                    {"clip_search", "true"},
                                    {"norm", "3"},
                                    {"grid", "50"},
                                    {"max_shrink", "0.25"},
                                    {"scale_type", "bf16"},
                                    {"compat_one_sided", "true"}})
    tersor::set_option(t, "test", name, value);
  CHECK(same(rule_of(t), {7, grid_scheme::sym_signed, true, 3.0F, 50, 0.25F, dtype::bf16, true}));
  tersor::validate_options(t, "test");
  CHECK(holds(error_text([&] { tersor::set_option(t, "test", "norm", "0.4"); }), "test: norm = 0.4"));
  CHECK(holds(error_text([&] { tersor::set_option(t, "test", "grid", "0"); }), "test: grid = 0"));
  CHECK(holds(error_text([&] { tersor::set_option(t, "test", "max_shrink", "1.1"); }), "test: max_shrink"));
}

/// What the codes stand for, where they are kept.
matrix<float> values_of(const matrix<std::uint8_t>& codes, const grid_parameters& p,
                        const std::vector<std::int32_t>& g_idx, const sparsity& s) {
  matrix<float> w(codes.rows(), codes.cols());
  for (index_t r = 0; r < w.rows(); ++r)
    for (index_t j = 0; j < w.cols(); ++j) {
      const auto g = p.at(r, g_idx.empty() ? j / p.group_size : g_idx[static_cast<std::size_t>(j)]);
      if (s.empty() || s.kept(r, j) != 0) w(r, j) = g.scale * (static_cast<float>(codes(r, j)) - g.zero);
    }
  return w;
}

TEST_CASE("grid: operators of codes under every kind of constraint", "[grid]") {
  const index_t rows = 6, cols = 20;
  const auto w = random_matrix<float>(rows, cols, 8);
  for (const index_t group : {index_t{-1}, index_t{5}, index_t{8}})
    for (const auto scheme : {grid_scheme::affine0, grid_scheme::sym_unsigned})
      for (const bool scattered : {false, true}) {
        const grid_rule rule{.bits = 3, .scheme = scheme};
        const auto p = fit_grids(w.view(), group, false, rule);
        const auto codes = quantize(w.view(), p, 3);
        std::vector<std::int32_t> g_idx;
        if (scattered)
          for (index_t j = 0; j < cols; ++j)
            g_idx.push_back(static_cast<std::int32_t>(j * 7 % p.scale.cols()));
        std::vector<sparsity> constraints(5);
        constraints[1].kept = random_mask(rows, cols, 0.4, 9);
        constraints[2] = {matrix<std::uint8_t>(rows, cols), 2, 4, {}};
        for (index_t r = 0; r < rows; ++r)
          for (index_t j = 0; j < cols; ++j) constraints[2].kept(r, j) = (j + r) % 4 < 2;
        constraints[3] = constraints[2];  // 2:4 in another order of the columns
        for (index_t j = 0; j < cols; ++j)
          constraints[3].permutation.push_back(static_cast<std::int32_t>((j * 3 + 1) % cols));
        for (index_t r = 0; r < rows; ++r)
          for (index_t j = 0; j < cols; ++j)
            constraints[3].kept(r, constraints[3].permutation[static_cast<std::size_t>(j)]) =
                constraints[2].kept(r, j);
        constraints[4].kept = matrix<std::uint8_t>(rows, cols);  // nothing is kept
        const std::array<std::string_view, 5> kinds{"quantized", "sparse_bitmap", "sparse_nm", "permuted",
                                                    "sparse_bitmap"};
        for (std::size_t k = 0; k < constraints.size(); ++k) {
          INFO("groups of " << group << ", constraint " << k << ", scattered " << scattered);
          const auto result = quantized_operator(codes, p, rule, constraints[k], g_idx);
          CHECK(result.kind() == kinds[k]);
          CHECK(result.to_dense() == values_of(codes, p, g_idx, constraints[k]));
        }
        // the same constraints over reals
        for (std::size_t k = 1; k < constraints.size(); ++k) {
          const auto result = sparse_operator(w.view(), constraints[k], dtype::f32);
          CHECK(result.kind() == kinds[k]);
          const auto dense = result.to_dense();
          for (index_t r = 0; r < rows; ++r)
            for (index_t j = 0; j < cols; ++j)
              CHECK(dense(r, j) == (constraints[k].kept(r, j) != 0 ? w(r, j) : 0.0F));
        }
      }
}

}  // namespace grid_tests
