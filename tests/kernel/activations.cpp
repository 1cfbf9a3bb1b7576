// tersor - tests of kernel/activations.hpp: every target against the definitions in double
// SPDX-License-Identifier: MIT
#include <tersor/kernel/activations.hpp>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/random.hpp>

namespace tersor {
namespace activations_tests {

using kernel::target;
using test::targets;

/// Lengths around the width of registers, empty tails and long ones.
const std::vector<std::size_t> lengths{1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 1000};

std::vector<float> normal(std::size_t n, std::uint64_t seed, double scale = 3) {
  random_generator random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(scale * random.normal());
  return x;
}
double exact(float x) { return std::exp(static_cast<double>(x)); }

TEST_CASE("activations: the exponential is within two units in the last place") {
  double worst = 0;
  for (float x = -87.0F; x < 88.0F; x += 0.00137F)
    worst = std::max(worst, std::abs(static_cast<double>(kernel::exponential(x)) - exact(x)) / exact(x));
  CHECK(worst < 1.2e-7);
  CHECK(kernel::exponential(0.0F) == 1.0F);
  CHECK(kernel::exponential(-200.0F) == 0.0F);
  for (const float x :
       {128.0F, 1e8F, 1e13F, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity()}) {
    CHECK(kernel::exponential(-x) == 0.0F);
    CHECK(kernel::exponential(x) == std::numeric_limits<float>::infinity());
  }
  CHECK(std::isnan(kernel::exponential(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("activations: softmax is a distribution, of shifted rows too") {
  for (const target t : targets())
    for (const std::size_t n : lengths) {
      const auto x = normal(n, n);
      double total = 0;
      for (const float v : x) total += exact(v);
      for (const float shift : {0.0F, 500.0F}) {
        auto y = x;
        for (float& v : y) v += shift;
        kernel::softmax(y.data(), static_cast<index_t>(n), t);
        double sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
          sum += static_cast<double>(y[i]);
          CHECK(std::abs(static_cast<double>(y[i]) - exact(x[i]) / total) < (shift == 0 ? 1e-6 : 1e-4));
        }
        CHECK(std::abs(sum - 1) < 1e-6);
      }
    }
}

TEST_CASE("activations: log-sum-exp of equal, shifted and long rows") {
  for (const target t : targets()) {
    CHECK(std::abs(kernel::log_sum_exp(std::vector<float>(100, 3.0F).data(), 100, t) -
                   (3 + std::log(100.0))) < 1e-6);
    for (const std::size_t n : lengths) {
      auto x = normal(n, 2 * n);
      double total = 0;
      for (const float v : x) total += exact(v);
      CHECK(std::abs(kernel::log_sum_exp(x.data(), static_cast<index_t>(n), t) - std::log(total)) < 1e-6);
      for (float& v : x) v += 500.0F;
      CHECK(std::abs(kernel::log_sum_exp(x.data(), static_cast<index_t>(n), t) - std::log(total) - 500) <
            1e-3);
    }
  }
}

TEST_CASE("activations: exponentials of a piece, their sum and the largest") {
  for (const target t : targets())
    for (const std::size_t n : lengths) {
      const auto x = normal(n, n);
      auto y = x;
      const auto part = kernel::exponentials(y.data(), static_cast<index_t>(n), 0.25F, t);
      CHECK(part.largest == 0.25F * *std::max_element(x.begin(), x.end()));
      double sum = 0;
      for (std::size_t i = 0; i < n; ++i) {
        sum += static_cast<double>(y[i]);
        CHECK(std::abs(static_cast<double>(y[i]) - exact(0.25F * x[i] - part.largest)) < 1e-6);
      }
      CHECK(std::abs(part.sum - sum) < 1e-9 * sum);
    }
}

TEST_CASE("activations: SwiGLU") {
  for (const target t : targets())
    for (const std::size_t n : lengths) {
      const auto gate = normal(n, 3 * n), up = normal(n, 4 * n, 1);
      auto y = gate;
      kernel::swiglu(y.data(), up.data(), static_cast<index_t>(n), t);
      for (std::size_t i = 0; i < n; ++i) {
        const double g = static_cast<double>(gate[i]),
                     expected = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
        CHECK(std::abs(static_cast<double>(y[i]) - expected) <= 1e-6 * std::max(1.0, std::abs(expected)));
      }
    }
}

TEST_CASE("activations: RMSNorm") {
  for (const target t : targets())
    for (const std::size_t n : lengths) {
      const auto x = normal(n, 5 * n), weight = normal(n, 6 * n, 1);
      double squares = 0;
      for (const float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
      std::vector<float> y(n);
      kernel::rms_norm(x.data(), weight.data(), 1e-5F, static_cast<index_t>(n), y.data(), t);
      for (std::size_t i = 0; i < n; ++i) {
        const double expected = static_cast<double>(x[i]) /
                                std::sqrt(squares / static_cast<double>(n) + static_cast<double>(1e-5F)) *
                                static_cast<double>(weight[i]);
        CHECK(std::abs(static_cast<double>(y[i]) - expected) <= 1e-6 * std::max(1.0, std::abs(expected)));
      }
    }
}

}  // namespace activations_tests
}  // namespace tersor
