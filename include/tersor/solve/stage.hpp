// tersor - stages: what a technique is to a pipeline, and how stages compose
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/options.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/solve/layer.hpp>

namespace tersor::solve {

enum class stage_kind {
  transformation,  ///< function-preserving change around a layer: AWQ, SmoothQuant
  compressor,      ///< weight + statistics -> operator
  surgery,         ///< changes shapes or structure
  allocation,      ///< chooses options per layer under a budget
  eviction,        ///< chooses which tokens a KV cache keeps
  codec,           ///< stores the tokens of a KV cache
  adapter          ///< trainable tensors beside a frozen layer
};
constexpr auto option_names(stage_kind) {
  using row = std::pair<std::string_view, stage_kind>;
  return std::array<row, 7>{{{"transformation", stage_kind::transformation},
                             {"compressor", stage_kind::compressor},
                             {"surgery", stage_kind::surgery},
                             {"allocation", stage_kind::allocation},
                             {"eviction", stage_kind::eviction},
                             {"codec", stage_kind::codec},
                             {"adapter", stage_kind::adapter}}};
}

/// What a technique asks of the calibration.
enum class calibration_need {
  none,  ///< data-free
  sums,  ///< column sums, maxima, energies
  gram   ///< XᵀX
};

/// A technique's entry in the catalog.
struct technique_info {
  std::string_view id;         ///< name in specs: "gptq"
  std::string_view family;     ///< "quant", "prune", "lowrank" ...
  std::string_view title;      ///< one line
  std::string_view arxiv;      ///< "2210.17323", or "" where there is no paper
  std::string_view header;     ///< "tersor/quant/gptq.hpp"
  std::string_view guarantee;  ///< one line
};

/// An aggregate of options with a kind, an entry for the catalog and `validate()`.
template <class T>
concept stage = requires(const T& t) {
  { T::kind } -> std::convertible_to<stage_kind>;
  t.validate();
};
template <class T>
concept technique = stage<T> && has_options<T> && requires {
  { T::info } -> std::convertible_to<technique_info>;
};
template <class T>
concept compressor = stage<T> && T::kind ==
                     stage_kind::compressor&& requires(const T& t, const layer& l, const context& ctx) {
  { t.compress(l, ctx) } -> std::convertible_to<outcome>;
};
template <class T>
concept transformation = stage<T> && T::kind == stage_kind::transformation;

/// `first | second`: both work on the same weights, in order. A compressor sees what the one before it
/// returned, with its zeros as a constraint.
template <stage First, stage Second>
struct chain {
  First first;
  Second second;
  static constexpr stage_kind kind = Second::kind;
  static constexpr calibration_need needs = std::max(First::needs, Second::needs);

  void validate() const {
    first.validate();
    second.validate();
  }
  outcome compress(const layer& l, const context& ctx = {}) const
      requires(compressor<First>&& compressor<Second>) {
    outcome before = first.compress(l, ctx);
    layer next = l;
    next.weight = before.op.to_dense();
    next.sparsity = std::move(before.sparsity);
    outcome result = second.compress(next, ctx);
    result.notes.insert(result.notes.begin(), before.notes.begin(), before.notes.end());
    return result;
  }
  template <matrix_like W>
  requires(compressor<First>&& compressor<Second>) compressed<op::any_operator>
  operator()(const W& w, const calib::statistics& inputs, const context& ctx = {}) const {
    return compress_weight<op::any_operator>(*this, w, &inputs, ctx);
  }
};

/// The sum of `first` and of `second` fitted to what `first` left of the weight.
inline outcome add_residual(const layer& l, outcome first, const auto& second, const context& ctx) {
  layer rest = l;
  const auto approximation = first.op.to_dense();
  for (index_t i = 0; i < rest.weight.size(); ++i) rest.weight.data()[i] -= approximation.data()[i];
  rest.sparsity = {};
  outcome added = second.compress(rest, ctx);
  std::vector<op::any_operator> parts;
  if (const auto* sum = first.op.template as<op::sum<>>())
    sum->parts().for_each([&](const op::any_operator& part) { parts.push_back(part); });
  else
    parts.push_back(first.op);
  parts.push_back(added.op);
  first.op = op::sum<>(op::operator_parts<>(std::move(parts)));
  first.sparsity = {};
  first.notes.insert(first.notes.end(), added.notes.begin(), added.notes.end());
  return first;
}

/// `first + second`: W is approximated by the sum of both.
template <compressor First, compressor Second>
struct residual {
  First first;
  Second second;
  static constexpr stage_kind kind = stage_kind::compressor;
  static constexpr calibration_need needs = std::max(First::needs, Second::needs);

  void validate() const {
    first.validate();
    second.validate();
  }
  outcome compress(const layer& l, const context& ctx = {}) const {
    return add_residual(l, first.compress(l, ctx), second, ctx);
  }
  template <matrix_like W>
  compressed<op::any_operator> operator()(const W& w, const calib::statistics& inputs,
                                          const context& ctx = {}) const {
    return compress_weight<op::any_operator>(*this, w, &inputs, ctx);
  }
};

template <stage First, stage Second>
constexpr chain<First, Second> operator|(First first, Second second) {
  static_assert(First::kind != stage_kind::compressor || compressor<Second>,
                "tersor: a transformation must come before the compressors of a chain");
  return {std::move(first), std::move(second)};
}
template <stage First, stage Second>
constexpr auto operator+(First first, Second second) {
  static_assert(compressor<First> && compressor<Second>,
                "tersor: '+' adds the operators of two compressors; chain a transformation with '|'");
  return residual<First, Second>{std::move(first), std::move(second)};
}

}  // namespace tersor::solve
