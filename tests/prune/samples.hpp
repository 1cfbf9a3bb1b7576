// tersor - weights, activations and masks that the tests of solve/ and prune/ share
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>  // std::popcount

#include "../linalg/oracle.hpp"
#include "catch.hpp"

#include <tersor/calib/statistics.hpp>

namespace tersor_test {

/// Activations [tokens, in] with correlated channels of different loudness.
inline matrix<float> correlated_inputs(index_t tokens, index_t in, std::uint64_t seed) {
  auto x = random_matrix<float>(tokens, in, seed);
  const auto common = random_matrix<float>(tokens, 1, seed + 1), loud = random_matrix<float>(1, in, seed + 2);
  for (index_t t = 0; t < tokens; ++t)
    for (index_t j = 0; j < in; ++j)
      x(t, j) =
          (x(t, j) + 0.7F * common(t, 0) + (j > 0 ? 0.5F * x(t, j - 1) : 0.0F)) * std::exp(0.5F * loud(0, j));
  return x;
}

inline tersor::calib::statistics statistics_of(const matrix<float>& x, bool gram = true) {
  tersor::calib::statistics s(x.cols(), {.gram = gram});
  s.add(x);
  return s;
}

inline matrix<std::uint8_t> random_mask(index_t rows, index_t cols, double density, std::uint64_t seed) {
  tersor::random_generator g(seed);
  matrix<std::uint8_t> kept(rows, cols);
  for (auto& k : kept.values()) k = g.uniform() < density;
  return kept;
}

inline index_t removed(const matrix<std::uint8_t>& kept) {
  return std::ranges::count(kept.values(), std::uint8_t{0});
}

/// tr((A - B) H (A - B)ᵀ) by its definition.
inline double error_of(const matrix<float>& a, const matrix<float>& b, const matrix<double>& h) {
  double sum = 0;
  std::vector<double> d(static_cast<std::size_t>(a.cols()));
  for (index_t r = 0; r < a.rows(); ++r) {
    for (index_t j = 0; j < a.cols(); ++j)
      d[static_cast<std::size_t>(j)] = static_cast<double>(a(r, j)) - static_cast<double>(b(r, j));
    for (index_t i = 0; i < a.cols(); ++i)
      for (index_t j = 0; j < a.cols(); ++j)
        sum += d[static_cast<std::size_t>(i)] * h(i, j) * d[static_cast<std::size_t>(j)];
  }
  return sum;
}

inline matrix<double> with_damping(matrix<double> h, double damping) {
  for (index_t j = 0; j < h.rows(); ++j) h(j, j) += damping;
  return h;
}

/// What the error that f throws calls its culprit; "" if it throws none.
template <class F>
std::string culprit(F&& f) {
  try {
    f();
  } catch (const tersor::error& e) {
    return e.argument();
  }
  return "";
}

/// Two random columns of each group of four, or with `holes` fewer in about half of the groups.
template <class T = float>
matrix<T> random_24(index_t rows, index_t cols, std::uint64_t seed, bool holes = false) {
  tersor::random_generator g(seed);
  matrix<T> w(rows, cols);
  for (index_t r = 0; r < rows; ++r)
    for (index_t j = 0; j < cols; j += 4)
      for (std::uint64_t left = holes && g.uniform() < 0.5 ? g.uniform_index(2) : 2; left > 0;) {
        T& v = w(r, j + static_cast<index_t>(g.uniform_index(4)));
        if (static_cast<float>(v) != 0.0F) continue;
        v = static_cast<T>(static_cast<float>(1 + g.uniform_index(100)));
        --left;
      }
  return w;
}

}  // namespace tersor_test
