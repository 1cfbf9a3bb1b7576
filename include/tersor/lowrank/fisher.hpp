// tersor - Fisher information of input channels, the second scale of ASVD
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>   // std::sqrt
#include <vector>  // std::vector

#include <tersor/core/matrix.hpp>

namespace tersor::lowrank {

/// How strongly the loss of a model depends on the weights of each input channel (the Fisher scale of ASVD,
/// arXiv:2312.05821; official code hahnyuan/ASVD4LLM): the root of the mean over batches of the mean over
/// outputs of the squared gradients. The gradients are the caller's. Cost O(out in) for each batch.
///
///     tersor::lowrank::fisher_information fisher(in_features);
///     fisher.add(gradient);  // dLoss / dW of a batch, [out, in], any tensor type
///     auto result = tersor::lowrank::svd{.method = tersor::lowrank::svd_method::asvd}(
///         W, &inputs, fisher.value());  // inputs may be null: Fisher alone
class fisher_information {
 public:
  explicit fisher_information(index_t in_features) {
    require(in_features > 0, "fisher_information: in_features", in_features, "at least 1");
    sum_.resize(static_cast<std::size_t>(in_features));
  }

  /// Adds one batch. @param gradient [out, in_features], at least one row; NaN or infinity is an error.
  template <matrix_like G>
  void add(const G& gradient) {
    const auto g = as_view(gradient);
    require(g.cols() == static_cast<index_t>(sum_.size()), "fisher_information: columns of the gradient",
            g.cols(), sum_.size());
    require(g.rows() > 0, "fisher_information: rows of the gradient", g.rows(), "at least 1");
    require_finite(g, "gradient");
    for (index_t i = 0; i < g.rows(); ++i)
      for (index_t j = 0; j < g.cols(); ++j) {
        const auto v = static_cast<double>(g(i, j));
        sum_[static_cast<std::size_t>(j)] += v * v / static_cast<double>(g.rows());
      }
    ++batches_;
  }

  index_t batches() const { return batches_; }
  /// [in_features]; error before the first batch.
  std::vector<double> value() const {
    require(batches_ > 0, "fisher_information: batches", batches_, "at least 1");
    std::vector<double> v;
    for (const double s : sum_) v.push_back(std::sqrt(s / static_cast<double>(batches_)));
    return v;
  }

 private:
  std::vector<double> sum_;
  index_t batches_ = 0;
};

}  // namespace tersor::lowrank
