// tersor - example: a pruner as the library would have it, and what follows from its members
// SPDX-License-Identifier: MIT
//
// Shows: the parts of the library that a pruner is made of (selection, update, operators that fit the mask);
// the call, a sum and a spec that come from them. docs/adding_a_technique.md explains each member. Alone
// (nlohmann-json3-dev):
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/own_pruner.cpp && ./a.out
#include <cstdio>

#include <tersor/core/random.hpp>
#include <tersor/pipeline/recipe.hpp>
#include <tersor/quant/rtn.hpp>
#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

namespace tersor::prune {

using solve::operator|;
using solve::operator+;

/// Random pruning (no paper): keeps weights at random. What it does, source, differences from it.
///
/// Cost: O(out in). Guarantee: exact counts in every row. Bits per weight for b-bit values: 1 + (1 -
/// sparsity) b as a bitmap, 1 + b / 2 for 2:4.
///
///     auto result = tersor::prune::random_mask{.sparsity = 0.5}(W);  // W: [out, in], any tensor type
///     result.op.apply(x, y);                                         // x: [tokens, in]
struct random_mask {
  double sparsity = 0.5;
  solve::nm_pattern pattern{};
  dtype value_type = dtype::bf16;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "random_mask",
                                              .family = "prune",
                                              .title = "Random masks",
                                              .arxiv = "",
                                              .header = "tersor/prune/random_mask.hpp",
                                              .guarantee = "exact counts in every row"};
  static constexpr auto options() {
    return std::tuple_cat(solve::selection_options<random_mask>("share of each row removed"),
                          std::tuple{solve::value_type_option<random_mask>()});
  }
  void validate() const { solve::validate_selection(*this); }

  /// @param w [out, in], any tensor type. @param inputs only adds a weighted error to the report.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& ctx = {}) const {
    validate();
    solve::check_layer(l);
    matrix<float> score(l.weight.rows(), l.weight.cols());
    parallel_for(score.rows(), ctx, [&](index_t r) {
      auto random = random_generator(ctx.seed).fork(static_cast<std::uint64_t>(r));
      for (float& s : score.row(r)) s = static_cast<float>(random.uniform());
    });
    const solve::selection_rule rule{sparsity, pattern, solve::selection_scope::per_row};
    return solve::pruned_outcome(*this, l, solve::select(std::move(score), rule, l.sparsity, ctx));
  }
};
static_assert(solve::technique<random_mask>);

}  // namespace tersor::prune

namespace {

void print(const std::string& name, const tersor::solve::report& r) {
  std::printf("%-38s %6.3f bits per weight, error %.4f\n", name.c_str(), r.bits_per_weight, r.relative_error);
}

}  // namespace

int main() {
  tersor::random_generator random(1);
  tersor::matrix<float> w(64, 128);
  for (float& v : w.values()) v = static_cast<float>(random.normal());
  const auto measured = [&](const tersor::solve::outcome& o) {
    return tersor::solve::measure(w.view(), o.op, nullptr);
  };

  const tersor::prune::random_mask half{.sparsity = 0.5};
  print("random_mask(sparsity=0.5)", half(w).report);
  // a quantizer behind it stores codes of the kept entries alone
  print("... | rtn(bits=4)", measured((half | tersor::quant::rtn{.bits = 4}).compress({.weight = w})));

  auto techniques = tersor::pipeline::standard_catalog();
  techniques.add<tersor::prune::random_mask>();
  for (const char* spec : {"random_mask(pattern=2:4)|rtn(bits=4)", "random_mask(sparsity=1.5)"}) try {
      const auto chain = tersor::pipeline::recipe::parse(spec, techniques).chain_of("layer");
      print(spec, measured(chain.compress({.name = "layer", .weight = w}, {})));
    } catch (const tersor::error& e) {
      std::printf("%s\n", e.what());
    }
}
