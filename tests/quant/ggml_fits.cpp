// tersor - tests of quant/ggml_fits.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/ggml_fits.hpp>

#include <cmath>
#include <vector>

#include "catch.hpp"

#include <tersor/core/random.hpp>

namespace tersor {
namespace ggml_fits_tests {

using quant::fit_affine;
using quant::fit_positive;
using quant::fit_symmetric;
using quant::fit_symmetric_by_moves;
using std::vector;

vector<float> normal(std::size_t n, std::uint64_t seed) {
  random_generator random(seed);
  vector<float> x(n);
  for (float& v : x) v = static_cast<float>(random.normal());
  return x;
}
vector<float> positive(std::size_t n, std::uint64_t seed) {
  auto x = normal(n, seed);
  for (float& v : x) v = std::exp(v);
  return x;
}
/// sum w (scale (code - zero) - minimum - x)².
double error_of(const vector<float>& x, const vector<float>& w, const vector<std::uint8_t>& codes,
                float scale, int zero, float minimum = 0) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double e = static_cast<double>(scale) * (codes[i] - zero) - static_cast<double>(minimum + x[i]);
    sum += static_cast<double>(w[i]) * e * e;
  }
  return sum;
}

// IEEE rounding, by hand.
TEST_CASE("ggml fits: the nearest code, ties to even", "[ggml]") {
  for (const auto& [v, q] : {std::pair{0.5F, 0},
                             {1.5F, 2},
                             {2.5F, 2},
                             {-0.5F, 0},
                             {-1.5F, -2},
                             {-2.5F, -2},
                             {0.49999997F, 0},
                             {31.4F, 31},
                             {-127.6F, -128},
                             {4194303.0F, 4194303},
                             {1e30F, 4194303},
                             {-INFINITY, -4194303}})
    CHECK(quant::nearest_code(v) == q);
}

TEST_CASE("ggml fits: values on a grid come back", "[ggml]") {
  vector<std::uint8_t> codes(16);
  const vector<float> w(16, 1.0F);
  vector<float> x;
  for (int i = 0; i < 16; ++i) x.push_back(0.5F * static_cast<float>(i) - 2.0F);
  const auto affine = fit_affine(x, w, codes, 15, {});
  CHECK(error_of(x, w, codes, affine.scale, 0, affine.minimum) < 1e-10);
  CHECK(std::abs(affine.scale - 0.5F) < 1e-6F);
  CHECK(std::abs(affine.minimum - 2.0F) < 1e-6F);
  for (auto& v : x) v -= 2.0F;  // -4 .. 3.5, codes -8 .. 7
  CHECK(fit_symmetric(x, w, codes, 8) == 0.5F);
  CHECK(error_of(x, w, codes, 0.5F, 8) == 0.0);
  for (auto& v : x) v = -v;
  CHECK(fit_symmetric(x, w, codes, 8) == -0.5F);
  CHECK(fit_symmetric_by_moves(x, codes, 8) == -0.5F);
  CHECK(error_of(x, w, codes, -0.5F, 8) == 0.0);
  for (auto& v : x) v += 4.0F;  // 0.5 .. 8
  CHECK(std::abs(fit_positive(x, w, codes, 16) - 0.5F) < 1e-6F);
  CHECK(codes[0] == 16);
}

TEST_CASE("ggml fits: zeros, one value, one sign", "[ggml]") {
  vector<std::uint8_t> codes(16, 9);
  const vector<float> w(16, 1.0F), zero(16, 0.0F);
  const vector<std::uint8_t> none(16, 0);
  CHECK(fit_symmetric(zero, w, codes, 8) == 0.0F);
  CHECK(codes == none);
  CHECK(fit_positive(zero, w, codes, 15) == 0.0F);
  CHECK(codes == none);
  CHECK(fit_symmetric_by_moves(zero, codes, 4) == 0.0F);
  const auto nothing = fit_affine(zero, w, codes, 15, {});
  CHECK(nothing.scale == 0.0F);
  CHECK(nothing.minimum == 0.0F);
  const vector<float> below(16, -3.0F), above(16, 3.0F);
  const auto constant = fit_affine(below, w, codes, 15, {});  // all in the minimum
  CHECK(constant.scale == 0.0F);
  CHECK(constant.minimum == 3.0F);
  const auto positive_one = fit_affine(above, w, codes, 15, {});  // a minimum is never above zero
  CHECK(positive_one.minimum == 0.0F);
  CHECK(error_of(above, w, codes, positive_one.scale, 0) < 1e-10);
}

TEST_CASE("ggml fits: no worse in the weighted error than what they start from", "[ggml]") {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto x = normal(32, seed), w = positive(32, 100 + seed);
    vector<std::uint8_t> codes(32), plain(32);
    const auto fit = fit_affine(x, w, codes, 15, {});
    const auto start = fit_affine(x, w, plain, 15, {.count = -1});  // minimum to maximum
    CHECK(error_of(x, w, codes, fit.scale, 0, fit.minimum) <=
          error_of(x, w, plain, start.scale, 0, start.minimum) * (1 + 1e-5));
    CHECK(fit.minimum >= 0.0F);

    // the best scale for the first codes is one of those that are compared
    const float scale = fit_symmetric(x, w, codes, 8);
    const float step = quant::signed_maximum(x) / -8.0F;
    for (std::size_t i = 0; i < 32; ++i)
      plain[i] = static_cast<std::uint8_t>(std::clamp(quant::nearest_code(x[i] / step), -8, 7) + 8);
    CHECK(error_of(x, w, codes, scale, 8) <= error_of(x, w, plain, step, 8) * (1 + 1e-5));

    const auto scales = positive(16, 200 + seed), sums = positive(16, 300 + seed);
    vector<std::uint8_t> some(16), rounded(16);
    const float unit = fit_positive(scales, sums, some, 63);
    const float most = std::ranges::max(scales);
    for (std::size_t i = 0; i < 16; ++i)
      rounded[i] = static_cast<std::uint8_t>(quant::nearest_code(63.0F * scales[i] / most));
    CHECK(error_of(scales, sums, some, unit, 0) <=
          error_of(scales, sums, rounded, most / 63.0F, 0) * (1 + 1e-5));
  }
}

// The weighted least-squares pair for the codes that were kept, by the normal equations in double.
TEST_CASE("ggml fits: scale and minimum solve the normal equations of their codes", "[ggml]") {
  int solved = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto x = normal(32, seed), w = positive(32, 50 + seed);
    vector<std::uint8_t> codes(32);
    const auto fit = fit_affine(x, w, codes, 15, {});
    double sw = 0, sx = 0, sq = 0, sqq = 0, sqx = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      const double wi = static_cast<double>(w[i]), xi = static_cast<double>(x[i]);
      sw += wi;
      sx += wi * xi;
      sq += wi * codes[i];
      sqq += wi * codes[i] * codes[i];
      sqx += wi * codes[i] * xi;
    }
    const double scale = (sw * sqx - sx * sq) / (sw * sqq - sq * sq);
    solved += std::abs(static_cast<double>(fit.scale) - scale) < 1e-4 * scale ? 1 : 0;
    vector<std::uint8_t> symmetric(32);
    const double s = static_cast<double>(fit_symmetric(x, w, symmetric, 8));
    double xq = 0, qq = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      xq += static_cast<double>(w[i] * x[i]) * (symmetric[i] - 8);
      qq += static_cast<double>(w[i]) * (symmetric[i] - 8) * (symmetric[i] - 8);
    }
    CHECK(std::abs(s - xq / qq) < 1e-5 * std::abs(s));
  }
  CHECK(solved == 20);  // none of these starts from the best already
}

}  // namespace ggml_fits_tests
}  // namespace tersor
