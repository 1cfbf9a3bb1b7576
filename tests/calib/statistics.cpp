// tersor - tests of calib/statistics.hpp
// SPDX-License-Identifier: MIT
#include <Eigen/Core>

#include <tersor/calib/statistics.hpp>

#include "../quant/samples.hpp"

namespace statistics_tests {

using namespace tersor_test;
using tersor::index_t;
using tersor::calib::statistics;

/// |a - b| <= tolerance * |b| in every entry.
bool close(const std::vector<double>& a, const std::vector<double>& b, double tolerance = 1e-12) {
  bool all = a.size() == b.size();
  for (std::size_t i = 0; all && i < a.size(); ++i) all = std::abs(a[i] - b[i]) <= tolerance * std::abs(b[i]);
  return all;
}
bool close(const matrix<double>& a, const matrix<double>& b) {
  return difference(a.view(), b.view()) <= 1e-12 * largest(b.view());
}

/// The sums by their definitions.
struct plain_loop {
  index_t tokens = 0, sequences = 0;
  std::vector<double> mean, mean_abs, energy, sequence_mean_abs, max_abs, min, max;
  matrix<double> gram;
  explicit plain_loop(const std::vector<matrix<float>>& xs) : sequences(static_cast<index_t>(xs.size())) {
    const index_t in = xs.front().cols();
    const auto n = static_cast<std::size_t>(in);
    mean = mean_abs = energy = sequence_mean_abs = max_abs = std::vector<double>(n);
    min.assign(n, std::numeric_limits<double>::infinity());
    max.assign(n, -std::numeric_limits<double>::infinity());
    gram = matrix<double>(in, in);
    for (const auto& x : xs) tokens += x.rows();
    for (const auto& x : xs)
      for (index_t t = 0; t < x.rows(); ++t)
        for (std::size_t j = 0; j < n; ++j) {
          const double v = static_cast<double>(x(t, static_cast<index_t>(j)));
          mean[j] += v / static_cast<double>(tokens);
          mean_abs[j] += std::abs(v) / static_cast<double>(tokens);
          energy[j] += v * v / static_cast<double>(sequences);
          sequence_mean_abs[j] += std::abs(v) / static_cast<double>(x.rows());
          max_abs[j] = std::max(max_abs[j], std::abs(v));
          min[j] = std::min(min[j], v);
          max[j] = std::max(max[j], v);
          for (index_t k = 0; k < in; ++k)
            gram(static_cast<index_t>(j), k) += v * static_cast<double>(x(t, k));
        }
  }
};

std::vector<matrix<float>> sequences(index_t count, index_t in, std::uint64_t seed) {
  std::vector<matrix<float>> xs;
  for (index_t s = 0; s < count; ++s) {
    const auto k = static_cast<std::uint64_t>(s);
    xs.push_back(random_matrix<float>(1 + s * 5 % 7, in, seed + k));
    for (float& v : xs.back().values()) v += 3.0F * static_cast<float>(seed % 3);  // one sign and both
  }
  return xs;
}

TEST_CASE("statistics: by hand", "[statistics]") {
  statistics s(2);
  const float first[] = {1, -2, 3, 4}, second[] = {-5, 0};
  s.add(tersor::as_view(first, {2, 2}));
  s.add(tersor::as_view(second, {1, 2}));
  CHECK(s.tokens() == 3);
  CHECK(s.sequences() == 2);
  CHECK(s.in_features() == 2);
  CHECK(s.mean() == std::vector<double>{-1.0 / 3, 2.0 / 3});
  CHECK(s.mean_abs() == std::vector<double>{3, 2});
  CHECK(s.sum_squares() == std::vector<double>{35, 20});
  CHECK(s.energy() == std::vector<double>{17.5, 10});
  CHECK(s.sum_sequence_mean_abs() == std::vector<double>{2 + 5, 3});
  CHECK(s.max_abs() == std::vector<double>{5, 4});
  CHECK(s.min() == std::vector<double>{-5, -2});
  CHECK(s.max() == std::vector<double>{3, 4});
  CHECK(std::ranges::equal(s.gram().values(), std::vector<double>{35, 10, 10, 20}));
  // H = (2 / n) XᵀX, n sequences
  CHECK(std::ranges::equal(s.hessian().values(), std::vector<double>{35, 10, 10, 20}));
  s.add(tersor::as_view(second, {1, 2}));
  CHECK(std::ranges::equal(s.gram().values(), std::vector<double>{60, 10, 10, 20}));
  const auto h = s.hessian();
  CHECK(close(std::vector{h(0, 0), h(0, 1), h(1, 1)}, std::vector{40.0, 20.0 / 3, 40.0 / 3}));
}

TEST_CASE("statistics: sums against a plain loop", "[statistics]") {
  for (const index_t in : {1, 2, 7, 70})
    for (const index_t count : {1, 2, 9})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        INFO(in << " features, " << count << " sequences, seed " << seed);
        const auto xs = sequences(count, in, seed);
        statistics s(in);
        for (const auto& x : xs) s.add(x);
        const plain_loop expected(xs);
        CHECK(s.tokens() == expected.tokens);
        CHECK(s.sequences() == count);
        CHECK(close(s.mean(), expected.mean, 1e-9));  // terms cancel
        CHECK(close(s.mean_abs(), expected.mean_abs));
        CHECK(close(s.energy(), expected.energy));
        CHECK(close(s.sum_sequence_mean_abs(), expected.sequence_mean_abs));
        CHECK(s.max_abs() == expected.max_abs);
        CHECK(s.min() == expected.min);
        CHECK(s.max() == expected.max);
        // float products over the tokens of a sequence, at most 7, are added in double
        bool near = true;
        auto h = s.hessian();
        for (index_t i = 0; i < in; ++i)
          for (index_t j = 0; j < in; ++j) {
            const double terms = std::sqrt(expected.gram(i, i) * expected.gram(j, j));
            near = near && std::abs(s.gram()(i, j) - expected.gram(i, j)) <= 8 * 0x1p-24 * terms;
            h(i, j) *= static_cast<double>(count) / 2;
          }
        CHECK(near);
        CHECK(close(h, s.gram()));
      }
}

TEST_CASE("statistics: the Gram matrix is symmetric and the same for any number of threads", "[statistics]") {
  const auto x = random_matrix<float>(300, 90, 3);
  statistics one(90), many(90);
  one.add(x, "x", threads(1));
  for (const int n : {2, 3, 8}) {
    statistics again(90);
    again.add(x, "x", threads(n));
    CHECK(again.gram() == one.gram());
    CHECK(again.sum_squares() == one.sum_squares());
  }
  CHECK(tersor::copy_as<double>(one.gram().view().transposed()) == one.gram());
}

TEST_CASE("statistics: any layout and type of activations", "[statistics]") {
  const auto x = random_matrix<float>(11, 6, 4);
  statistics expected(6);
  expected.add(x);
  const auto check = [&](const auto& tensor) {
    statistics s(6);
    s.add(tensor);
    CHECK(s.gram() == expected.gram());
    CHECK(s.mean() == expected.mean());
  };
  Eigen::MatrixXf by_columns(11, 6);
  for (index_t i = 0; i < 11; ++i)
    for (index_t j = 0; j < 6; ++j) by_columns(i, j) = x(i, j);
  check(by_columns);
  check(Eigen::Matrix<float, -1, -1, Eigen::RowMajor>(by_columns));
  check(Eigen::MatrixXd(by_columns.cast<double>()));
  Eigen::MatrixXf wide(22, 13);
  wide.setConstant(not_a_number);
  Eigen::Map<Eigen::MatrixXf, 0, Eigen::Stride<-1, -1>> gaps(wide.data(), 11, 6, {44, 2});
  gaps = by_columns;
  check(gaps);
  check(tersor::to_matrix<double>(x));
}

TEST_CASE("statistics: merging equals adding in sequence", "[statistics]") {
  for (const index_t in : {1, 5, 40})
    for (std::uint64_t seed = 0; seed < 4; ++seed)
      for (const index_t cut : {0, 1, 3, 6}) {
        const auto xs = sequences(6, in, seed);
        statistics all(in), left(in), right(in);
        for (index_t k = 0; k < 6; ++k) {
          all.add(xs[static_cast<std::size_t>(k)]);
          (k < cut ? left : right).add(xs[static_cast<std::size_t>(k)]);
        }
        left.merge(right);
        CHECK(left.tokens() == all.tokens());
        CHECK(left.sequences() == all.sequences());
        CHECK(left.min() == all.min());
        CHECK(left.max() == all.max());
        CHECK(close(left.mean_abs(), all.mean_abs()));
        CHECK(close(left.sum_squares(), all.sum_squares()));
        CHECK(close(left.sum_sequence_mean_abs(), all.sum_sequence_mean_abs()));
        CHECK(close(left.mean(), all.mean(), 1e-9));
        CHECK(close(left.hessian(), all.hessian()));
      }
  statistics nothing(3), more(3);
  nothing.merge(more);
  CHECK(nothing.empty());
  CHECK(nothing.min() == std::vector<double>(3, std::numeric_limits<double>::infinity()));
}

/// Activations whose single entry is the row's number.
matrix<float> numbered(index_t first, index_t last) {
  matrix<float> x(last - first, 1);
  for (index_t t = first; t < last; ++t) x(t - first, 0) = static_cast<float>(t);
  return x;
}

/// How often each of `rows` rows is in the sample, over many seeds. Each should be with probability kept /
/// rows.
template <class Sample>
void check_uniform(index_t rows, index_t kept, const Sample& sample) {
  const int trials = 4000;
  std::vector<int> hits(static_cast<std::size_t>(rows));
  for (int seed = 0; seed < trials; ++seed) {
    const matrix<float> x = sample(static_cast<std::uint64_t>(seed));
    REQUIRE(x.rows() == kept);
    std::vector<bool> seen(hits.size());
    for (const float v : x.values()) {
      const auto row = static_cast<std::size_t>(v);
      REQUIRE_FALSE(seen[row]);  // no row twice
      seen[row] = true;
      ++hits[row];
    }
  }
  const double p = static_cast<double>(kept) / static_cast<double>(rows);
  const double deviation = std::sqrt(trials * p * (1 - p));
  for (const int h : hits) CHECK(std::abs(h - trials * p) <= 4.5 * deviation);
}

TEST_CASE("statistics: the sample of rows is uniform", "[statistics]") {
  check_uniform(20, 6, [](std::uint64_t seed) {
    statistics s(1, {.gram = false, .reservoir_rows = 6, .seed = seed});
    s.add(numbered(0, 3));
    s.add(numbered(3, 20));
    return s.rows();
  });
  // of two merged samples too, of very different numbers of rows, one of them not even full
  for (const index_t cut : {2, 5, 15})
    check_uniform(20, 6, [&](std::uint64_t seed) {
      statistics left(1, {.gram = false, .reservoir_rows = 6, .seed = seed});
      statistics right(1, {.gram = false, .reservoir_rows = 6, .seed = seed + 100000});
      left.add(numbered(0, cut));
      right.add(numbered(cut, 17));
      left.merge(right);
      left.add(numbered(17, 20));  // and it goes on after a merge
      return left.rows();
    });
}

TEST_CASE("statistics: a sample larger than what was seen is all of it", "[statistics]") {
  statistics s(1, {.gram = false, .reservoir_rows = 50}), other = s;
  s.add(numbered(0, 7));
  CHECK(s.rows() == numbered(0, 7));
  other.add(numbered(7, 9));
  s.merge(other);
  auto all = s.rows();
  std::ranges::sort(all.values());
  CHECK(all == numbered(0, 9));
  CHECK(statistics(3).rows().rows() == 0);
}

TEST_CASE("statistics: errors", "[statistics]") {
  CHECK(holds(error_text([] { statistics(0); }), "statistics: in_features = 0"));
  statistics s(3);
  CHECK(s.empty());
  CHECK(holds(error_text([&] { s.add(matrix<float>(2, 4)); }),
              "activations: columns = 4: expected 3, the in_features of its statistics"));
  CHECK(holds(error_text([&] { s.add(matrix<float>(0, 3), "input of gate"); }), "input of gate: tokens = 0"));
  auto x = random_matrix<float>(4, 3, 1);
  x(2, 1) = infinite;
  CHECK(error_text([&] { s.add(x, "input of gate"); }) ==
        "input of gate[2, 1] = inf: expected a finite number");
  x(2, 1) = not_a_number;
  CHECK(holds(error_text([&] { s.add(x); }), "activations[2, 1]"));
  // what is finite as a double may not be as a float
  matrix<double> wide(1, 3, 1e300);
  CHECK(holds(error_text([&] { s.add(wide); }), "activations[0, 0]"));
  CHECK(s.empty());  // a refused sequence leaves no trace
  CHECK(std::ranges::all_of(s.gram().values(), [](double v) { return v == 0; }));

  statistics sums(3, {.gram = false});
  CHECK(holds(error_text([&] { sums.gram(); }), "statistics: gram = not gathered"));
  CHECK(holds(error_text([&] { sums.hessian(); }), "statistics: gram"));
  CHECK(holds(error_text([&] { s.merge(statistics(4)); }), "statistics::merge: in_features = 4: expected 3"));
  CHECK(holds(error_text([&] { s.merge(sums); }), "statistics::merge: gram = false: expected true"));
  CHECK(holds(error_text([&] { s.merge(statistics(3, {.reservoir_rows = 2})); }),
              "statistics::merge: reservoir_rows = 2: expected 0"));
}

}  // namespace statistics_tests
