// tersor - tests of quant/lqlora.hpp and of its packed words
// SPDX-License-Identifier: MIT
#include <tersor/quant/lqlora.hpp>
#include <tersor/quant/lqlora_layout.hpp>

#include "samples.hpp"

namespace lqlora_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::quant::lqlora;

static_assert(tersor::solve::compressor<lqlora>);
static_assert(tersor::solve::technique<lqlora>);

double weighted_distance(const matrix<float>& w, const matrix<float>& approximation,
                         const matrix<float>* fisher = nullptr) {
  double sum = 0;
  for (index_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(w.data()[i]) - static_cast<double>(approximation.data()[i]);
    sum += d * d * (fisher ? static_cast<double>(fisher->data()[i]) : 1.0);
  }
  return std::sqrt(sum);
}
matrix<float> sum_of(const tersor::quant::lqlora_solution& s) {
  auto w = s.quantized.to_dense();
  const auto product = s.factors.product();
  for (index_t i = 0; i < w.size(); ++i) w.data()[i] += product.data()[i];
  return w;
}
matrix<float> of_rank(index_t out, index_t in, index_t rank, std::uint64_t seed) {
  return tersor::copy_as<float>(
      times(random_matrix(out, rank, seed).view(), random_matrix(rank, in, seed + 1).view()).view());
}

TEST_CASE("lqlora: a weight of the rank is recovered", "[lqlora]") {
  for (const bool exact : {false, true})
    for (const int bits : {2, 3, 4}) {
      const auto w = of_rank(24, 40, 3, 1);
      const auto s = lqlora{.rank = 3, .bits = bits, .exact = exact}.decompose(w);
      CHECK(s.error <= 1e-5 * weighted_distance(w, matrix<float>(24, 40)));
    }
}

TEST_CASE("lqlora: a weight on the grid is recovered, as rounding alone is a candidate", "[lqlora]") {
  const lqlora o{.rank = 4, .bits = 3, .block_size = 16, .scale_block_size = 4};
  const auto w = tersor::solve::quantize_to_levels(random_matrix<float>(16, 32, 2), o.rule()).to_dense();
  // The grid of a grid value's matrix is the same one: maxima are levels times stored scales.
  const auto s = o.decompose(w);
  CHECK(s.error <= 1e-6 * weighted_distance(w, matrix<float>(16, 32)));
}

TEST_CASE("lqlora: the error is that of the pair, never above rounding alone, and falls until it stops",
          "[lqlora]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {12, 12}, {20, 70}, {70, 21}})
    for (const int bits : {2, 4})
      for (const bool weighted : {false, true}) {
        const auto w = random_matrix<float>(out, in, 3);
        matrix<float> fisher(out, in);
        tersor::random_generator g(8);
        for (float& v : fisher.values()) v = static_cast<float>(g.uniform() * g.uniform());
        const auto* f = weighted ? &fisher : nullptr;
        const lqlora o{.rank = std::min<index_t>(4, std::min(out, in)), .bits = bits};
        const auto s = o.decompose(w, f);
        const double alone =
            weighted_distance(w, tersor::solve::quantize_to_levels(w, o.rule()).to_dense(), f);
        CHECK(s.error <= alone);
        CHECK(std::abs(s.error - weighted_distance(w, sum_of(s), f)) <= 1e-5 * alone + 1e-6);
        for (std::size_t i = 1; i + 1 < s.errors.size(); ++i) CHECK(s.errors[i] <= s.errors[i - 1]);
        CHECK(s.error <= *std::ranges::min_element(s.errors));
      }
}

TEST_CASE("lqlora: Fisher weights of rank one are fitted exactly, constant ones change nothing", "[lqlora]") {
  const auto r = random_matrix<float>(14, 22, 4);
  std::vector<float> row(14), column(22);
  tersor::random_generator g(5);
  for (float& v : row) v = static_cast<float>(0.2 + g.uniform());
  for (float& v : column) v = static_cast<float>(0.2 + g.uniform());
  const auto f = tersor::solve::fit_low_rank(r, 5, row, column, {.exact = true});
  // The optimum of ‖diag(row) (R - A B) diag(column)‖ is the cut of the scaled matrix.
  matrix<double> scaled(14, 22);
  double error = 0;
  const auto product = f.product();
  for (index_t i = 0; i < 14; ++i)
    for (index_t j = 0; j < 22; ++j) {
      const double d = static_cast<double>(row[static_cast<std::size_t>(i)]) *
                       static_cast<double>(column[static_cast<std::size_t>(j)]);
      scaled(i, j) = d * static_cast<double>(r(i, j));
      const double e = d * static_cast<double>(r(i, j) - product(i, j));
      error += e * e;
    }
  const auto sigma = tersor::linalg::svd(scaled).s;
  double cut = 0;
  for (std::size_t k = 5; k < sigma.size(); ++k) cut += sigma[k] * sigma[k];
  CHECK(std::abs(std::sqrt(error) - std::sqrt(cut)) <= 1e-5 * sigma[0]);

  const lqlora o{.rank = 4, .bits = 3, .exact = true};
  const matrix<float> constant(14, 22, 4.0F);
  const auto a = o.decompose(r), b = o.decompose(r, &constant);
  CHECK(std::abs(2 * a.error - b.error) <= 1e-4 * b.error);
}

TEST_CASE("lqlora: the factors are balanced", "[lqlora]") {
  for (const bool exact : {false, true}) {
    const auto f = tersor::solve::fit_low_rank(random_matrix<float>(30, 17, 6), 5, {.exact = exact});
    const auto a = times(tersor::copy_as<double>(f.a.view().transposed()),
                         tersor::copy_as<double>(f.a.view())),
               b = times(tersor::copy_as<double>(f.b.view()),
                         tersor::copy_as<double>(f.b.view().transposed()));
    CHECK(difference(a, b) <= 1e-5);
  }
}

TEST_CASE("lqlora: what is stored, rounding of the factors, threads, errors", "[lqlora]") {
  const auto w = random_matrix<float>(32, 64, 7);
  const lqlora o{.rank = 4, .bits = 3};
  const auto result = o(w);
  // 32 blocks: their codes and one maximum; the offset; 8 levels; the factors
  const double bits = 3 + (8.0 * 32 + 32 + 32 + 8 * 32 + 16.0 * 4 * (32 + 64)) / (32 * 64);
  CHECK(std::abs(result.report.bits_per_weight - bits) <= 1e-12);
  CHECK(std::abs(lqlora{.bits = 4}.quantized_bits() - (4 + 8.0 / 64 + 32.0 / (64 * 256))) <= 1e-12);
  CHECK(o(w, nullptr, {.threads = 1}).op.to_dense() == o(w, nullptr, {.threads = 3}).op.to_dense());
  CHECK(holds(error_text([&] { lqlora{.rank = 33}(w); }), "rank = 33"));
  CHECK(holds(error_text([&] { o(w, nullptr, matrix<float>(3, 3)); }), "fisher"));
  CHECK(holds(error_text([&] { o(w, nullptr, matrix<float>(32, 64)); }), "all zero"));
  CHECK(holds(error_text([&] { o(w, nullptr, matrix<float>(32, 64, -1.0F)); }), "fisher[0, 0]"));
  tersor::solve::layer l{.weight = w};
  l.sparsity.kept = random_mask(32, 64, 0.5, 2);
  CHECK(holds(error_text([&] { o.compress(l); }), "must stay zero"));
}

TEST_CASE("lqlora: packed words come back, 3 bits lie in planes", "[lqlora]") {
  using tersor::quant::pack_lqlora_words;
  using tersor::quant::unpack_lqlora_words;
  for (const int bits : {2, 3, 4, 8}) {
    std::vector<std::uint8_t> codes(96);
    tersor::random_generator g(3);
    for (auto& c : codes) c = static_cast<std::uint8_t>(g.uniform_index(1u << bits));
    const auto words = pack_lqlora_words(bits, codes);
    CHECK(words.size() == static_cast<std::size_t>(96 * bits / 32));
    CHECK(unpack_lqlora_words(bits, words) == codes);
  }
  std::vector<std::uint8_t> codes(32);
  codes[0] = 5, codes[31] = 2;
  CHECK(pack_lqlora_words(3, codes) == std::vector<std::uint32_t>{1, 0x80000000U, 1});
  CHECK_THROWS_AS(pack_lqlora_words(3, std::vector<std::uint8_t>(31)), tersor::error);
  CHECK_THROWS_AS(pack_lqlora_words(5, codes), tersor::error);
  CHECK_THROWS_AS(pack_lqlora_words(3, std::vector<std::uint8_t>(32, 8)), tersor::error);
}

}  // namespace lqlora_tests
