// tersor - tests of quant/loftq.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/loftq.hpp>
#include <tersor/quant/nf4.hpp>

#include "samples.hpp"

namespace loftq_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::quant::loftq;
using tersor::quant::nf4;

static_assert(tersor::solve::compressor<loftq>);
static_assert(tersor::solve::technique<loftq>);

double distance_to(const matrix<float>& w, const tersor::quant::loftq_solution& s) {
  tersor::error_statistics e;
  auto approximation = s.quantized.to_dense();
  const auto product = s.factors.product();
  for (index_t i = 0; i < w.size(); ++i) approximation.data()[i] += product.data()[i];
  e.add(w, approximation);
  return std::sqrt(e.squared_error);
}
double norm(const matrix<float>& w) {
  tersor::error_statistics e;
  e.add(matrix<float>(w.rows(), w.cols()), w);
  return std::sqrt(e.squared_error);
}

TEST_CASE("loftq: never worse than rounding alone, and the best of its iterations", "[loftq]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {12, 12}, {20, 70}, {70, 20}})
    for (const int bits : {2, 4, 8})
      for (const bool exact : {false, true}) {
        const auto w = random_matrix<float>(out, in, 3);
        const index_t rank = std::min<index_t>(4, std::min(out, in));
        const auto rounded = nf4{.bits = bits, .double_quantization = false}(w).op.to_dense();
        tersor::error_statistics plain;
        plain.add(w, rounded);
        for (const int iterations : {1, 5}) {
          const loftq o{.rank = rank, .bits = bits, .iterations = iterations, .exact = exact};
          const auto s = o.decompose(w);
          REQUIRE(s.errors.size() == static_cast<std::size_t>(iterations));
          CHECK(distance_to(w, s) <= std::sqrt(plain.squared_error) + 1e-6);
          const double best = *std::ranges::min_element(s.errors);
          CHECK(std::abs(distance_to(w, s) - best) <= 1e-5 * norm(w));
        }
      }
}

TEST_CASE("loftq: one iteration is the best fit of what rounding left", "[loftq]") {
  const auto w = random_matrix<float>(24, 40, 5);
  const auto s = loftq{.rank = 6, .bits = 2, .iterations = 1, .exact = true}.decompose(w);
  const auto rounded = nf4{.bits = 2, .double_quantization = false}(w).op.to_dense();
  CHECK(s.quantized.to_dense() == rounded);
  matrix<double> rest(24, 40);
  for (index_t i = 0; i < w.size(); ++i)
    rest.data()[i] = static_cast<double>(w.data()[i]) - static_cast<double>(rounded.data()[i]);
  const auto sigma = tersor::linalg::svd(rest).s;
  double cut = 0;
  for (std::size_t k = 6; k < sigma.size(); ++k) cut += sigma[k] * sigma[k];
  CHECK(std::abs(s.errors[0] - std::sqrt(cut)) <= 1e-5 * norm(w));
}

TEST_CASE("loftq: full rank recovers the weight, no iteration is QLoRA's start", "[loftq]") {
  const auto w = random_matrix<float>(16, 24, 6);
  const auto full = loftq{.rank = 16, .bits = 2, .iterations = 2, .exact = true}.decompose(w);
  CHECK(distance_to(w, full) <= 1e-5 * norm(w));
  const auto start = loftq{.rank = 4, .iterations = 0}.decompose(w);
  CHECK(start.quantized.to_dense() == nf4{.double_quantization = false}(w).op.to_dense());
  CHECK(start.factors.a == matrix<float>(16, 4));
  CHECK(start.factors.b != matrix<float>(4, 24));
  CHECK(start.factors.b == loftq{.rank = 4, .iterations = 0}.decompose(w).factors.b);
  CHECK(start.factors.b != loftq{.rank = 4, .iterations = 0}.decompose(w, {.seed = 1}).factors.b);
}

TEST_CASE("loftq: what is stored, threads, errors", "[loftq]") {
  const auto w = random_matrix<float>(32, 64, 7);
  const loftq o{.rank = 4, .bits = 2};
  const auto result = o(w);
  const double bits = 2 + 32.0 / 64 + 4 * 32.0 / (32 * 64) + 16.0 * 4 * (32 + 64) / (32 * 64);
  CHECK(std::abs(result.report.bits_per_weight - bits) <= 1e-12);
  CHECK(o(w, nullptr, {.threads = 1}).op.to_dense() == o(w, nullptr, {.threads = 3}).op.to_dense());
  CHECK(holds(error_text([&] { loftq{.rank = 33}(w); }), "rank = 33"));
  tersor::solve::layer l{.weight = w};
  l.sparsity.kept = random_mask(32, 64, 0.5, 2);
  CHECK(holds(error_text([&] { o.compress(l); }), "must stay zero"));
}

}  // namespace loftq_tests
