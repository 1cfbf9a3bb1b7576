// tersor - what the tests of calib/, solve/ and quant/ share beside the samples of prune/
// SPDX-License-Identifier: MIT
#pragma once

#include <limits>  // std::numeric_limits
#include <string>  // std::string

#include "../prune/samples.hpp"

namespace tersor_test {

inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
inline constexpr float infinite = std::numeric_limits<float>::infinity();

/// The text of the tersor::error that call() throws, "" if it throws none.
template <class Call>
std::string error_text(Call&& call) {
  try {
    call();
  } catch (const tersor::error& e) {
    return e.what();
  }
  return "";
}
inline bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// max |a - b|, infinity where the shapes differ.
inline double distance(const matrix<float>& a, const matrix<float>& b) {
  return difference(tersor::copy_as<double>(a.view()).view(), tersor::copy_as<double>(b.view()).view());
}

/// Activations of X = Z A with a condition number of about 1e3: what error feedback lives on.
inline matrix<float> ill_conditioned_inputs(index_t tokens, index_t in, std::uint64_t seed) {
  const auto z = random_matrix(tokens, in, seed), mix = random_matrix(in, in, seed + 1);
  auto scaled = mix;
  for (index_t i = 0; i < in; ++i)
    for (index_t j = 0; j < in; ++j)
      scaled(i, j) *= std::pow(10.0, -2.0 * static_cast<double>(i) / static_cast<double>(in));
  return tersor::copy_as<float>(times(z.view(), scaled.view()).view());
}

}  // namespace tersor_test
