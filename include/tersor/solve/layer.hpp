// tersor - what a compressor is given, and the measuring of what it returns
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>  // std::chrono::steady_clock

#include <tersor/calib/statistics.hpp>
#include <tersor/core/error_statistics.hpp>
#include <tersor/linalg/weighted_error.hpp>
#include <tersor/op/any_operator.hpp>
#include <tersor/solve/report.hpp>

namespace tersor::solve {

/// Which weights of a layer are stored: a constraint handed from a pruner to the stages after it.
struct sparsity {
  matrix<std::uint8_t> kept;  ///< [out, in], 1 = kept; empty: all
  int n = 0, m = 0;           ///< n of every m columns are kept; 0: unstructured
  std::vector<std::int32_t>
      permutation{};  ///< order of the columns in which groups of m run; empty: as they are
  bool empty() const { return kept.empty(); }
};

/// One linear layer on its way through a chain of stages.
struct layer {
  std::string name = "weight";
  matrix<float> weight{};                     ///< what the next stage compresses, [out_features, in_features]
  const calib::statistics* inputs = nullptr;  ///< of the layer's input; null: none gathered
  solve::sparsity sparsity{};                 ///< entries that must stay zero
  /// The statistics, or an error that says what for.
  const calib::statistics& require_inputs(std::string_view technique) const {
    if (!inputs || inputs->empty())
      fail(concat(technique, ": calibration of ", name), "empty", "at least one sequence");
    require(inputs->in_features() == weight.cols(),
            concat(technique, ": in_features of the statistics of ", name), inputs->in_features(),
            weight.cols());
    return *inputs;
  }
};

/// What a compressor returns to a pipeline: the operator and, from pruners, which entries it keeps.
struct outcome {
  op::any_operator op;
  solve::sparsity sparsity;
  std::vector<std::string> notes;
};

/// Checks that every compressor makes: a weight with entries, all finite, and a constraint of its shape.
inline void check_layer(const layer& l) {
  require(l.weight.rows() > 0 && l.weight.cols() > 0, l.name, concat(l.weight.rows(), " x ", l.weight.cols()),
          "at least one row and one column");
  require_finite(l.weight.view(), l.name);
  if (!l.sparsity.empty())
    require_shape(l.sparsity.kept.view(), l.weight.rows(), l.weight.cols(), concat("sparsity of ", l.name));
}

/// ‖(W − Ŵ) Xᵀ‖_F / ‖W Xᵀ‖_F from the Gram matrix of X; 0 where the numerator is 0.
inline double relative_weighted_error(matrix_view<const float> w, matrix_view<const float> approximation,
                                      const calib::statistics& inputs, const context& ctx = {}) {
  error_statistics errors;
  errors.add_weighted(linalg::weighted_error(w, approximation, inputs.gram().view(), ctx),
                      linalg::weighted_norm(w, inputs.gram().view(), ctx));
  return errors.weighted_relative();
}

/// Error and bytes of `op` as a stand-in for `w`; weighted by the inputs' Gram matrix where there is one.
template <class Op>
report measure(matrix_view<const float> w, const Op& op, const calib::statistics* inputs,
               const context& ctx = {}) {
  const auto approximation = op.to_dense();
  error_statistics errors;
  errors.add(w, approximation.view());
  report r;
  r.relative_error = errors.relative_frobenius();
  r.max_error = errors.max_abs();
  if (inputs && inputs->has_gram() && !inputs->empty())
    r.weighted_error = relative_weighted_error(w, approximation.view(), *inputs, ctx);
  r.bytes = op::storage_of(op).bytes();
  r.bits_per_weight = op::bits_per_weight(op);
  return r;
}

/// Seconds since construction.
class stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The direct call of a compressor: `technique(W, inputs)` for any tensor type, with a measured report. `Op`
/// is the operator type that the technique stores without a sparsity constraint.
template <class Op, class Technique, matrix_like W>
compressed<Op> compress_weight(const Technique& technique, const W& w, const calib::statistics* inputs,
                               const context& ctx) {
  const stopwatch clock;
  layer l{.weight = to_matrix<float>(w), .inputs = inputs};
  outcome o = technique.compress(l, ctx);
  report r = measure(l.weight.view(), o.op, inputs, ctx);
  r.seconds = clock.seconds();
  r.notes = std::move(o.notes);
  if constexpr (std::is_same_v<Op, op::any_operator>) {
    return {std::move(o.op), std::move(r)};
  } else {
    return {*o.op.template as<Op>(), std::move(r)};
  }
}

}  // namespace tersor::solve
