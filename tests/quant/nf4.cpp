// tersor - tests of quant/nf4.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/nf4.hpp>
#include <tersor/quant/rtn.hpp>

#include "samples.hpp"

namespace nf4_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::quant::level_kind;
using tersor::quant::nf4;

static_assert(tersor::solve::compressor<nf4>);
static_assert(tersor::solve::technique<nf4>);

const nf4 exact{.double_quantization = false};

double squared_error(const matrix<float>& a, const matrix<float>& b) {
  tersor::error_statistics s;
  s.add(a, b);
  return s.squared_error;
}

TEST_CASE("nf4: zeros, maxima and levels are exact, empty blocks stay zero", "[nf4]") {
  matrix<float> w(3, 16);
  for (index_t j = 0; j < 16; ++j) {
    w(0, j) = 3 * tersor::normal_float(4).values()[static_cast<std::size_t>(j)];
    w(2, j) = j == 5 ? -2.0F : 0.0F;
  }
  const nf4 o{.block_size = 16, .double_quantization = false};
  const auto q = o(w).op;
  CHECK(q.to_dense() == w);
  const auto codes = q.codes();
  for (index_t j = 0; j < 16; ++j) {
    CHECK(codes(0, j) == j);
    CHECK(codes(1, j) == 7);
    CHECK(codes(2, j) == (j == 5 ? 0 : 7));
  }
}

TEST_CASE("nf4: every weight is within half the widest gap times its block's maximum", "[nf4]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {1, 64}, {7, 33}, {3, 200}})
    for (const index_t block : {1, 32, 64, 4096})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const auto w = random_matrix<float>(out, in, seed);
        auto o = exact;
        o.block_size = block;
        const auto q = o(w).op.to_dense();
        const auto maxima = tersor::solve::block_maxima(w, block);
        for (index_t i = 0; i < w.size(); ++i) {
          const float most = maxima[static_cast<std::size_t>(i / block)];
          REQUIRE(std::fabs(q.data()[i] - w.data()[i]) <= 0.151904F * most);
          if (std::fabs(w.data()[i]) == most) REQUIRE(q.data()[i] == w.data()[i]);
        }
        CHECK(o(q).op.to_dense() == q);  // idempotent
        // the codes do not change with the scale of the block
        auto scaled = w;
        for (float& v : scaled.values()) v *= 0.125F;
        CHECK(o(scaled).op.codes() == o(w).op.codes());
      }
}

TEST_CASE("nf4: on normal data all levels are used, with less error than a 4-bit integer grid", "[nf4]") {
  tersor::random_generator g(7);
  matrix<float> w(32, 256);
  for (float& v : w.values()) v = static_cast<float>(g.normal());
  std::vector<int> used(16);
  const auto codes = exact(w).op.codes();
  for (const auto c : codes.values()) ++used[c];
  for (const int n : used) CHECK(n > 0);
  const auto integer = tersor::quant::rtn{.bits = 4,
                                          .group_size = 64,
                                          .scheme = tersor::solve::grid_scheme::sym_signed,
                                          .scale_type = tersor::dtype::f32}(w)
                           .op.to_dense();
  CHECK(squared_error(w, exact(w).op.to_dense()) < squared_error(w, integer));
}

TEST_CASE("nf4: double quantization keeps the codes and moves the scales a little", "[nf4]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {9, 75}, {80, 512}}) {
    const auto w = random_matrix<float>(out, in, 3);
    const auto plain = exact(w).op, twice = nf4{}(w).op;
    CHECK(plain.codes() == twice.codes());
    const auto a = plain.to_dense(), b = twice.to_dense();
    CHECK(std::sqrt(squared_error(a, b)) <= 0.02 * std::sqrt(squared_error(a, matrix<float>(out, in))));
    for (index_t i = 0; i < w.size(); ++i)
      if (a.data()[i] == 0) CHECK(b.data()[i] == 0);
  }
}

TEST_CASE("nf4: bits per weight", "[nf4]") {
  const auto w = random_matrix<float>(256, 256, 1);
  const double tables = 16 * 32.0 / (256 * 256);
  CHECK(std::abs(exact(w).report.bits_per_weight - (4.5 + tables)) <= 1e-12);
  // the sheet's 4.127, the table of levels and the offset
  CHECK(std::abs(nf4{}(w).report.bits_per_weight -
                 (4 + 8.0 / 64 + 32.0 / (64 * 256) + tables + 32.0 / (256 * 256))) <= 1e-12);
}

TEST_CASE("nf4: FP4, other widths, constraints, errors", "[nf4]") {
  const auto w = random_matrix<float>(6, 64, 2);
  const auto fp4 = nf4{.double_quantization = false, .levels = level_kind::fp4}(w).op;
  for (const float v : {0.0F, 1.0F, 2.0F / 3, 0.5F, 1.0F / 3, 0.25F, 1.0F / 6, 0.0625F / 12})
    CHECK(std::ranges::count(fp4.levels(), v) >= 1);
  double before = 1e9;
  for (int bits = 2; bits <= 8; ++bits) {
    const double e = squared_error(w, nf4{.bits = bits, .double_quantization = false}(w).op.to_dense());
    CHECK(e < before);
    before = e;
  }
  tersor::solve::layer l{.weight = w};
  l.sparsity.kept = random_mask(6, 64, 0.5, 2);
  for (index_t i = 0; i < w.size(); ++i)
    if (l.sparsity.kept.data()[i] == 0) l.weight.data()[i] = 0;
  const auto outcome = nf4{}.compress(l);
  CHECK(outcome.sparsity.kept == l.sparsity.kept);
  const auto q = outcome.op.to_dense();
  for (index_t i = 0; i < w.size(); ++i)
    if (l.sparsity.kept.data()[i] == 0) CHECK(q.data()[i] == 0.0F);
  CHECK(holds(error_text([&] { nf4{.bits = 3, .levels = level_kind::fp4}(w); }), "bits = 3"));
  CHECK(holds(error_text([&] { nf4{.block_size = 0}(w); }), "block_size = 0"));
  auto bad = w;
  bad(5, 6) = not_a_number;
  CHECK(error_text([&] { nf4{}(bad); }) == "weight[5, 6] = nan: expected a finite number");
  CHECK(nf4{}(w, nullptr, {.threads = 1}).op.to_dense() == nf4{}(w, nullptr, {.threads = 3}).op.to_dense());
}

}  // namespace nf4_tests
