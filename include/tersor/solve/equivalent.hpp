// tersor - equivalent transformation: scales moved from activations into the layers that read them
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function
#include <optional>    // std::optional
#include <span>        // std::span

#include <tersor/calib/statistics.hpp>
#include <tersor/solve/grid.hpp>

namespace tersor::solve {

// y = W x stays the same when x is divided by s and the columns of W are multiplied by s. The division costs
// nothing at run time if whatever produces x can take it up: a norm's weight, or the rows of the linear layer
// before.

/// W[:, j] *= s[j].
inline void scale_columns(matrix<float>& w, std::span<const float> s) {
  require(static_cast<index_t>(s.size()) == w.cols(), "scale_columns: length of s", s.size(), w.cols());
  for (index_t r = 0; r < w.rows(); ++r)
    for (index_t j = 0; j < w.cols(); ++j) w(r, j) *= s[static_cast<std::size_t>(j)];
}
/// A norm's weight, or its bias: v[j] /= s[j].
inline void divide_channels(std::span<float> v, std::span<const float> s) {
  require(s.size() == v.size(), "divide_channels: length of s", s.size(), v.size());
  for (std::size_t j = 0; j < v.size(); ++j) v[j] /= s[j];
}
/// The last s.size() rows of a linear producer (of a fused query-key-value layer these are the values), and
/// its bias if there is one, divided by s.
inline void divide_rows(matrix<float>& w, std::span<float> bias, std::span<const float> s) {
  const index_t first = w.rows() - static_cast<index_t>(s.size());
  require(first >= 0, "divide_rows: length of s", s.size(), "at most ", w.rows(),
          ", the rows of the producer");
  require(bias.empty() || static_cast<index_t>(bias.size()) == w.rows(), "divide_rows: length of bias",
          bias.size(), w.rows());
  for (std::size_t j = 0; j < s.size(); ++j)
    for (float& v : w.row(first + static_cast<index_t>(j))) v /= s[j];
  if (!bias.empty()) divide_channels(bias.subspan(static_cast<std::size_t>(first)), s);
}

/// The grid on which a compressor will store a layer: what a search in front of it should imitate.
struct grid_target {
  grid_rule rule;
  index_t group_size = 128;
};
/// What a weight becomes on a grid.
inline matrix<float> rounded_to_grid(matrix_view<const float> w, const grid_target& target,
                                     const context& ctx = {}) {
  return rounded_to_grid(w, fit_grids(w, target.group_size, false, target.rule, ctx), target.rule.bits, ctx);
}

/// Linear layers with a common input whose producer can take up a division: what a scaling transformation
/// sees.
struct scale_site {
  std::string name;  ///< of the first consumer, for errors and notes
  bool producer_is_norm = true;
  std::vector<matrix<float>> weights;  ///< of the consumers, [out_k, in]
  std::vector<std::optional<grid_target>>
      targets;  ///< grids of the stage that follows, if it has one; per consumer
  const calib::statistics* inputs = nullptr;  ///< of the common input
  std::vector<matrix<float>> samples;         ///< inputs of some sequences, [tokens, in] each
  /// Output of the function whose error counts, [tokens, out], for one sample and any consumer weights.
  std::function<matrix<float>(matrix_view<const float> x, std::span<const matrix<float>> weights)> inspect;
};

}  // namespace tersor::solve
