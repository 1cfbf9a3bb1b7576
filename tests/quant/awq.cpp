// tersor - tests of quant/awq.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/awq.hpp>

#include "samples.hpp"

namespace awq_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::quant::awq;
using tersor::quant::awq_scales;
namespace solve = tersor::solve;

/// Linears that share an input, inspected one beside the other.
struct site {
  tersor::calib::statistics inputs;
  solve::scale_site value;
  site(const std::vector<index_t>& outputs, const std::vector<matrix<float>>& samples, std::uint64_t seed)
      : inputs(samples.front().cols(), {.gram = false}) {
    const index_t in = samples.front().cols();
    for (const auto& x : samples) inputs.add(x);
    value.name = "gate";
    for (const index_t out : outputs) value.weights.push_back(random_matrix<float>(out, in, seed++));
    value.inputs = &inputs;
    value.samples = samples;
    value.inspect = [](matrix_view<const float> x, std::span<const matrix<float>> weights) {
      index_t columns = 0, first = 0;
      for (const auto& w : weights) columns += w.rows();
      matrix<float> y(x.rows(), columns);
      for (const auto& w : weights) {
        const auto part = tersor::linalg::multiply(x, w.view().transposed());
        tersor::copy(part.view(), y.view().block(0, first, x.rows(), w.rows()));
        first += w.rows();
      }
      return y;
    };
  }
  site(const site&) = delete;
};

matrix<float> with_outliers(index_t tokens, index_t in, std::uint64_t seed) {
  auto x = random_matrix<float>(tokens, in, seed);
  for (index_t t = 0; t < tokens; ++t)
    for (index_t j = 0; j < in; j += 7) x(t, j) *= 20;
  return x;
}

/// Mean squared error of the site's outputs when its weights are scaled by s, rounded and scaled back, by
/// definition.
double loss_of(const awq& options, const solve::scale_site& s, const std::vector<float>& scales) {
  double error = 0, count = 0;
  for (std::size_t k = 0; k < s.weights.size(); ++k) {
    auto w = s.weights[k];
    solve::scale_columns(w, scales);
    w = solve::rounded_to_grid(w.view(), options.target());
    for (const auto& x : s.samples)
      for (index_t t = 0; t < x.rows(); ++t)
        for (index_t r = 0; r < w.rows(); ++r) {
          double d = 0;
          for (index_t j = 0; j < w.cols(); ++j)
            d += (static_cast<double>(w(r, j)) / static_cast<double>(scales[static_cast<std::size_t>(j)]) -
                  static_cast<double>(s.weights[k](r, j))) *
                 static_cast<double>(x(t, j));
          error += d * d;
          ++count;
        }
  }
  return error / count;
}

TEST_CASE("awq: the chosen exponent has the smallest loss, never above that of no scaling", "[awq]") {
  index_t scaled = 0;
  for (const auto& [in, group] : {std::pair<index_t, index_t>{1, 1}, {12, 5}, {28, 7}, {28, -1}, {28, 100}})
    for (const int bits : {2, 3, 4, 8})
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const site s({6, 3}, {with_outliers(20, in, seed), with_outliers(3, in, seed + 1)}, seed);
        const awq options{.bits = bits, .group_size = group};
        const auto found = options.search_scales(s.value);
        REQUIRE(found.losses.size() == 20);
        const auto least = std::ranges::min_element(found.losses);
        const auto step = static_cast<double>(least - found.losses.begin());
        CHECK(found.exponent == step / 20);  // the first of equals
        CHECK(*least <= found.losses.front());
        CHECK(std::abs(loss_of(options, s.value, found.scales) - *least) <= 1e-4 * *least + 1e-12);
        CHECK(std::abs(loss_of(options, s.value, std::vector<float>(static_cast<std::size_t>(in), 1.0F)) -
                       found.losses.front()) <= 1e-4 * found.losses.front() + 1e-12);
        CHECK(options.scales(s.value) == found.scales);
        scaled += step > 0;
      }
  CHECK(scaled > 20);  // loud channels make it worth while
}

TEST_CASE("awq: s is the mean magnitude to the exponent, its ends inverse to each other", "[awq]") {
  const site s({5}, {with_outliers(20, 28, 1)}, 2);
  const auto found = awq{.bits = 3, .group_size = 7}.search_scales(s.value);
  REQUIRE(found.exponent > 0);
  const auto a = s.inputs.mean_abs();
  const auto [least, largest] = std::ranges::minmax(a);
  for (std::size_t j = 0; j < a.size(); ++j) {
    const double expected =
        std::pow(a[j], found.exponent) / std::sqrt(std::pow(least * largest, found.exponent));
    CHECK(std::abs(static_cast<double>(found.scales[j]) - expected) <= 1e-5 * expected);
  }
}

TEST_CASE("awq: channels of equal loudness are not scaled", "[awq]") {
  auto x = random_matrix<float>(12, 20, 1);
  for (float& v : x.values()) v = v < 0 ? -0.7F : 0.7F;
  const site s({5}, {x}, 2);
  const auto found = awq{.bits = 3, .group_size = 5}.search_scales(s.value);
  CHECK(found.exponent == 0.0);  // all exponents give the same: the first stays
  for (const float v : found.scales) CHECK(std::fabs(v - 1.0F) <= 1e-6F);
  for (const double l : found.losses) CHECK(std::abs(l - found.losses[0]) <= 1e-3 * found.losses[0]);
}

TEST_CASE("awq: scaling all inputs changes nothing", "[awq]") {
  const auto x = with_outliers(20, 28, 1);
  const site s({5}, {x}, 2);
  const auto found = awq{.bits = 3, .group_size = 7}.search_scales(s.value);
  for (const float c : {0.25F, 16.0F}) {
    auto louder = x;
    for (float& v : louder.values()) v *= c;
    const site t({5}, {louder}, 2);
    const auto again = awq{.bits = 3, .group_size = 7}.search_scales(t.value);
    CHECK(again.exponent == found.exponent);
    for (std::size_t j = 0; j < found.scales.size(); ++j)
      CHECK(std::fabs(again.scales[j] - found.scales[j]) <= 1e-5F * found.scales[j]);
  }
}

TEST_CASE("awq: inputs that were always zero", "[awq]") {
  auto x = with_outliers(20, 28, 1);
  for (index_t t = 0; t < 20; ++t) x(t, 3) = 0;
  const site some({5}, {x}, 2);
  for (const float v : awq{.group_size = 7}.scales(some.value)) CHECK((std::isfinite(v) && v > 0));
  const site none({5}, {matrix<float>(4, 28)}, 2);
  const auto found = awq{.group_size = 7}.search_scales(none.value);
  CHECK(found.exponent == 0.0);
  CHECK(found.scales == std::vector<float>(28, 1.0F));
}

TEST_CASE("awq: one token, one row, one column, any group", "[awq]") {
  for (const auto& [tokens, out, in] :
       {std::tuple<index_t, index_t, index_t>{1, 1, 1}, {1, 3, 8}, {5, 1, 8}, {5, 3, 1}})
    for (const index_t group : {index_t{-1}, index_t{1}, index_t{3}, index_t{128}})
      for (const auto scheme : {solve::grid_scheme::affine_minmax, solve::grid_scheme::affine0,
                                solve::grid_scheme::sym_unsigned, solve::grid_scheme::sym_signed}) {
        const site s({out}, {with_outliers(tokens, in, 1)}, 2);
        const awq options{.bits = 3, .group_size = group, .scheme = scheme};
        const auto found = options.search_scales(s.value);
        CHECK(*std::ranges::min_element(found.losses) <= found.losses.front());
        for (const float v : found.scales) CHECK((std::isfinite(v) && v > 0));
        auto w = s.value.weights[0];
        const auto before = w;
        options.adjust(w, s.value.samples[0].view(), {});
        for (index_t i = 0; i < w.size(); ++i) CHECK(std::fabs(w.data()[i]) <= std::fabs(before.data()[i]));
      }
}

TEST_CASE("awq: the search imitates the stage that follows", "[awq]") {
  site s({5}, {with_outliers(20, 28, 1)}, 2);
  const awq three{.bits = 3, .group_size = 7}, eight{.bits = 8, .group_size = -1};
  const auto expected = three.search_scales(s.value);
  s.value.targets.push_back(three.target());
  CHECK(eight.search_scales(s.value).losses == expected.losses);
  auto alone = eight;
  alone.match_next = false;
  CHECK(alone.search_scales(s.value).losses != expected.losses);
}

/// sum_t (sum_j x_tj (q - w)_j)² over the tokens of the search, by definition.
double clip_loss(const matrix<float>& w, const matrix<float>& x, const solve::grid_target& target,
                 index_t row, index_t first, index_t width, float limit, index_t stride) {
  std::vector<float> unit;
  for (index_t j = first; j < first + width; ++j) unit.push_back(std::clamp(w(row, j), -limit, limit));
  const auto grid = solve::fit_grid(unit, target.rule);
  double total = 0;
  for (index_t t = 0; t < x.rows(); t += stride) {
    double d = 0;
    for (index_t j = 0; j < width; ++j)
      d += static_cast<double>(x(t, first + j)) *
           (static_cast<double>(solve::grid_value(unit[static_cast<std::size_t>(j)], grid,
                                                  static_cast<float>((1 << target.rule.bits) - 1))) -
            static_cast<double>(w(row, first + j)));
    total += d * d;
  }
  return total;
}

TEST_CASE("awq: clips are the best of their candidates, never worse than none", "[awq]") {
  index_t clipped = 0;
  for (const auto& [out, in, group] :
       {std::tuple<index_t, index_t, index_t>{1, 1, 1}, {7, 30, 8}, {7, 30, -1}, {3, 10, 64}})
    for (const int bits : {2, 3, 4})
      for (const index_t tokens : {1, 30, 70}) {
        auto w = random_matrix<float>(out, in, 3);
        w(0, 0) *= 4;
        const auto x = correlated_inputs(tokens, in, 4);
        const awq options{.bits = bits, .group_size = group, .clip_tokens = 20};
        const index_t stride = std::max<index_t>(1, tokens / 20), g = group < 0 ? in : group;
        const auto clips = options.search_clips(w.view(), x.view(), {}, threads(1));
        REQUIRE(clips.rows() == out);
        REQUIRE(clips.cols() == (in + g - 1) / g);
        for (index_t r = 0; r < out; ++r)
          for (index_t k = 0; k < clips.cols(); ++k) {
            const index_t first = k * g, width = std::min(g, in - first);
            float largest = 0;
            for (index_t j = first; j < first + width; ++j) largest = std::max(largest, std::fabs(w(r, j)));
            const auto loss = [&](float limit) {
              return clip_loss(w, x, options.target(), r, first, width, limit, stride);
            };
            double least = infinite;
            bool candidate = false;
            for (int i = 0; i < 10; ++i) {  // 1.00, 0.95 ... 0.55
              const float limit = largest * static_cast<float>(1.0 - i / 20.0);
              least = std::min(least, loss(limit));
              candidate = candidate || limit == clips(r, k);
            }
            CHECK(candidate);
            CHECK(loss(clips(r, k)) <= least * (1 + 1e-6) + 1e-12);
            CHECK(loss(clips(r, k)) <= loss(largest) * (1 + 1e-6) + 1e-12);
            clipped += clips(r, k) < largest;
          }
        for (const int n : {2, 3}) CHECK(options.search_clips(w.view(), x.view(), {}, threads(n)) == clips);
        auto adjusted = w;
        options.adjust(adjusted, x.view(), {});
        for (index_t r = 0; r < out; ++r)
          for (index_t j = 0; j < in; ++j)
            CHECK(adjusted(r, j) == std::clamp(w(r, j), -clips(r, j / g), clips(r, j / g)));
        auto untouched = w;
        auto off = options;
        off.clip = false;
        off.adjust(untouched, x.view(), {});
        CHECK(untouched == w);
      }
  CHECK(clipped > 50);
}

TEST_CASE("awq: no clip of zeros, and none where nothing is tried", "[awq]") {
  const auto x = random_matrix<float>(9, 8, 1);
  CHECK(awq{.group_size = 4}.search_clips(matrix<float>(2, 8).view(), x.view()) == matrix<float>(2, 2));
  const auto w = random_matrix<float>(2, 8, 2);
  const auto all = awq{.group_size = 8, .max_shrink = 0}.search_clips(w.view(), x.view());
  for (index_t r = 0; r < 2; ++r) {
    float largest = 0;
    for (const float v : w.row(r)) largest = std::max(largest, std::fabs(v));
    CHECK(all(r, 0) == largest);
  }
}

TEST_CASE("awq: the same scales for any number of threads", "[awq]") {
  const site s({20, 9}, {with_outliers(20, 28, 1), with_outliers(9, 28, 2), with_outliers(5, 28, 3)}, 2);
  const awq options{.bits = 3, .group_size = 7};
  const auto one = options.search_scales(s.value, threads(1));
  for (const int n : {2, 3}) {
    const auto many = options.search_scales(s.value, threads(n));
    CHECK(many.scales == one.scales);
    CHECK(many.losses == one.losses);
  }
}

TEST_CASE("awq: errors", "[awq]") {
  site s({5}, {with_outliers(20, 28, 1)}, 2);
  CHECK(holds(error_text([&] { awq{.bits = 9}.scales(s.value); }), "awq: bits = 9: expected 2 .. 8"));
  CHECK(holds(error_text([&] { awq{.group_size = 0}.scales(s.value); }), "awq: group_size = 0"));
  CHECK(holds(error_text([&] { awq{.n_grid = 0}.scales(s.value); }), "awq: n_grid = 0"));
  s.value.weights[0](1, 2) = not_a_number;
  CHECK(holds(error_text([&] { awq{}.scales(s.value); }), "awq: weight 0 of gate[1, 2] = nan"));
  s.value.weights[0](1, 2) = 0;
  s.value.samples[0](4, 5) = infinite;
  CHECK(holds(error_text([&] { awq{}.scales(s.value); }), "awq: sample 0 of gate[4, 5] = inf"));
  s.value.samples[0](4, 5) = 0;
  s.value.weights.push_back(random_matrix<float>(2, 28, 3));
  s.value.targets.push_back(awq{}.target());
  CHECK(error_text([&] { awq{}.scales(s.value); }) == "awq: targets of gate = 1: expected 0 or 2");
  s.value.targets.clear();
  const tersor::calib::statistics nothing_seen(28, {.gram = false});
  s.value.inputs = &nothing_seen;
  CHECK(holds(error_text([&] { awq{}.scales(s.value); }), "awq: calibration of gate = empty"));
  s.value.inputs = &s.inputs;
  s.value.samples.clear();
  CHECK(holds(error_text([&] { awq{}.scales(s.value); }), "awq: calibration of gate = empty"));
  s.value.inputs = nullptr;
  CHECK(holds(error_text([&] { awq{}.scales(s.value); }), "awq: calibration of gate = empty"));

  const auto w = random_matrix<float>(3, 4, 1);
  CHECK(holds(error_text([&] { awq{}.search_clips(w.view(), matrix<float>(2, 5).view()); }),
              "awq: columns of x = 5: expected 4"));
  CHECK(holds(error_text([&] { awq{}.search_clips(w.view(), matrix<float>(0, 4).view()); }), "awq: tokens"));
  matrix<float> x(2, 4);
  x(1, 0) = not_a_number;
  CHECK(holds(error_text([&] { awq{}.search_clips(w.view(), x.view()); }), "awq: x[1, 0] = nan"));
  auto bad = w;
  bad(2, 3) = infinite;
  CHECK(holds(error_text([&] { awq{}.search_clips(bad.view(), matrix<float>(2, 4).view()); }),
              "awq: w[2, 3] = inf"));
}

}  // namespace awq_tests
