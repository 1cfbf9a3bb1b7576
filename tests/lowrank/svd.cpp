// tersor - tests of lowrank/svd.hpp
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/fisher.hpp>
#include <tersor/lowrank/svd.hpp>
#include <tersor/quant/rtn.hpp>

#include "samples.hpp"

namespace svd_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::solve::calibration_need;

static_assert(tersor::solve::compressor<svd>);
static_assert(tersor::solve::technique<svd>);

constexpr svd_method all_methods[] = {svd_method::plain, svd_method::randomized, svd_method::asvd,
                                      svd_method::whitened};

bool notes_contain(const std::vector<std::string>& notes, std::string_view text) {
  for (const auto& n : notes)
    if (n.find(text) != std::string::npos) return true;
  return false;
}

TEST_CASE("svd: by hand", "[svd]") {
  matrix<float> w(3, 4);
  w(0, 1) = -4, w(1, 2) = 9, w(2, 0) = 1;  // singular values 9, 4, 1
  const auto f = with_rank(svd_method::plain, 2).factorize(w.view());
  REQUIRE((f.a.rows() == 3 && f.a.cols() == 2 && f.b.rows() == 2 && f.b.cols() == 4));
  CHECK(std::abs(f.singular[0] - 9) < 1e-12);
  CHECK(std::abs(f.singular[1] - 4) < 1e-12);
  CHECK(std::abs(f.truncation - 1) < 1e-12);
  CHECK(std::abs(f.a(1, 0) - 3) < 1e-6);  // √9, positive: the sign rule
  CHECK(std::abs(f.b(0, 2) - 3) < 1e-6);
  CHECK(std::abs(f.a(0, 1) - 2) < 1e-6);
  CHECK(std::abs(f.b(1, 1) + 2) < 1e-6);
  auto kept = w;
  kept(2, 0) = 0;
  CHECK(difference(product(f), wide(kept)) < 1e-6);

  // With the third input a thousand times as large, its row must stay and the row of 9 goes.
  matrix<float> x(4, 4);
  x(0, 0) = 1000, x(1, 1) = x(2, 2) = x(3, 3) = 0.01F;
  const auto inputs = input_statistics(x);
  const auto g = with_rank(svd_method::whitened, 1).factorize(w.view(), &inputs);
  matrix<float> expected(3, 4);
  expected(2, 0) = 1;
  CHECK(difference(product(g), wide(expected)) < 1e-6);
  CHECK(std::abs(g.singular[0] - 1000) < 1e-6);
  CHECK(std::abs(g.truncation - std::hypot(0.04, 0.09)) < 1e-7);
}

TEST_CASE("svd: an exact rank is recovered by every method", "[svd]") {
  for (const auto& [m, n] :
       {std::pair<index_t, index_t>{1, 1}, {1, 30}, {30, 1}, {20, 20}, {17, 40}, {48, 24}})
    for (const index_t r : {1, 3, 11})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const index_t rank = std::min({m, n, r});
        const auto w = narrow(of_rank(m, n, rank, 100 * seed + 1));
        const auto inputs = input_statistics(random_inputs(3 * n + 5, n, seed));
        for (const auto method : all_methods)
          for (const index_t kept : {rank, std::min(m, n)}) {
            INFO(m << " x " << n << ", rank " << rank << ", kept " << kept << ", method "
                   << static_cast<int>(method));
            const auto f = with_rank(method, kept).factorize(w.view(), &inputs);
            REQUIRE(difference(product(f), wide(w)) <= 1e-5 * largest(wide(w)));
          }
      }
}

TEST_CASE("svd: the error is the cut singular values, in each method's coordinates", "[svd]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{2, 9}, {20, 20}, {17, 40}, {48, 24}})
    for (const index_t r : {1, 2, 7, 16})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const index_t rank = std::min({m, n, r});
        const auto w = random_matrix<float>(m, n, seed);
        const auto inputs = input_statistics(random_inputs(4 * n, n, seed + 9), 4);
        INFO(m << " x " << n << ", rank " << rank);
        const auto sigma = tersor::linalg::svd(wide(w)).s;
        double cut = 0;
        for (auto i = static_cast<std::size_t>(rank); i < sigma.size(); ++i) cut += sigma[i] * sigma[i];

        const auto plain = with_rank(svd_method::plain, rank).factorize(w.view());
        REQUIRE(std::abs(plain.truncation - std::sqrt(cut)) <= 1e-12 * sigma[0]);
        REQUIRE(std::abs(norm(minus(wide(w), product(plain))) - plain.truncation) <= 1e-6 * norm(wide(w)));

        const auto sketched = with_rank(svd_method::randomized, rank).factorize(w.view());
        const double sketch_error = norm(minus(wide(w), product(sketched)));
        REQUIRE(std::abs(sketch_error - sketched.truncation) <= 1e-3 * norm(wide(w)));
        REQUIRE(sketch_error >= plain.truncation - 1e-6 * norm(wide(w)));  // Eckart and Young

        const auto white = with_rank(svd_method::whitened, rank).factorize(w.view(), &inputs);
        REQUIRE(white.damping == 0);
        REQUIRE(std::abs(output_error(w, white, inputs) - white.truncation) <= 1e-6 * output_norm(w, inputs));

        const auto scaled = with_rank(svd_method::asvd, rank).factorize(w.view(), &inputs);
        auto rest = minus(wide(w), product(scaled));
        auto reference = wide(w);
        for (index_t i = 0; i < m; ++i)
          for (index_t j = 0; j < n; ++j) {
            rest(i, j) *= scaled.scale[static_cast<std::size_t>(j)];
            reference(i, j) *= scaled.scale[static_cast<std::size_t>(j)];
          }
        REQUIRE(std::abs(norm(rest) - scaled.truncation) <= 1e-6 * norm(reference));
      }
}

TEST_CASE("svd: whitened has the smallest output error of all, for every input", "[svd]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1, 12}, {12, 1}, {16, 16}, {9, 33}, {40, 14}})
    for (std::uint64_t seed = 0; seed < 5; ++seed)
      for (const int kind : {0, 1, 2, 3}) {
        auto x = random_inputs(kind == 1 ? std::max<index_t>(n / 3, 1) : 3 * n, n, seed);  // 1: few tokens
        if (kind == 2)
          for (index_t t = 0; t < x.rows(); ++t)
            for (index_t j = 0; j < n; j += 3) x(t, j) = 0;  // 2: dead channels
        if (kind == 3)
          for (index_t t = 0; t < x.rows(); ++t)
            for (index_t j = 1; j < n; j += 2) x(t, j) = x(t, j - 1);  // 3: equal channels
        const auto inputs = input_statistics(x, kind == 1 ? 1 : 3);
        const auto w = random_matrix<float>(m, n, seed + 50);
        for (const index_t r : {index_t{1}, std::min<index_t>(4, std::min(m, n))})
          for (const auto damping : {tersor::lowrank::gram_damping::smallest_eigenvalue,
                                     tersor::lowrank::gram_damping::relative}) {
            INFO(m << " x " << n << ", rank " << r << ", inputs " << kind);
            auto whitened = with_rank(svd_method::whitened, r);
            whitened.damping = damping;
            const auto white = whitened.factorize(w.view(), &inputs);
            const double best = output_error(w, white, inputs), scale = output_norm(w, inputs);
            if (kind == 0) REQUIRE(white.damping == 0);
            for (const float v : white.b.values()) REQUIRE(std::isfinite(v));
            const auto compare = [&](const svd& other) {
              const auto f = other.factorize(w.view(), &inputs);
              // A damped Gram matrix bounds the error by damping ‖W - A B‖² of the other.
              const double slack = white.damping * std::pow(norm(minus(wide(w), product(f))), 2);
              REQUIRE(best <= std::sqrt(std::pow(output_error(w, f, inputs), 2) + slack) + 1e-6 * scale);
            };
            compare(with_rank(svd_method::plain, r));
            compare(with_rank(svd_method::randomized, r));
            for (const double alpha : {0.0, 0.5, 1.0, 2.0})
              for (const auto size : {tersor::lowrank::activation_scale::abs_mean,
                                      tersor::lowrank::activation_scale::abs_max}) {
                auto asvd = with_rank(svd_method::asvd, r);
                asvd.alpha = alpha;
                asvd.asvd_scale = size;
                compare(asvd);
              }
          }
      }
}

TEST_CASE("svd: whitening by c I, and ASVD with alpha 0, are the plain SVD", "[svd]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1, 7}, {12, 12}, {10, 25}, {25, 10}})
    for (const float c : {1e-3F, 1.0F, 300.0F}) {
      matrix<float> x(n, n);
      for (index_t j = 0; j < n; ++j) x(j, j) = c;
      const auto inputs = input_statistics(x);
      const auto w = random_matrix<float>(m, n, 7);
      const index_t r = std::min<index_t>(3, std::min(m, n));
      const auto plain = with_rank(svd_method::plain, r).factorize(w.view());
      const auto white = with_rank(svd_method::whitened, r).factorize(w.view(), &inputs);
      CHECK(difference(product(white), product(plain)) <= 1e-5);
      for (std::size_t k = 0; k < plain.singular.size(); ++k)
        CHECK(std::abs(white.singular[k] / static_cast<double>(c) - plain.singular[k]) <=
              1e-6 * plain.singular[0]);
      auto flat = with_rank(svd_method::asvd, r);
      flat.alpha = 0;
      CHECK(difference(product(flat.factorize(w.view(), &inputs)), product(plain)) <= 1e-5);
    }
}

TEST_CASE("svd: the scales of ASVD", "[svd]") {
  matrix<float> x(4, 2);
  const float values[] = {1, -8, 3, 0, 2, 4, -2, 4};
  std::ranges::copy(values, x.values().begin());
  const auto inputs = input_statistics(x, 2);
  const matrix<float> w(3, 2, 1.0F);
  svd o = with_rank(svd_method::asvd, 1);
  auto s = o.factorize(w.view(), &inputs).scale;  // means of |x|: 2 + 2 and 4 + 4
  CHECK(std::abs(s[0] - (2 + 1e-6)) < 1e-6);
  CHECK(std::abs(s[1] - (std::sqrt(8.0) + 1e-6)) < 1e-6);
  o.alpha = 1;
  o.asvd_scale = tersor::lowrank::activation_scale::abs_max;
  s = o.factorize(w.view(), &inputs).scale;
  CHECK(std::abs(s[0] - (3 + 1e-6)) < 1e-12);
  CHECK(std::abs(s[1] - (8 + 1e-6)) < 1e-12);
}

TEST_CASE("svd: ASVD with Fisher information, alone and times the activations", "[svd]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1, 1}, {5, 12}, {14, 9}})
    for (const double alpha : {0.0, 0.5, 1.0})
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const auto w = random_matrix<float>(m, n, seed);
        const auto inputs = input_statistics(random_inputs(3 * n, n, seed + 1), 3);
        tersor::lowrank::fisher_information gradients(n);
        for (std::uint64_t batch = 0; batch < 2; ++batch)
          gradients.add(random_matrix<float>(m, n, seed + 10 + batch));
        const auto fisher = gradients.value();
        svd o = with_rank(svd_method::asvd, std::min<index_t>(2, std::min(m, n)));
        o.alpha = alpha;
        const auto size = inputs.sum_sequence_mean_abs();
        const auto alone = o.factorize(w.view(), nullptr, {}, fisher),
                   both = o.factorize(w.view(), &inputs, {}, fisher);
        for (std::size_t j = 0; j < fisher.size(); ++j) {
          CHECK(std::abs(alone.scale[j] - (std::pow(fisher[j], alpha) + 1e-6)) <= 1e-12 * alone.scale[j]);
          CHECK(std::abs(both.scale[j] - (std::pow(size[j] * fisher[j], alpha) + 1e-6)) <=
                1e-12 * both.scale[j]);
        }
        // the cut is the best in the scaled coordinates
        for (const auto* f : {&alone, &both}) {
          auto scaled = wide(w), rest = minus(wide(w), product(*f));
          for (index_t i = 0; i < m; ++i)
            for (index_t j = 0; j < n; ++j) {
              scaled(i, j) *= f->scale[static_cast<std::size_t>(j)];
              rest(i, j) *= f->scale[static_cast<std::size_t>(j)];
            }
          const auto sigma = tersor::linalg::svd(scaled).s;
          double cut = 0;
          for (auto i = static_cast<std::size_t>(o.rank); i < sigma.size(); ++i) cut += sigma[i] * sigma[i];
          CHECK(std::abs(norm(rest) - std::sqrt(cut)) <= 1e-6 * norm(scaled));
        }
        // constant information changes nothing
        const std::vector<double> constant(static_cast<std::size_t>(n), 4.0);
        CHECK(difference(product(o.factorize(w.view(), nullptr, {}, constant)),
                         product(with_rank(svd_method::plain, o.rank).factorize(w.view()))) <= 1e-5);
        // the direct call
        const auto result = o(w, &inputs, fisher);
        CHECK(result.op.as<tersor::op::low_rank>()->a() == both.a);
        CHECK(result.report.weighted_error);
        const auto without = o(w, nullptr, fisher);
        CHECK(without.op.as<tersor::op::low_rank>()->b() == alone.b);
        CHECK_FALSE(without.report.weighted_error);
      }
  // no gradient at all: every channel weighs the same 1e-6
  const auto w = random_matrix<float>(6, 4, 1);
  const std::vector<double> zero(4), short_one(3, 1.0);
  const svd o = with_rank(svd_method::asvd, 2);
  CHECK(difference(product(o.factorize(w.view(), nullptr, {}, zero)),
                   product(with_rank(svd_method::plain, 2).factorize(w.view()))) <= 1e-5);
  const auto argument = [&](const svd& options, std::vector<double> fisher) {
    try {
      options(w, nullptr, fisher);
    } catch (const tersor::error& e) {
      return e.argument();
    }
    return std::string();
  };
  CHECK(argument(o, short_one) == "svd: length of fisher");
  CHECK(argument(o, {1, 2, -1, 3}) == "svd: fisher[2]");
  CHECK(argument(o, {1, std::numeric_limits<double>::quiet_NaN(), 1, 3}) == "svd: fisher[1]");
  CHECK(argument(with_rank(svd_method::plain, 2), {1, 1, 1, 1}) == "svd: fisher");
  CHECK(argument(o, {}) == "svd: calibration of weight");
}

TEST_CASE("svd: randomized is within 5% of the optimum on decaying spectra", "[svd]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{60, 60}, {50, 90}, {90, 50}})
    for (const int decay : {0, 1, 2})
      for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const index_t k = std::min(m, n);
        auto u = tersor::linalg::qr(random_matrix(m, k, seed)).q;
        const auto v = tersor::linalg::qr(random_matrix(n, k, seed + 1)).q;
        for (index_t i = 0; i < m; ++i)
          for (index_t j = 0; j < k; ++j) {
            const double t = static_cast<double>(j);
            u(i, j) *= decay == 0 ? 1 / (t + 1) : decay == 1 ? 1 / std::sqrt(t + 1) : std::pow(0.9, t);
          }
        const auto w = narrow(times(u, transposed(v)));
        for (const index_t r : {1, 5, 15}) {
          INFO(m << " x " << n << ", decay " << decay << ", rank " << r);
          tersor::context ctx;
          ctx.seed = seed;
          const auto f = with_rank(svd_method::randomized, r).factorize(w.view(), nullptr, ctx);
          const double best = with_rank(svd_method::plain, r).factorize(w.view()).truncation;
          REQUIRE(norm(minus(wide(w), product(f))) <= 1.05 * best);
        }
      }
}

TEST_CASE("svd: the bits depend on the seed, not on threads or layout", "[svd]") {
  const auto w = random_matrix<float>(70, 90, 3);
  const auto inputs = input_statistics(random_inputs(200, 90, 4));
  for (const auto method : all_methods) {
    const svd o = with_rank(method, 6);
    const auto one = o.factorize(w.view(), &inputs, threads(1));
    for (int t : {2, 5}) {
      const auto f = o.factorize(w.view(), &inputs, threads(t));
      CHECK((f.a == one.a && f.b == one.b));
    }
    const auto columns = tersor::copy_as<float>(w.view().transposed());
    CHECK(o.factorize(columns.view().transposed(), &inputs).b == o.factorize(w.view(), &inputs).b);
    tersor::context other;
    other.seed = 1;
    CHECK((o.factorize(w.view(), &inputs, other).a == one.a) == (method != svd_method::randomized));
  }
}

TEST_CASE("svd: rank from ratio", "[svd]") {
  for (index_t m = 1; m < 40; ++m)
    for (index_t n = 1; n < 40; ++n)
      for (const auto method : {svd_method::plain, svd_method::asvd}) {
        const index_t whole = svd{.method = method, .ratio = 1}.rank_for(m, n);
        INFO(m << " x " << n);
        REQUIRE(whole == std::clamp<index_t>(m * n / (m + n), 1, std::min(m, n)));
        if (m > 1 && n > 1) REQUIRE(whole * (m + n) <= m * n);
        const index_t half = svd{.method = method, .ratio = 0.5}.rank_for(m, n);
        REQUIRE(half == std::max<index_t>(m * n / (2 * (m + n)), 1));
        if (half > 1) REQUIRE(2 * half * (m + n) <= m * n);
      }
  CHECK(svd{.ratio = 0.8}.rank_for(4096, 4096) == 1638);
  CHECK(svd{.ratio = 0.8, .rank_align = 16}.rank_for(4096, 4096) == 1648);
  CHECK(svd{.ratio = 0.8, .rank_align = 64}.rank_for(20, 30) == 20);
  CHECK(svd{.rank = 7, .rank_align = 16}.rank_for(20, 30) == 7);
  CHECK_THROWS_AS(svd{.rank = 21}.rank_for(20, 30), tersor::error);
}

TEST_CASE("svd: the operator and its report", "[svd]") {
  const auto w = random_matrix<float>(24, 40, 1);
  const auto inputs = input_statistics(random_inputs(100, 40, 2));
  for (const auto type : {tersor::dtype::f32, tersor::dtype::f16, tersor::dtype::bf16})
    for (const auto method : all_methods) {
      const svd o{.method = method, .ratio = 0.6, .value_type = type};
      const auto result = o(w, inputs);
      const auto* factors = result.op.as<tersor::op::low_rank>();
      REQUIRE(factors);
      CHECK(factors->rank() == 9);
      const double bits = type == tersor::dtype::f32 ? 32 : 16;
      CHECK(result.report.bits_per_weight == bits * 9 * (24 + 40) / (24 * 40));
      CHECK(result.report.bytes == static_cast<std::size_t>(bits) / 8 * 9 * (24 + 40));
      CHECK(result.report.notes.empty());
      REQUIRE(result.report.weighted_error);
      const auto f = o.factorize(w.view(), &inputs);
      auto rounded = f.a;
      for (float& v : rounded.values()) v = tersor::round_to(type, v);
      CHECK(factors->a() == rounded);
      const double relative = norm(minus(wide(w), wide(result.op.to_dense()))) / norm(wide(w));
      CHECK(std::abs(result.report.relative_error - relative) <= 1e-6);
    }
  // without statistics, as a direct call and in a chain
  const auto alone = svd{.ratio = 0.6}(w);
  CHECK_FALSE(alone.report.weighted_error);
  CHECK(alone.op.kind() == "low_rank");
  const auto sum = (svd{.rank = 4} + tersor::quant::rtn{.bits = 4, .group_size = 8})(w, inputs);
  CHECK(sum.op.kind() == "sum");
  CHECK(sum.report.relative_error < alone.report.relative_error);
  const auto chain = (svd{.rank = 4} | tersor::quant::rtn{.bits = 8, .group_size = 8})(w, inputs);
  CHECK(chain.op.kind() == "quantized");
}

TEST_CASE("svd: what is needed of the calibration", "[svd]") {
  CHECK(svd{.method = svd_method::plain}.needed() == calibration_need::none);
  CHECK(svd{.method = svd_method::randomized}.needed() == calibration_need::none);
  CHECK(svd{.method = svd_method::asvd}.needed() == calibration_need::sums);
  CHECK(svd{.method = svd_method::whitened}.needed() == calibration_need::gram);
  const auto w = random_matrix<float>(6, 8, 1);
  const statistics empty(8), other = input_statistics(random_matrix<float>(9, 7, 1));
  statistics sums(8, {.gram = false});
  sums.add(random_matrix<float>(9, 8, 1));
  for (const auto method : {svd_method::asvd, svd_method::whitened}) {
    const svd o{.method = method, .rank = 2};
    CHECK_THROWS_AS(o(w), tersor::error);
    CHECK_THROWS_AS(o(w, empty), tersor::error);
    CHECK_THROWS_AS(o(w, other), tersor::error);
    CHECK_THROWS_AS(o.factorize(w.view()), tersor::error);
    CHECK_THROWS_AS(o.factorize(w.view(), &other), tersor::error);
  }
  CHECK_NOTHROW(svd{.method = svd_method::asvd, .rank = 2}(w, sums));
  CHECK_THROWS_AS((svd{.method = svd_method::whitened, .rank = 2}(w, sums)), tersor::error);
}

TEST_CASE("svd: zero matrices, zero inputs, one row, one column", "[svd]") {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1, 1}, {1, 9}, {9, 1}, {6, 9}})
    for (const auto method : all_methods)
      for (const bool no_weight : {false, true})
        for (const bool no_input : {false, true}) {
          INFO(m << " x " << n << ", method " << static_cast<int>(method));
          const auto w = no_weight ? matrix<float>(m, n) : random_matrix<float>(m, n, 2);
          const auto inputs = input_statistics(no_input ? matrix<float>(5, n) : random_inputs(5, n, 3));
          for (const index_t r : {index_t{1}, std::min(m, n)}) {
            const auto f = with_rank(method, r).factorize(w.view(), &inputs);
            for (const float v : f.a.values()) REQUIRE(std::isfinite(v));
            for (const float v : f.b.values()) REQUIRE(std::isfinite(v));
            if (no_weight) REQUIRE(norm(product(f)) == 0);
            if (r == std::min(m, n)) REQUIRE(output_error(w, f, inputs) <= 1e-5 * output_norm(w, inputs));
            if (no_input && method == svd_method::whitened) {  // every weight fits; the plain one is taken
              const auto plain = with_rank(svd_method::plain, r).factorize(w.view());
              REQUIRE(difference(product(f), product(plain)) <= 1e-5 * largest(wide(w)));
            }
          }
        }
  const auto whitened = svd{.method = svd_method::whitened, .rank = 2};
  const auto dead = whitened(random_matrix<float>(6, 9, 2), input_statistics(random_matrix<float>(4, 9, 3)));
  CHECK(notes_contain(dead.report.notes, "singular Gram matrix"));
}

TEST_CASE("svd: relative damping does not see the scale of the inputs", "[svd]") {
  const auto w = random_matrix<float>(10, 16, 1);
  auto x = random_inputs(9, 16, 2);
  svd o = with_rank(svd_method::whitened, 3);
  o.damping = tersor::lowrank::gram_damping::relative;
  const auto first = input_statistics(x);
  const auto f = o.factorize(w.view(), &first);
  CHECK(f.damping > 0);
  for (float& v : x.values()) v *= 0x1p-12F;
  const auto second = input_statistics(x);
  const auto g = o.factorize(w.view(), &second);
  CHECK(difference(product(f), product(g)) <= 1e-4);
  // the official damping is absolute: it lifts the smallest eigenvalue to 1e-6
  o.damping = tersor::lowrank::gram_damping::smallest_eigenvalue;
  const auto h = o.factorize(w.view(), &first);
  const double lifted = tersor::linalg::smallest_eigenvalue(first.gram().view()) + h.damping;
  CHECK(std::abs(lifted - 1e-6) <= 1e-12 * largest(first.gram()));
}

TEST_CASE("svd: notes and the fall-back to the dense layer", "[svd]") {
  const auto w = random_matrix<float>(8, 8, 1);
  CHECK(notes_contain(svd{.rank = 4}(w).report.notes, "rank 4 saves nothing: 64 values instead of 64"));
  CHECK(notes_contain(svd{.ratio = 1}(w).report.notes, "saves nothing"));
  CHECK(svd{.rank = 3}(w).report.notes.empty());
  CHECK(notes_contain(svd{.ratio = 0.1}(w).report.notes, "less than rank 1"));

  auto large = w;
  for (float& v : large.values()) v *= 1e10F;  // √σ is above 65504
  const auto dense = svd{.rank = 3, .value_type = tersor::dtype::f16}(large);
  REQUIRE(dense.op.as<tersor::op::dense>());
  CHECK(dense.op.to_dense() == large);  // does not fit F16 either
  CHECK(notes_contain(dense.report.notes, "left dense"));
  CHECK(svd{.rank = 3, .value_type = tersor::dtype::bf16}(large).op.kind() == "low_rank");
  auto one_large =
      matrix<float>(400, 400, 60000.0F);  // √(400 · 60000) · √(1 / 400) fits, so this is factored
  CHECK(svd{.rank = 1, .value_type = tersor::dtype::f16}(one_large).op.kind() == "low_rank");
}

TEST_CASE("svd: errors", "[svd]") {
  auto w = random_matrix<float>(6, 8, 1);
  CHECK_THROWS_AS(svd{.rank = 7}(w), tersor::error);
  CHECK_THROWS_AS(svd{.rank = -1}(w), tersor::error);
  CHECK_THROWS_AS(svd{.ratio = 0}(w), tersor::error);
  CHECK_THROWS_AS(svd{.ratio = 1.1}(w), tersor::error);
  CHECK_THROWS_AS(svd{.rank_align = 0}(w), tersor::error);
  CHECK_THROWS_AS(svd{.alpha = -1}(w), tersor::error);
  CHECK_THROWS_AS((svd{.method = svd_method::randomized, .oversampling = -1}(w)), tersor::error);
  CHECK_THROWS_AS((svd{.method = svd_method::randomized, .power_iterations = -1}(w)), tersor::error);
  CHECK_THROWS_AS(svd{}(matrix<float>(0, 4)), tersor::error);
  CHECK_THROWS_AS(svd{}(matrix<float>(4, 0)), tersor::error);
  tersor::solve::layer pruned{.weight = w};
  pruned.sparsity.kept = matrix<std::uint8_t>(6, 8, 1);
  CHECK_THROWS_AS(svd{}.compress(pruned), tersor::error);
  w(2, 3) = std::numeric_limits<float>::quiet_NaN();
  try {
    svd{}(w);
    FAIL("no error");
  } catch (const tersor::error& e) {
    CHECK(e.argument() == "weight[2, 3]");
  }
  svd o;
  tersor::set_option(o, svd::info.id, "method", "whitened");
  tersor::set_option(o, svd::info.id, "ratio", "0.5");
  CHECK((o.method == svd_method::whitened && o.ratio == 0.5));
  CHECK_THROWS_AS(tersor::set_option(o, svd::info.id, "method", "jpeg"), tersor::error);
}

}  // namespace svd_tests
