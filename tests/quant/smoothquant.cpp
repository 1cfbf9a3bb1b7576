// tersor - tests of quant/smoothquant.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/smoothquant.hpp>

#include "samples.hpp"

namespace smoothquant_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::op::activation_unit;
using tersor::quant::smoothquant;
using tersor::quant::w8a8;

std::vector<float> column_max(const std::vector<matrix<float>>& ms) {
  std::vector<float> m(static_cast<std::size_t>(ms.front().cols()));
  for (const auto& w : ms)
    for (index_t r = 0; r < w.rows(); ++r)
      for (std::size_t j = 0; j < m.size(); ++j)
        m[j] = std::max(m[j], std::fabs(w(r, static_cast<index_t>(j))));
  return m;
}
matrix<float> divided(matrix<float> x, const std::vector<float>& s) {
  for (index_t t = 0; t < x.rows(); ++t) tersor::solve::divide_channels(x.row(t), s);
  return x;
}

TEST_CASE("smoothquant: what the exponent does to the channel maxima", "[smoothquant]") {
  for (const index_t in : {1, 7, 40})
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const auto x = correlated_inputs(30, in, seed);
      const auto a = column_max({x});
      for (const float alpha : {0.0F, 0.5F, 1.0F}) {
        std::vector<matrix<float>> weights{random_matrix<float>(5, in, seed + 1),
                                           random_matrix<float>(9, in, seed + 2)};
        const auto m = column_max(weights);
        const auto s = smoothquant{.alpha = alpha}.scales(a, weights);
        for (auto& w : weights) tersor::solve::scale_columns(w, s);
        const auto smoothed = column_max({divided(x, s)}), scaled = column_max(weights);
        for (std::size_t j = 0; j < s.size(); ++j) {
          const float middle = std::sqrt(a[j] * m[j]);
          const auto near = [](float v, float expected) {
            return std::fabs(v - expected) <= 1e-5F * expected;
          };
          if (alpha == 0.0F) CHECK(near(scaled[j], 1.0F));
          if (alpha == 0.5F) CHECK((near(smoothed[j], middle) && near(scaled[j], middle)));
          if (alpha == 1.0F) CHECK(near(smoothed[j], 1.0F));
        }
      }
    }
}

TEST_CASE("smoothquant: the function is unchanged before quantization", "[smoothquant]") {
  for (const float alpha : {0.0F, 0.3F, 0.5F, 0.85F, 1.0F})
    for (const auto& [tokens, in, out] :
         {std::tuple<index_t, index_t, index_t>{1, 1, 1}, {1, 9, 4}, {30, 24, 9}, {7, 65, 33}})
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        // behind a norm with a gain, of which one is zero, and a bias; two layers read it
        const auto hidden = correlated_inputs(tokens, in, seed);
        auto gain = random_matrix<float>(1, in, seed + 1), bias = random_matrix<float>(1, in, seed + 2);
        if (in > 1) gain(0, 1) = 0;
        const auto behind_norm = [&] {
          auto x = hidden;
          for (index_t t = 0; t < x.rows(); ++t)
            for (index_t j = 0; j < x.cols(); ++j) x(t, j) = x(t, j) * gain(0, j) + bias(0, j);
          return x;
        };
        std::vector<matrix<float>> weights{random_matrix<float>(out, in, seed + 3),
                                           random_matrix<float>(2 * out, in, seed + 4)};
        const auto original = weights;
        const auto x = behind_norm();
        const auto s = smoothquant{.alpha = alpha}.scales(column_max({x}), weights);
        tersor::solve::divide_channels(gain.row(0), s);
        tersor::solve::divide_channels(bias.row(0), s);
        for (std::size_t k = 0; k < weights.size(); ++k) {
          tersor::solve::scale_columns(weights[k], s);
          const auto before = tersor::linalg::multiply(x, original[k].view().transposed()),
                     after = tersor::linalg::multiply(behind_norm(), weights[k].view().transposed());
          CHECK(distance(before, after) <=
                1e-5 * distance(before, matrix<float>(before.rows(), before.cols())));
        }
      }
}

TEST_CASE("smoothquant: an outlier channel costs less than a third", "[smoothquant]") {
  // sheet: one channel 100 times louder, 128 Gaussian channels, per-tensor activations, per-row weights;
  // measured about 0.009 against 0.065
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    auto x = random_matrix<float>(64, 128, seed);
    for (index_t t = 0; t < 64; ++t) x(t, 11) *= 100;
    std::vector<matrix<float>> weights{random_matrix<float>(96, 128, seed + 1)};
    const auto exact = tersor::linalg::multiply(x, weights[0].view().transposed());
    const auto error = [&](const matrix<float>& input, const matrix<float>& w) {
      matrix<float> y(64, 96);
      w8a8{.activations = activation_unit::per_tensor}(w).op.apply(input.view(), y.view());
      double e = 0, n = 0;
      for (index_t i = 0; i < y.size(); ++i) {
        const double v = static_cast<double>(exact.data()[i]), d = static_cast<double>(y.data()[i]) - v;
        e += d * d;
        n += v * v;
      }
      return std::sqrt(e / n);
    };
    const double plain = error(x, weights[0]);
    const auto s = smoothquant{}.scales(column_max({x}), weights);
    tersor::solve::scale_columns(weights[0], s);
    const double smoothed = error(divided(x, s), weights[0]);
    INFO(smoothed << " against " << plain);
    CHECK(smoothed < plain / 3);
  }
}

TEST_CASE("smoothquant: channels that were always zero, weights that are", "[smoothquant]") {
  std::vector<matrix<float>> weights{random_matrix<float>(4, 3, 1)};
  const std::vector<float> a{0.0F, 2.0F, 3.0F};
  CHECK(smoothquant{}.scales(a, weights)[0] == 1.0F);
  CHECK(smoothquant{.compat_dead = true}.scales(a, weights)[0] == 1e-5F);
  CHECK(smoothquant{.alpha = 0}.scales(a, weights)[0] == 1.0F);
  for (index_t r = 0; r < 4; ++r) weights[0](r, 1) = 0;  // taken as 1e-5
  const auto s = smoothquant{}.scales(a, weights);
  CHECK(std::fabs(s[1] - std::sqrt(2.0F / 1e-5F)) <= 1e-5F * s[1]);
}

TEST_CASE("smoothquant: a site", "[smoothquant]") {
  const auto x = correlated_inputs(30, 24, 1);
  const auto inputs = statistics_of(x, false);
  tersor::solve::scale_site site;
  site.name = "q_proj";
  site.weights.push_back(random_matrix<float>(9, 24, 2));
  site.inputs = &inputs;
  CHECK(smoothquant{}.scales(site) == smoothquant{}.scales(column_max({x}), site.weights));
  site.producer_is_norm = false;  // the method leaves o_proj and down_proj alone
  CHECK(smoothquant{}.scales(site).empty());
}

TEST_CASE("smoothquant: errors", "[smoothquant]") {
  std::vector<matrix<float>> weights{random_matrix<float>(4, 3, 1)};
  std::vector<float> a{1, 2, 3};
  const std::vector<matrix<float>> none;
  CHECK(
      holds(error_text([&] { smoothquant{.alpha = 1.5F}.scales(a, weights); }), "smoothquant: alpha = 1.5"));
  CHECK(holds(error_text([&] { smoothquant{.alpha = not_a_number}.scales(a, weights); }),
              "smoothquant: alpha = nan"));
  CHECK(holds(error_text([&] { smoothquant{}.scales(a, none); }), "smoothquant: weights = 0"));
  a[1] = not_a_number;
  CHECK(holds(error_text([&] { smoothquant{}.scales(a, weights); }), "smoothquant: activation_max[1] = nan"));
  a[1] = -1;
  CHECK(holds(error_text([&] { smoothquant{}.scales(a, weights); }), "smoothquant: activation_max[1] = -1"));
  a[1] = 1;
  weights[0](2, 1) = infinite;
  CHECK(holds(error_text([&] { smoothquant{}.scales(a, weights); }), "smoothquant: weight 0[2, 1] = inf"));
  weights.emplace_back(4, 2);
  weights[0](2, 1) = 0;
  CHECK(holds(error_text([&] { smoothquant{}.scales(a, weights); }),
              "smoothquant: columns of weight 1 = 2: expected 3"));
  tersor::solve::scale_site site;
  site.name = "q_proj";
  CHECK(holds(error_text([&] { smoothquant{}.scales(site); }), "smoothquant: calibration of q_proj = empty"));
}

}  // namespace smoothquant_tests
