// tersor - tests of solve/stage.hpp
// SPDX-License-Identifier: MIT
#include <tersor/lowrank/svd.hpp>
#include <tersor/prune/magnitude.hpp>
#include <tersor/quant/awq.hpp>
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/smoothquant.hpp>

#include "../quant/samples.hpp"

namespace stage_tests {

using namespace tersor_test;
using namespace tersor::solve;
using tersor::index_t;
using tersor::lowrank::svd;
using tersor::prune::magnitude;
using tersor::quant::awq;
using tersor::quant::gptq;
using tersor::quant::rtn;
using tersor::quant::smoothquant;
namespace op = tersor::op;

static_assert(technique<rtn> && technique<gptq> && technique<awq> && technique<smoothquant>);
static_assert(compressor<rtn> && compressor<gptq> && !compressor<awq> && !compressor<smoothquant>);
static_assert(transformation<awq> && transformation<smoothquant> && !transformation<rtn>);
static_assert(std::is_same_v<decltype(awq{} | rtn{}), chain<awq, rtn>>);
static_assert(std::is_same_v<decltype(rtn{} + svd{}), residual<rtn, svd>>);
// + binds closer than |, as in the text form; compilers ask for the parentheses
static_assert(std::is_same_v<decltype(awq{} | (gptq{} + svd{})), chain<awq, residual<gptq, svd>>>);
// a chain of compressors is one, a chain that begins with a transformation works on a model only
static_assert(compressor<decltype(magnitude{} | rtn{})>);
static_assert(compressor<decltype((magnitude{} | rtn{}) + svd{})>);
static_assert(!compressor<decltype(awq{} | rtn{})>);
static_assert(transformation<decltype(smoothquant{} | awq{})>);
static_assert((awq{} | rtn{}).kind == stage_kind::compressor);
// the most that any part asks of the calibration
static_assert((rtn{} + rtn{}).needs == calibration_need::none);
static_assert((awq{} | rtn{}).needs == calibration_need::sums);
static_assert((rtn{} | gptq{}).needs == calibration_need::gram);
static_assert((gptq{} + rtn{}).needs == calibration_need::gram);

const index_t out = 12, in = 32;

double weighted(const matrix<float>& w, const op::any_operator& o, const tersor::calib::statistics& inputs) {
  return error_of(w, o.to_dense(), inputs.gram());
}

TEST_CASE("stage: a chain hands on weights and their zeros", "[stage]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const auto w = random_matrix<float>(out, in, seed);
    const auto inputs = statistics_of(correlated_inputs(3 * in, in, seed));
    const magnitude prune{.sparsity = 0.5, .value_type = tersor::dtype::f32};
    const auto pruned = prune(w).op.to_dense();
    for (const auto& result : {(prune | rtn{.bits = 4, .group_size = 8})(w, inputs),
                               (prune | gptq{.bits = 4, .group_size = 8})(w, inputs)}) {
      CHECK(result.op.kind() == "sparse_bitmap");
      const auto q = result.op.to_dense();
      for (index_t i = 0; i < w.size(); ++i)
        if (pruned.data()[i] == 0.0F) CHECK(q.data()[i] == 0.0F);
      // the report is about the chain's input
      CHECK(std::abs(*result.report.weighted_error -
                     std::sqrt(weighted(w, result.op, inputs) /
                               error_of(w, matrix<float>(out, in), inputs.gram()))) <= 1e-6);
    }
    // rounding after pruning is what the two calls in a row give
    const auto chained = (prune | rtn{.bits = 4, .group_size = 8})(w, inputs).op.to_dense();
    CHECK(chained == rtn{.bits = 4, .group_size = 8}(pruned).op.to_dense());
    // two of four
    const auto halves = (magnitude{.pattern = {2, 4}} | gptq{.bits = 3, .group_size = 16})(w, inputs);
    const auto* nm = halves.op.as<op::sparse_nm>();
    REQUIRE(nm != nullptr);
    CHECK(nm->values().is_quantized());
    CHECK((nm->n() == 2 && nm->m() == 4));
  }
}

TEST_CASE("stage: what is lossless in front changes nothing", "[stage]") {
  const rtn q{.bits = 3, .group_size = 8};
  matrix<float> w(out, in);  // on a grid of eighths, all codes used in each group
  for (index_t r = 0; r < out; ++r)
    for (index_t j = 0; j < in; ++j) w(r, j) = static_cast<float>((3 * j + r) % 8 - r % 8) / 8;
  const auto inputs = statistics_of(correlated_inputs(3 * in, in, 5));
  CHECK((q | q)(w, inputs).op.to_dense() == w);
  CHECK((q | gptq{.bits = 3, .group_size = 8})(w, inputs).op.to_dense() == w);
  CHECK((magnitude{.sparsity = 0} | q)(w, inputs).op.to_dense() ==
        q(tersor::copy_as<float>(magnitude{.sparsity = 0}(w).op.to_dense().view())).op.to_dense());
}

TEST_CASE("stage: a sum fits its second part to what is left", "[stage]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const auto w = random_matrix<float>(out, in, seed);
    const auto inputs = statistics_of(correlated_inputs(3 * in, in, seed));
    const rtn coarse{.bits = 2, .group_size = 8};
    const auto first = coarse(w).op.to_dense();
    const auto both = (coarse + svd{.rank = 4})(w, inputs);
    CHECK(both.op.kind() == "sum");
    CHECK(both.report.relative_error < coarse(w).report.relative_error);
    // two roundings: the second one sees the first one's error only
    const auto twice = (coarse + coarse)(w, inputs).op.to_dense();
    auto rest = w;
    for (index_t i = 0; i < w.size(); ++i) rest.data()[i] -= first.data()[i];
    const auto second = coarse(rest).op.to_dense();
    for (index_t i = 0; i < w.size(); ++i) CHECK(twice.data()[i] == first.data()[i] + second.data()[i]);
    // sums of sums are flat, and each part lowers the error
    const auto three = (coarse + coarse + coarse)(w, inputs);
    const auto* sum = three.op.as<op::sum<>>();
    REQUIRE(sum != nullptr);
    index_t parts = 0;
    std::size_t bytes = 0;
    sum->parts().for_each([&](const op::any_operator& part) {
      ++parts;
      bytes += part.storage().bytes();
    });
    CHECK(parts == 3);
    CHECK(three.report.bytes >= bytes);
    CHECK(three.report.relative_error < (coarse + coarse)(w, inputs).report.relative_error);
  }
}

TEST_CASE("stage: sparse, quantized and low-rank together", "[stage]") {
  const auto w = random_matrix<float>(out, in, 7);
  const auto inputs = statistics_of(correlated_inputs(3 * in, in, 7));
  const magnitude prune{.pattern = {2, 4}};
  const rtn round{.bits = 4, .group_size = 8};
  const auto chained = (prune | (round + svd{.rank = 4}))(w, inputs);
  const auto* sum = chained.op.as<op::sum<>>();
  REQUIRE(sum != nullptr);
  std::vector<std::string> kinds;
  sum->parts().for_each([&](const op::any_operator& part) { kinds.emplace_back(part.kind()); });
  CHECK(kinds == std::vector<std::string>{"sparse_nm", "low_rank"});
  // the same parts, but the low-rank one fitted to the error of pruning as well
  const auto outside = ((prune | round) + svd{.rank = 4})(w, inputs);
  CHECK(outside.report.relative_error < (prune | round)(w, inputs).report.relative_error);
  CHECK(outside.report.relative_error < chained.report.relative_error);
}

TEST_CASE("stage: notes of all parts, in order", "[stage]") {
  auto x = correlated_inputs(3 * in, in, 7);
  for (index_t t = 0; t < x.rows(); ++t) x(t, 3) = 0;
  const auto inputs = statistics_of(x);
  const auto w = random_matrix<float>(out, in, 7);
  const gptq g{.bits = 4, .group_size = 8, .keep_better = false};
  const auto noted = [](const auto& result) {
    return std::ranges::count_if(result.report.notes,
                                 [](const auto& n) { return n == "gptq: 1 inputs were always zero"; });
  };
  CHECK(noted(g(w, inputs)) == 1);
  CHECK(noted((g | rtn{})(w, inputs)) == 1);
  CHECK(noted((rtn{} | g)(w, inputs)) == 1);
  CHECK(noted((g + g)(w, inputs)) == 2);
}

TEST_CASE("stage: options are checked in every part", "[stage]") {
  const auto w = random_matrix<float>(out, in, 7);
  const auto inputs = statistics_of(random_matrix<float>(5, in, 7));
  CHECK(holds(error_text([&] { (rtn{} | rtn{.bits = 9}).validate(); }), "rtn: bits = 9"));
  CHECK(holds(error_text([&] { (rtn{.bits = 1} + rtn{}).validate(); }), "rtn: bits = 1"));
  CHECK(holds(error_text([&] { (rtn{} | rtn{.bits = 9})(w, inputs); }), "rtn: bits = 9"));
  CHECK(holds(error_text([&] { (rtn{} + rtn{.group_size = 0})(w, inputs); }), "rtn: group_size = 0"));
}

TEST_CASE("stage: the same bits for any number of threads", "[stage]") {
  const auto w = random_matrix<float>(out, in, 7);
  const auto inputs = statistics_of(correlated_inputs(3 * in, in, 7));
  const auto recipe = (magnitude{.sparsity = 0.5} | gptq{.bits = 3, .group_size = 8}) + rtn{.bits = 2};
  const auto one = recipe(w, inputs, threads(1)).op.to_dense();
  for (const int n : {2, 3}) CHECK(recipe(w, inputs, threads(n)).op.to_dense() == one);
}

}  // namespace stage_tests
