// tersor - tests of solve/column_feedback.hpp
// SPDX-License-Identifier: MIT
#include <tersor/solve/column_feedback.hpp>

#include "../quant/samples.hpp"

namespace column_feedback_tests {

using namespace tersor_test;
using namespace tersor::solve;
using tersor::index_t;

/// Some map of a weight that depends on its place: zero, rounded, moved, or left alone.
struct arbitrary_policy {
  void begin_panel(index_t, index_t, matrix_view<const float>) {}
  void begin_column(index_t, index_t, const feedback_row&) {}
  static float quantize(index_t r, index_t j, float w) {
    switch (tersor::random_generator(static_cast<std::uint64_t>(1000 * r + j)).uniform_index(4)) {
      case 0:
        return 0.0F;
      case 1:
        return std::round(4.0F * w) / 4.0F;
      case 2:
        return w + 0.1F;
      default:
        return w;
    }
  }
};

matrix<float> factor_of(const matrix<double>& h) {
  return tersor::copy_as<float>(tersor::linalg::inverse_cholesky_upper(h.view()).factor.view());
}

TEST_CASE("column_feedback: the losses are the error weighted by H, for any policy", "[column_feedback]") {
  for (const auto& [out, in] : {std::pair<index_t, index_t>{1, 1}, {4, 7}, {20, 40}, {3, 64}})
    for (const index_t block : {index_t{1}, index_t{5}, index_t{16}, index_t{128}})
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        INFO(out << " x " << in << ", panels of " << block);
        const auto stats = statistics_of(correlated_inputs(3 * in, in, seed));
        auto h = stats.hessian();
        for (index_t j = 0; j < in; ++j) h(j, j) += 0.01;
        const auto original = random_matrix<float>(out, in, seed + 50);
        auto w = original;
        arbitrary_policy policy;
        const auto loss = column_feedback(w, factor_of(h), block, policy, {});
        for (index_t r = 0; r < out; ++r) {
          const auto row = [&](const matrix<float>& x) {
            return tersor::copy_as<float>(x.view().rows(r, 1));
          };
          const double expected = error_of(row(original), row(w), h) / 2;
          CHECK(std::abs(loss[static_cast<std::size_t>(r)] - expected) <= 1e-4 * expected + 1e-9);
        }
      }
}

TEST_CASE("column_feedback: row by row, column by column", "[column_feedback]") {
  for (const index_t out : {1, 2, 15, 16, 17, 33})  // rows advance 16 at a time
    for (const index_t in : {1, 2, 30}) {
      const auto h = with_damping(statistics_of(correlated_inputs(3 * in, in, 4)).hessian(), 0.01);
      const auto factor = factor_of(h);
      const auto original = random_matrix<float>(out, in, 5);
      auto expected = original;
      std::vector<double> losses(static_cast<std::size_t>(out));
      for (index_t r = 0; r < out; ++r)
        for (index_t i = 0; i < in; ++i) {
          const float q = arbitrary_policy::quantize(r, i, expected(r, i));
          const float e = (expected(r, i) - q) / factor(i, i);
          expected(r, i) = q;
          for (index_t j = i + 1; j < in; ++j) expected(r, j) -= e * factor(i, j);
          losses[static_cast<std::size_t>(r)] += 0.5 * static_cast<double>(e) * static_cast<double>(e);
        }
      arbitrary_policy policy;
      auto w = original;  // one panel is the definition, bit by bit
      CHECK(column_feedback(w, factor, in, policy, {}) == losses);
      CHECK(w == expected);
    }
}

TEST_CASE("column_feedback: the same bits for any number of threads", "[column_feedback]") {
  const index_t out = 70, in = 90;
  const auto h = with_damping(statistics_of(correlated_inputs(200, in, 1)).hessian(), 0.01);
  const auto factor = factor_of(h);
  auto first = random_matrix<float>(out, in, 2);
  const auto original = first;
  arbitrary_policy policy;
  const auto loss = column_feedback(first, factor, 32, policy, threads(1));
  for (const int n : {2, 3, 8}) {
    auto again = original;
    CHECK(column_feedback(again, factor, 32, policy, threads(n)) == loss);
    CHECK(again == first);
  }
}

/// Compares what a policy is shown with the weights that later arrive.
struct observer {
  matrix<float> seen, start;  // of column j, as shown when column j - j % reach began
  index_t reach;
  double worst = 0;
  void begin_panel(index_t, index_t, matrix_view<const float>) {}
  void begin_column(index_t r, index_t j, const feedback_row& row) {
    if (j % reach != 0) return;
    std::vector<float> v(static_cast<std::size_t>(std::min(reach, seen.cols() - j)));
    row.current(j, v);
    for (std::size_t k = 0; k < v.size(); ++k) seen(r, j + static_cast<index_t>(k)) = v[k];
    row.at_panel_start(j, v);
    for (std::size_t k = 0; k < v.size(); ++k) start(r, j + static_cast<index_t>(k)) = v[k];
  }
  float quantize(index_t r, index_t j, float w) {
    if (j % reach == 0)  // nothing lies between being shown and being used
      worst = std::max(worst, std::abs(static_cast<double>(w) - static_cast<double>(seen(r, j))));
    return j % reach == reach - 1 ? std::round(w) : w;  // only a group's last column makes an error
  }
};

TEST_CASE("column_feedback: a policy sees weights with all feedback so far, also beyond the panel",
          "[column_feedback]") {
  const index_t in = 36;
  const auto h = with_damping(statistics_of(correlated_inputs(100, in, 1)).hessian(), 0.01);
  const auto factor = factor_of(h);
  for (const index_t reach : {index_t{1}, index_t{4}, index_t{9}})
    for (const index_t block : {index_t{1}, index_t{3}, index_t{7}, index_t{36}}) {
      INFO("groups of " << reach << ", panels of " << block);
      auto w = random_matrix<float>(5, in, 2);
      observer policy{matrix<float>(5, in), matrix<float>(5, in), reach};
      column_feedback(w, factor, block, policy, threads(1));
      CHECK(policy.worst == 0.0);
      // errors occur at a group's end only, so a whole group was shown as it was used
      for (index_t r = 0; r < 5; ++r)
        for (index_t j = 0; j < in; ++j)
          if (j % reach != reach - 1) CHECK(std::abs(policy.seen(r, j) - w(r, j)) <= 2e-5F);
    }
}

TEST_CASE("column_feedback: the stale view is that of the panel's start", "[column_feedback]") {
  const index_t in = 16;
  const auto factor = factor_of(with_damping(statistics_of(correlated_inputs(100, in, 1)).hessian(), 0.01));
  auto w = random_matrix<float>(5, in, 2);
  const auto original = w;
  observer policy{matrix<float>(5, in), matrix<float>(5, in), 4};
  column_feedback(w, factor, in, policy, threads(1));
  CHECK(policy.start == original);  // one panel: its start is the input
  CHECK(policy.seen != original);
}

TEST_CASE("column_feedback: no rows, no columns, errors", "[column_feedback]") {
  arbitrary_policy policy;
  matrix<float> rows(0, 3), columns(3, 0);
  CHECK(column_feedback(rows, matrix<float>(3, 3, 1.0F), 2, policy, {}).empty());
  CHECK(column_feedback(columns, matrix<float>(), 2, policy, {}) == std::vector<double>(3));
  matrix<float> w(3, 4);
  const matrix<float> factor(4, 4, 1.0F), small(3, 4, 1.0F);
  CHECK(error_text([&] { column_feedback(w, small, 2, policy, {}); }) ==
        "column_feedback: factor = 3 x 4: expected 4 x 4");
  CHECK(error_text([&] { column_feedback(w, factor, 0, policy, {}); }) ==
        "column_feedback: block_size = 0: expected at least 1");
}

TEST_CASE("column_feedback: errors that leave the range of float", "[column_feedback]") {
  struct to_zero : arbitrary_policy {
    static float quantize(index_t, index_t, float) { return 0.0F; }
  } policy;
  for (const float w : {1e20F, -1e20F}) {
    matrix<float> weight(20, 3), factor(3, 3);
    weight(18, 2) = w;
    for (index_t j = 0; j < 3; ++j) factor(j, j) = 1e-30F;
    CHECK(error_text([&] { column_feedback(weight, factor, 2, policy, {}); }) ==
          "column_feedback: loss of row 18 = inf: expected a finite number: weights and H within the range "
          "of float");
  }
}

TEST_CASE("column_feedback: the factor of a Hessian", "[column_feedback]") {
  for (const index_t in : {1, 5, 40}) {
    auto x = correlated_inputs(2 * in, in, 1);
    if (in > 1)
      for (index_t t = 0; t < x.rows(); ++t) x(t, 2) = 0;
    const auto h = statistics_of(x).hessian();
    auto w = random_matrix<float>(3, in, 2), repaired = w;
    auto damped = h;
    const auto dead = repair_dead_inputs(damped, repaired);
    const auto f = factor_hessian(h, w, 0.1);
    CHECK(f.dead == dead);
    CHECK(w == repaired);
    double mean = 0;
    for (index_t j = 0; j < in; ++j) mean += damped(j, j) / static_cast<double>(in);
    CHECK(std::abs(f.damping - 0.1 * mean) <= 1e-12 * mean);
    CHECK(f.retries == 0);
    damped = with_damping(damped, f.damping);
    const auto u = tersor::copy_as<double>(f.factor.view());
    const auto inverse = times(u.view().transposed(), u.view());
    const auto identity = times(damped.view(), inverse.view());
    for (index_t i = 0; i < in; ++i)
      for (index_t j = 0; j < in; ++j) {
        CHECK(std::abs(identity(i, j) - (i == j ? 1.0 : 0.0)) <= 1e-4);
        if (j < i) CHECK(f.factor(i, j) == 0.0F);
      }
  }
  matrix<float> w(2, 3);
  CHECK(error_text([&] { factor_hessian(matrix<double>(2, 3), w, 0.01); }) == "h = 2 x 3: expected 3 x 3");
}

TEST_CASE("column_feedback: remarks on a factorisation", "[column_feedback]") {
  std::vector<std::string> notes;
  note_damping(notes, "gptq", 0, 0.5, {});
  CHECK(notes.empty());
  note_damping(notes, "gptq", 2, 0.5, {3, 4, 5});
  CHECK(notes ==
        std::vector<std::string>{"gptq: damping raised 2 times, to 0.5", "gptq: 3 inputs were always zero"});
}

TEST_CASE("column_feedback: dead inputs", "[column_feedback]") {
  matrix<double> h(3, 3);
  h(0, 0) = 2;
  h(2, 2) = 5;
  auto w = random_matrix<float>(2, 3, 1);
  const auto before = w;
  CHECK(repair_dead_inputs(h, w) == std::vector<index_t>{1});
  CHECK(h(1, 1) == 1.0);
  for (index_t r = 0; r < 2; ++r) {
    CHECK(w(r, 1) == 0.0F);
    CHECK((w(r, 0) == before(r, 0) && w(r, 2) == before(r, 2)));
  }
}

}  // namespace column_feedback_tests
