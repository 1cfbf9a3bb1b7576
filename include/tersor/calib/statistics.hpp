// tersor - streaming, mergeable statistics of the activations that enter a layer
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::max
#include <cmath>      // std::fabs
#include <limits>     // std::numeric_limits
#include <string>     // std::string
#include <vector>     // std::vector

#include <tersor/core/context.hpp>
#include <tersor/core/matrix.hpp>
#include <tersor/core/parallel.hpp>
#include <tersor/core/random.hpp>
#include <tersor/linalg/gemm.hpp>

namespace tersor::calib {

/// What `statistics` gathers beside the column sums, which cost next to nothing.
struct statistics_options {
  bool gram = true;  ///< XᵀX: in_features² doubles and 2 in_features² FLOPs (half of it, by symmetry) a token
  index_t reservoir_rows = 0;  ///< rows of X kept as a uniform sample
  std::uint64_t seed = 0;      ///< of the sample
};

/// Statistics of X [tokens, in_features], one `add` per calibration sequence. All sums are kept in double
/// (XᵀX in float over at most 1024 tokens at a time) and do not depend on the number of threads.
class statistics {
 public:
  explicit statistics(index_t in_features, statistics_options options = {})
      : in_(in_features),
        options_(options),
        random_(options.seed),
        sum_(size()),
        sum_squares_(size()),
        sum_sequence_mean_abs_(size()),
        sum_abs_(size()),
        min_(size(), std::numeric_limits<double>::infinity()),
        max_(size(), -std::numeric_limits<double>::infinity()) {
    require(in_features > 0, "statistics: in_features", in_features, "at least 1");
    if (options.gram) gram_ = matrix<double>(in_, in_);
  }

  /// Adds one sequence. @param x [tokens, in_features], any tensor type; at least one token; NaN or infinity
  /// is an error that calls x by `name`.
  template <matrix_like X>
  void add(const X& x, std::string_view name = "activations", const context& ctx = {}) {
    const auto view = as_view(x);
    require(view.cols() == in_, concat(name, ": columns"), view.cols(), in_,
            ", the in_features of its statistics");
    require(view.rows() > 0, concat(name, ": tokens"), view.rows(), "at least 1");
    if constexpr (std::is_same_v<std::remove_const_t<typename decltype(view)::element_type>, float>) {
      if (view.is_contiguous()) return add_contiguous(view, name, ctx);
    }
    add_contiguous(copy_as<float>(view).view(), name, ctx);
  }

  /// As if the sequences of `other` had been added here; the sample of rows is kept uniform.
  void merge(const statistics& other) {
    require(other.in_ == in_, "statistics::merge: in_features", other.in_, in_);
    require(other.options_.gram == options_.gram, "statistics::merge: gram", other.options_.gram,
            options_.gram);
    require(other.options_.reservoir_rows == options_.reservoir_rows, "statistics::merge: reservoir_rows",
            other.options_.reservoir_rows, options_.reservoir_rows);
    for (std::size_t j = 0; j < size(); ++j) {
      sum_[j] += other.sum_[j];
      sum_squares_[j] += other.sum_squares_[j];
      sum_abs_[j] += other.sum_abs_[j];
      sum_sequence_mean_abs_[j] += other.sum_sequence_mean_abs_[j];
      min_[j] = std::min(min_[j], other.min_[j]);
      max_[j] = std::max(max_[j], other.max_[j]);
    }
    for (index_t i = 0; i < gram_.size(); ++i) gram_.data()[i] += other.gram_.data()[i];
    merge_rows(other);
    tokens_ += other.tokens_;
    sequences_ += other.sequences_;
  }

  index_t in_features() const { return in_; }
  index_t tokens() const { return tokens_; }
  index_t sequences() const { return sequences_; }
  bool has_gram() const { return options_.gram; }
  bool empty() const { return tokens_ == 0; }

  /// XᵀX [in_features, in_features].
  const matrix<double>& gram() const {
    require(has_gram(), "statistics: gram", "not gathered", "statistics_options{.gram = true}");
    return gram_;
  }
  /// H = (2 / sequences) XᵀX, the Hessian of the layer's squared output error in the reference programs.
  matrix<double> hessian() const {
    matrix<double> h = gram();
    const double factor = 2.0 / static_cast<double>(std::max<index_t>(sequences_, 1));
    for (double& v : h.values()) v *= factor;
    return h;
  }
  /// sum_t x[t, j]² / sequences: the column energy of Wanda and RIA.
  std::vector<double> energy() const { return divided(sum_squares_, sequences_); }
  /// sum_t x[t, j]².
  const std::vector<double>& sum_squares() const { return sum_squares_; }
  /// mean_t x[t, j].
  std::vector<double> mean() const { return divided(sum_, tokens_); }
  /// mean_t |x[t, j]|: the activation scale of AWQ.
  std::vector<double> mean_abs() const { return divided(sum_abs_, tokens_); }
  /// Sum over sequences of mean_t |x[t, j]|: the activation scale of ASVD.
  const std::vector<double>& sum_sequence_mean_abs() const { return sum_sequence_mean_abs_; }
  /// max_t |x[t, j]|: the activation scale of SmoothQuant.
  std::vector<double> max_abs() const {
    std::vector<double> m(size());
    if (empty()) return m;
    for (std::size_t j = 0; j < size(); ++j) m[j] = std::max(std::fabs(min_[j]), std::fabs(max_[j]));
    return m;
  }
  /// Infinity, and minus infinity, before the first token.
  const std::vector<double>& min() const { return min_; }
  const std::vector<double>& max() const { return max_; }
  /// A uniform sample of at most `reservoir_rows` of the rows seen, [rows, in_features].
  matrix<float> rows() const {
    matrix<float> x(static_cast<index_t>(rows_.size()), in_);
    for (index_t i = 0; i < x.rows(); ++i)
      std::ranges::copy(rows_[static_cast<std::size_t>(i)], x.row(i).begin());
    return x;
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(in_); }
  static std::vector<double> divided(std::vector<double> v, index_t n) {
    for (double& x : v) x /= static_cast<double>(std::max<index_t>(n, 1));
    return v;
  }

  void add_contiguous(matrix_view<const float> x, std::string_view name, const context& ctx) {
    require_finite(x, name);
    const auto tokens = static_cast<double>(x.rows());
    parallel_chunks(in_, 128, ctx, [&](index_t first, index_t last) {  // columns do not depend on each other
      for (index_t t = 0; t < x.rows(); ++t) {
        const float* row = x.data + t * x.strides[0];
        for (index_t c = first; c < last; ++c) {
          const auto j = static_cast<std::size_t>(c);
          const double v = row[c], magnitude = std::fabs(v);
          sum_[j] += v;
          sum_squares_[j] += v * v;
          sum_abs_[j] += magnitude;
          sum_sequence_mean_abs_[j] += magnitude / tokens;
          min_[j] = std::min(min_[j], v);
          max_[j] = std::max(max_[j], v);
        }
      }
    });
    if (options_.reservoir_rows > 0)
      for (index_t t = 0; t < x.rows(); ++t) sample(x.data + t * x.strides[0], tokens_ + t);
    if (options_.gram) linalg::gram(x, gram_.view(), ctx);
    tokens_ += x.rows();
    ++sequences_;
  }
  /// Vitter's algorithm R: row number `seen` replaces a random one with the right probability.
  void sample(const float* row, index_t seen) {
    if (seen < options_.reservoir_rows) {
      rows_.emplace_back(row, row + in_);
      return;
    }
    const auto k = random_.uniform_index(static_cast<std::uint64_t>(seen) + 1);
    if (k < static_cast<std::uint64_t>(options_.reservoir_rows)) rows_[k].assign(row, row + in_);
  }
  /// Draws from the two samples with the odds of the row counts they stand for.
  void merge_rows(const statistics& other) {
    auto mine = std::move(rows_), theirs = other.rows_;
    auto left = static_cast<std::uint64_t>(tokens_), right = static_cast<std::uint64_t>(other.tokens_);
    rows_.clear();
    while (static_cast<index_t>(rows_.size()) < options_.reservoir_rows &&
           (!mine.empty() || !theirs.empty())) {
      const bool from_mine = !mine.empty() && (theirs.empty() || random_.uniform_index(left + right) < left);
      auto& source = from_mine ? mine : theirs;
      const auto k = random_.uniform_index(source.size());
      rows_.push_back(std::move(source[k]));
      source.erase(source.begin() + static_cast<index_t>(k));
      --(from_mine ? left : right);
    }
  }

  index_t in_;
  statistics_options options_;
  random_generator random_;
  index_t tokens_ = 0, sequences_ = 0;
  std::vector<double> sum_, sum_squares_, sum_sequence_mean_abs_, sum_abs_, min_, max_;
  matrix<double> gram_;
  std::vector<std::vector<float>> rows_;
};

}  // namespace tersor::calib
