// tersor - tests of quant/gptq.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/gptq.hpp>

#include "samples.hpp"

namespace gptq_tests {

using namespace tersor_test;
using tersor::dtype;
using tersor::index_t;
using tersor::quant::gptq;
using tersor::quant::gptq_solution;
using tersor::quant::refit_source;
using tersor::quant::rtn;
namespace solve = tersor::solve;

struct shape {
  index_t out, in, group;
};
const std::vector<shape> shapes{{1, 1, -1}, {1, 1, 4},   {4, 1, 128},  {1, 30, 7},  {8, 30, 7},
                                {6, 64, 1}, {6, 64, 16}, {16, 33, -1}, {5, 20, 100}};

const std::array schemes{solve::grid_scheme::affine0, solve::grid_scheme::sym_unsigned,
                         solve::grid_scheme::sym_signed, solve::grid_scheme::affine_minmax};

/// What the codes stand for.
matrix<float> values_of(const gptq_solution& s) {
  matrix<float> q(s.codes.rows(), s.codes.cols());
  for (index_t r = 0; r < q.rows(); ++r)
    for (index_t j = 0; j < q.cols(); ++j) {
      const auto g =
          s.grids.at(r, s.g_idx.empty() ? j / s.grids.group_size : s.g_idx[static_cast<std::size_t>(j)]);
      q(r, j) = g.scale * (static_cast<float>(s.codes(r, j)) - g.zero);
    }
  return q;
}
matrix<double> diagonal(index_t n, std::uint64_t seed) {
  matrix<double> h(n, n);
  const auto loud = random_matrix(1, n, seed);
  for (index_t j = 0; j < n; ++j) h(j, j) = std::exp(2 * loud(0, j));
  return h;
}

TEST_CASE("gptq: twice the loss is the damped H-error, for every grid and order", "[gptq]") {
  for (const auto& [out, in, group] : shapes)
    for (const int bits : {2, 3, 4, 8})
      for (const bool act_order : {false, true})
        for (const bool fixed : {false, true})
          for (const auto source : {refit_source::current, refit_source::stale}) {
            INFO(out << " x " << in << ", groups of " << group << ", " << bits << " bits, order " << act_order
                     << ", static " << fixed);
            const auto w = random_matrix<float>(out, in, static_cast<std::uint64_t>(in + bits));
            const auto h = statistics_of(correlated_inputs(3 * in, in, 7)).hessian();
            // bits and shapes vary, so each scheme meets all orders
            const auto scheme = schemes[static_cast<std::size_t>(bits / 2 + in) % schemes.size()];
            const auto s = gptq{.bits = bits,
                                .group_size = group,
                                .scheme = scheme,
                                .act_order = act_order,
                                .static_groups = fixed,
                                .block_size = 8,
                                .refit_from = source}
                               .quantize(w, h);
            REQUIRE(s.dead.empty());
            const auto damped = with_damping(h, s.damping);
            const double expected = error_of(w, values_of(s), damped);
            // each weight is a float that up to `in` updates have rounded, which moves W - Q by as much
            const double rounding = static_cast<double>(in) * 0x1p-24 *
                                    std::sqrt(expected * error_of(w, matrix<float>(out, in), damped));
            CHECK(std::abs(2 * s.loss - expected) <= 1e-4 * expected + 2 * rounding);
            CHECK(s.g_idx.empty() == !(act_order && !fixed && group > 0));
          }
}

TEST_CASE("gptq: diagonal H is rounding to nearest", "[gptq]") {
  for (const auto& [out, in, group] : shapes)
    for (const auto scheme : schemes) {
      const auto w = random_matrix<float>(out, in, 4);
      const auto plain = rtn{.bits = 3, .group_size = group, .scheme = scheme}(w).op;
      for (const bool fixed : {false, true}) {
        const auto s =
            gptq{.bits = 3, .group_size = group, .scheme = scheme, .static_groups = fixed, .block_size = 8}
                .quantize(w, diagonal(in, 5));
        CHECK(s.codes == plain.codes());
        CHECK(values_of(s) == plain.to_dense());
      }
      // static groups keep that for any order of the channels
      const auto sorted =
          gptq{.bits = 3, .group_size = group, .scheme = scheme, .act_order = true, .static_groups = true}
              .quantize(w, diagonal(in, 5));
      CHECK(sorted.codes == plain.codes());
    }
}

TEST_CASE("gptq: one input is rounding to nearest", "[gptq]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const auto scheme : schemes)
      for (const index_t group : {index_t{-1}, index_t{1}, index_t{128}})
        for (const bool fixed : {false, true}) {
          const auto w = random_matrix<float>(9, 1, 4);
          const auto inputs = statistics_of(random_matrix<float>(6, 1, 5));
          const gptq options{.bits = bits,
                             .group_size = group,
                             .scheme = scheme,
                             .act_order = bits % 2 == 0,
                             .static_groups = fixed,
                             .keep_better = false};
          CHECK(options(w, inputs).op.to_dense() ==
                rtn{.bits = bits, .group_size = group, .scheme = scheme}(w).op.to_dense());
        }
}

TEST_CASE("gptq: a factor of H changes no decision", "[gptq]") {
  // powers of 4: the factor of the inverse is scaled by powers of 2, so nothing else moves by a bit
  for (const auto& [out, in, group] : shapes)
    for (const bool act_order : {false, true}) {
      const auto w = random_matrix<float>(out, in, 4);
      const auto h = statistics_of(correlated_inputs(3 * in, in, 7)).hessian();
      const gptq options{.bits = 3, .group_size = group, .act_order = act_order, .block_size = 8};
      const auto expected = options.quantize(w, h);
      for (const double c : {0x1p-40, 0.25, 0x1p20}) {
        auto scaled = h;
        for (double& v : scaled.values()) v *= c;
        const auto s = options.quantize(w, scaled);
        CHECK(s.codes == expected.codes);
        CHECK(s.loss == c * expected.loss);
      }
    }
}

TEST_CASE("gptq: fitting on stale weights differs only inside a panel", "[gptq]") {
  for (const auto& [out, in, group] : shapes)
    for (const index_t block : {1, 4, 8, 128}) {
      const auto w = random_matrix<float>(out, in, 4);
      const auto h = statistics_of(correlated_inputs(3 * in, in, 7)).hessian();
      gptq options{.bits = 3, .group_size = group, .block_size = block};
      const auto current = options.quantize(w, h);
      options.refit_from = refit_source::stale;
      const auto stale = options.quantize(w, h);
      INFO(out << " x " << in << ", groups of " << group << ", panels of " << block);
      if (group < 0 || group >= in || group % block == 0)
        CHECK(stale.codes == current.codes);
      else
        CHECK(stale.loss != current.loss);  // a group begins inside a panel
    }
}

TEST_CASE("gptq: a weight on its grid is left alone", "[gptq]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const index_t group : {index_t{-1}, index_t{16}})
      for (const bool act_order : {false, true}) {
        if (act_order && group > 0) continue;  // groups of other channels have other grids
        const index_t in = 32;
        tersor::random_generator g(static_cast<std::uint64_t>(bits));
        matrix<float> w(5, in);
        const auto n = (1u << bits) - 1;
        for (index_t r = 0; r < 5; ++r)  // zero point r, both ends of the codes in each group
          for (index_t j = 0; j < in; ++j) {
            const auto code = j % 16 == 0 ? 0u : j % 16 == 1 ? n : g.uniform_index(n + 1);
            w(r, j) =
                0.125F * (static_cast<float>(code) - static_cast<float>(r % static_cast<index_t>(n + 1)));
          }
        const auto s =
            gptq{.bits = bits, .group_size = group, .act_order = act_order, .block_size = 8}.quantize(
                w, statistics_of(correlated_inputs(90, in, 1)).hessian());
        CHECK(values_of(s) == w);
        CHECK(s.loss == 0.0);
      }
}

TEST_CASE("gptq: the panel width does not matter", "[gptq]") {
  // g = -1, static groups, or g a multiple of B (and here any g, as groups are fitted on current weights).
  // Panels add in another order, so a weight on the edge between two codes may fall to either side.
  for (const auto& [out, in, group] : {shape{12, 64, -1}, shape{12, 64, 16}, shape{12, 60, 24}})
    for (const bool fixed : {false, true})
      for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const auto w = random_matrix<float>(out, in, seed);
        const auto h = statistics_of(correlated_inputs(3 * in, in, seed)).hessian();
        gptq options{.bits = 4, .group_size = group, .static_groups = fixed};
        const auto run = [&](index_t block) {
          options.block_size = block;
          return options.quantize(w, h);
        };
        const auto reference = run(in);
        for (const index_t block : {1, 5, 8, 128}) {
          const auto s = run(block);
          index_t different = 0;
          for (index_t i = 0; i < s.codes.size(); ++i)
            different += s.codes.data()[i] != reference.codes.data()[i];
          INFO("groups of " << group << ", static " << fixed << ", panels of " << block);
          CHECK(different <= s.codes.size() / 100);
          CHECK(std::abs(s.loss - reference.loss) <= 0.01 * reference.loss);
        }
      }
}

TEST_CASE("gptq: act_order on sorted channels changes nothing", "[gptq]") {
  for (const index_t group : {index_t{-1}, index_t{8}, index_t{7}}) {
    const index_t in = 24;
    auto x = correlated_inputs(80, in, 3);
    std::vector<std::pair<double, index_t>> energy;
    const auto h0 = statistics_of(x).hessian();
    for (index_t j = 0; j < in; ++j) energy.emplace_back(-h0(j, j), j);
    std::ranges::sort(energy);
    std::vector<index_t> order;
    for (const auto& e : energy) order.push_back(e.second);
    x = tersor::gather_columns(x, order);
    const auto h = statistics_of(x).hessian();
    const auto w = random_matrix<float>(7, in, 4);
    const gptq plain{.bits = 3, .group_size = group};
    auto sorted = plain;
    sorted.act_order = true;
    const auto a = plain.quantize(w, h), b = sorted.quantize(w, h);
    CHECK(a.codes == b.codes);
    CHECK(values_of(a) == values_of(b));
    CHECK(a.loss == b.loss);
  }
}

TEST_CASE("gptq: act_order sorts channels stably by energy and groups them in that order", "[gptq]") {
  const index_t in = 9;
  matrix<double> h(in, in);
  const std::vector<double> energy{1, 5, 2, 5, 9, 1, 1, 3, 5};
  for (index_t j = 0; j < in; ++j) h(j, j) = energy[static_cast<std::size_t>(j)];
  // order 4 | 1 3 8 | 7 | 2 | 0 5 6, in groups of 4
  const auto s = gptq{.group_size = 4, .act_order = true}.quantize(random_matrix<float>(3, in, 1), h);
  CHECK(s.g_idx == std::vector<std::int32_t>{1, 0, 1, 0, 0, 1, 2, 1, 0});
  CHECK(s.grids.scale.cols() == 3);
}

TEST_CASE("gptq: error feedback pays on correlated inputs", "[gptq]") {
  // sheet: X = Z A with cond(A) about 1e3, 128 x 256, 3 and 4 bits: ratio of summed errors below 0.8
  for (const int bits : {3, 4})
    for (const index_t group : {index_t{-1}, index_t{64}})
      for (std::uint64_t seed = 0; seed < 2; ++seed) {
        const auto w = random_matrix<float>(128, 256, seed);
        const auto inputs = statistics_of(ill_conditioned_inputs(512, 256, seed + 1));
        const auto h = inputs.hessian();
        gptq options{.bits = bits, .group_size = group, .keep_better = false};
        const double nearest = *rtn{.bits = bits, .group_size = group}(w, &inputs).report.weighted_error;
        for (const bool act_order : {false, true}) {
          options.act_order = act_order;
          const double feedback = *options(w, inputs).report.weighted_error;
          INFO(bits << " bits, groups of " << group << ", order " << act_order << ": "
                    << feedback * feedback / (nearest * nearest));
          CHECK(feedback * feedback < 0.8 * nearest * nearest);
        }
      }
}

TEST_CASE("gptq: never worse than rounding to nearest with keep_better", "[gptq]") {
  index_t replaced = 0;
  for (const auto& [out, in, group] : shapes)
    for (const int bits : {2, 4, 8})
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const auto w = random_matrix<float>(out, in, seed);
        const auto inputs = statistics_of(correlated_inputs(2 + in / 4, in, seed));
        const auto result =
            gptq{.bits = bits, .group_size = group, .percdamp = seed % 2 == 0 ? 0.01 : 100}(w, inputs);
        const auto nearest = rtn{.bits = bits, .group_size = group}(w, &inputs);
        CHECK(*result.report.weighted_error <= *nearest.report.weighted_error * (1 + 1e-9));
        if (std::ranges::any_of(result.report.notes,
                                [](const auto& n) { return holds(n, "round-to-nearest kept"); })) {
          ++replaced;
          CHECK(result.op.to_dense() == nearest.op.to_dense());
        }
      }
  CHECK(replaced > 0);  // it does happen
}

TEST_CASE("gptq: never worse than rounding to nearest, whatever the options and constraints", "[gptq]") {
  index_t replaced = 0, kept = 0;
  const index_t out = 18, in = 24;
  for (const auto scheme : schemes)
    for (const index_t group : {index_t{-1}, index_t{5}, index_t{8}})
      for (const bool act_order : {false, true})
        for (const bool fixed : {false, true})
          for (const bool clip : {false, true})
            for (int constraint = 0; constraint < 4; ++constraint)
              for (const index_t tokens : {3, 60}) {
                const auto seed = static_cast<std::uint64_t>(tokens + constraint);
                const auto inputs = statistics_of(correlated_inputs(tokens, in, seed));
                solve::layer l{.weight = random_matrix<float>(out, in, seed), .inputs = &inputs};
                if (constraint == 1) l.sparsity.kept = random_mask(out, in, 0.5, seed);
                if (constraint > 1) {  // 2:4, as it is or in another order of the columns
                  l.sparsity = {matrix<std::uint8_t>(out, in), 2, 4, {}};
                  for (index_t j = 0; j < in && constraint == 3; ++j)
                    l.sparsity.permutation.push_back(static_cast<std::int32_t>((5 * j + 2) % in));
                  for (index_t r = 0; r < out; ++r)
                    for (index_t j = 0; j < in; ++j)
                      l.sparsity.kept(r, constraint == 3 ? l.sparsity.permutation[static_cast<std::size_t>(j)]
                                                         : j) = (j + r) % 4 < 2;
                }
                for (index_t i = 0; i < l.sparsity.kept.size(); ++i)
                  if (l.sparsity.kept.data()[i] == 0) l.weight.data()[i] = 0;
                const int bits = tokens == 3 ? 2 : 3;
                const auto result = gptq{.bits = bits,
                                         .group_size = group,
                                         .scheme = scheme,
                                         .act_order = act_order,
                                         .static_groups = fixed,
                                         .clip_search = clip,
                                         .grid = 20}
                                        .compress(l);
                const auto nearest =
                    rtn{.bits = bits, .group_size = group, .scheme = scheme, .clip_search = clip, .grid = 20}
                        .compress(l)
                        .op.to_dense();
                const auto q = result.op.to_dense();
                const auto h = inputs.gram();
                CHECK(error_of(l.weight, q, h) <= error_of(l.weight, nearest, h) * (1 + 1e-9));
                for (index_t i = 0; i < l.sparsity.kept.size(); ++i)
                  if (l.sparsity.kept.data()[i] == 0) CHECK(q.data()[i] == 0.0F);
                const bool fell_back = std::ranges::any_of(
                    result.notes, [](const auto& n) { return holds(n, "round-to-nearest kept"); });
                if (fell_back) CHECK(q == nearest);
                ++(fell_back ? replaced : kept);
              }
  CHECK((replaced > 20 && kept > 20));
}

TEST_CASE("gptq: the comparison with rounding to nearest looks at all rows", "[gptq]") {
  // most rows are on their grid and cost nothing; the comparison goes 512 rows at a time
  const index_t in = 12;
  const auto inputs = statistics_of(correlated_inputs(4, in, 1));
  index_t replaced = 0;
  for (const index_t out : {511, 513, 1100})
    for (const index_t row : {index_t{0}, out - 1})
      for (const bool masked : {false, true})
        for (std::uint64_t seed = 0; seed < 24; ++seed) {
          solve::layer l{.weight = matrix<float>(out, in), .inputs = &inputs};
          std::ranges::copy(random_matrix<float>(1, in, seed).values(), l.weight.row(row).begin());
          if (masked) l.sparsity.kept = random_mask(out, in, 0.7, seed);
          for (index_t i = 0; i < l.sparsity.kept.size(); ++i)
            if (l.sparsity.kept.data()[i] == 0) l.weight.data()[i] = 0;
          const auto result = gptq{.bits = 3, .percdamp = 10}.compress(l);
          const auto error = [&](const tersor::op::any_operator& op) {
            return tersor::linalg::weighted_error(l.weight, op.to_dense(), inputs.gram().view());
          };
          CHECK(error(result.op) <= error(rtn{.bits = 3}.compress(l).op) * (1 + 1e-9));
          replaced += !result.notes.empty();
        }
  CHECK((replaced > 0 && replaced < 288));
  // no part of the rows alone has as much error as all of gptq's
  const auto w = random_matrix<float>(1100, in, 3);
  const auto many = statistics_of(random_matrix<float>(50, in, 4));
  const auto result = gptq{.bits = 3}(w, many);
  CHECK(result.report.notes.empty());
  CHECK(*result.report.weighted_error < *rtn{.bits = 3}(w, &many).report.weighted_error);
}

TEST_CASE("gptq: the operator stores what its documentation counts", "[gptq]") {
  const index_t out = 32, in = 256;
  const auto w = random_matrix<float>(out, in, 1);
  const auto inputs = statistics_of(correlated_inputs(300, in, 2));
  for (int bits = 2; bits <= 8; ++bits)
    for (const index_t g : {index_t{32}, index_t{128}, index_t{-1}})
      for (const bool act_order : {false, true})
        for (const bool fixed : {false, true}) {
          gptq options{.bits = bits,
                       .group_size = g,
                       .act_order = act_order,
                       .static_groups = fixed,
                       .keep_better = false};
          const double group = static_cast<double>(g < 0 ? in : g);
          const double g_idx = act_order && !fixed && g > 0 ? 32.0 / out : 0.0;
          const auto affine = options(w, inputs);
          CHECK(std::abs(affine.report.bits_per_weight - (bits + (16 + bits) / group + g_idx)) <= 1e-9);
          CHECK(affine.report.bytes == affine.op.storage().bytes());
          options.scheme = solve::grid_scheme::sym_unsigned;
          CHECK(std::abs(options(w, inputs).report.bits_per_weight - (bits + 16 / group + g_idx)) <= 1e-9);
        }
}

TEST_CASE("gptq: inputs that were always zero", "[gptq]") {
  for (const index_t group : {index_t{-1}, index_t{6}})
    for (const bool act_order : {false, true}) {
      auto x = correlated_inputs(60, 20, 1);
      for (index_t t = 0; t < 60; ++t) x(t, 3) = x(t, 17) = 0;
      const auto inputs = statistics_of(x);
      auto w = random_matrix<float>(5, 20, 2);
      const gptq options{.bits = 4, .group_size = group, .act_order = act_order, .keep_better = false};
      const auto s = options.quantize(w, inputs.hessian());
      CHECK(s.dead == std::vector<index_t>{3, 17});
      const auto q = values_of(s);
      for (index_t r = 0; r < 5; ++r) CHECK((q(r, 3) == 0.0F && q(r, 17) == 0.0F));
      // the identity of the loss holds for the repaired weight and H
      auto h = inputs.hessian();
      for (const index_t j : s.dead) {
        h(j, j) = 1;
        for (index_t r = 0; r < 5; ++r) w(r, j) = 0;
      }
      const double expected = error_of(w, q, with_damping(h, s.damping));
      CHECK(std::abs(2 * s.loss - expected) <= 1e-4 * expected);
      const auto result = options(w, inputs);
      CHECK(result.report.notes == std::vector<std::string>{"gptq: 2 inputs were always zero"});
    }
  // all of them: H = 0, any weight gives the same outputs, zeros are stored
  const auto none = statistics_of(matrix<float>(4, 20));
  const auto w = random_matrix<float>(5, 20, 2);
  for (const index_t group : {index_t{-1}, index_t{6}})
    for (const bool act_order : {false, true}) {
      const auto result = gptq{.bits = 4, .group_size = group, .act_order = act_order}(w, none);
      CHECK(result.op.to_dense() == matrix<float>(5, 20));
      CHECK(*result.report.weighted_error == 0.0);
    }
}

TEST_CASE("gptq: fewer tokens than channels, and no damping at all", "[gptq]") {
  for (const index_t tokens : {1, 3, 10})
    for (const double percdamp : {0.0, 0.01}) {
      const auto w = random_matrix<float>(6, 40, 1);
      const auto inputs = statistics_of(correlated_inputs(tokens, 40, 2));
      const gptq options{.bits = 4, .group_size = 16, .percdamp = percdamp};
      const auto s = options.quantize(w, inputs.hessian());
      CHECK(s.damping > 0.0);
      CHECK((s.retries > 0) == (percdamp == 0.0));  // H is singular
      const auto result = options(w, inputs);
      CHECK(*result.report.weighted_error <=
            *rtn{.bits = 4, .group_size = 16}(w, &inputs).report.weighted_error);
      CHECK(std::ranges::any_of(result.report.notes, [](const auto& n) {
              return holds(n, "damping raised");
            }) == (percdamp == 0.0));
    }
}

TEST_CASE("gptq: rows of zeros and single rows", "[gptq]") {
  auto w = random_matrix<float>(4, 30, 1);
  for (float& v : w.row(2)) v = 0;
  const auto inputs = statistics_of(correlated_inputs(90, 30, 2));
  for (const index_t group : {index_t{-1}, index_t{7}}) {
    const gptq options{.bits = 3, .group_size = group, .keep_better = false};
    const auto q = options(w, inputs).op.to_dense();
    for (index_t j = 0; j < 30; ++j) CHECK(q(2, j) == 0.0F);
    // rows do not know of each other
    for (const index_t r : {0, 3}) {
      const auto alone = options(w.view().rows(r, 1), inputs).op.to_dense();
      for (index_t j = 0; j < 30; ++j) CHECK(std::fabs(alone(0, j) - q(r, j)) <= 1e-6F);
    }
  }
}

TEST_CASE("gptq: zeros of a constraint stay exact zeros", "[gptq]") {
  for (std::uint64_t seed = 0; seed < 3; ++seed)
    for (const index_t group : {index_t{-1}, index_t{8}})
      for (const bool act_order : {false, true})
        for (const auto scheme : {solve::grid_scheme::affine0, solve::grid_scheme::affine_minmax}) {
          const auto inputs = statistics_of(correlated_inputs(80, 24, seed));
          solve::layer l{.weight = random_matrix<float>(6, 24, seed), .inputs = &inputs};
          l.sparsity.kept = random_mask(6, 24, 0.5, seed + 1);
          for (index_t i = 0; i < l.weight.size(); ++i)
            if (l.sparsity.kept.data()[i] == 0) l.weight.data()[i] = 0;
          const gptq options{.bits = 4, .group_size = group, .scheme = scheme, .act_order = act_order};
          auto outcome = options.compress(l);
          CHECK(outcome.op.as<tersor::op::sparse_bitmap>() != nullptr);
          auto q = outcome.op.to_dense();
          for (index_t i = 0; i < q.size(); ++i)
            if (l.sparsity.kept.data()[i] == 0) CHECK(q.data()[i] == 0.0F);
          CHECK(error_of(l.weight, q, inputs.hessian()) <=
                error_of(l.weight,
                         rtn{.bits = 4, .group_size = group, .scheme = scheme}.compress(l).op.to_dense(),
                         inputs.hessian()) *
                    (1 + 1e-9));
          l.sparsity = {matrix<std::uint8_t>(6, 24), 2, 4, {}};
          for (index_t r = 0; r < 6; ++r)
            for (index_t j = 0; j < 24; ++j) l.sparsity.kept(r, j) = (j + r) % 4 < 2;
          outcome = options.compress(l);
          const auto* nm = outcome.op.as<tersor::op::sparse_nm>();
          REQUIRE(nm != nullptr);
          CHECK(nm->values().is_quantized());
          q = outcome.op.to_dense();
          for (index_t i = 0; i < q.size(); ++i)
            if (l.sparsity.kept.data()[i] == 0) CHECK(q.data()[i] == 0.0F);
        }
}

TEST_CASE("gptq: with a constraint, grids are fitted on what is stored", "[gptq]") {
  // column 0 is far from its code and highly correlated with column 1, which is not stored
  matrix<double> h(2, 2);
  h(0, 0) = h(1, 1) = 1;
  h(0, 1) = h(1, 0) = 0.99;
  matrix<float> w(1, 2);
  w(0, 0) = 1;
  matrix<std::uint8_t> kept(1, 2);
  kept(0, 0) = 1;
  const auto s =
      gptq{.bits = 2, .group_size = 1, .scheme = solve::grid_scheme::sym_unsigned}.quantize(w, h, {}, &kept);
  CHECK(s.grids.scale(0, 1) ==
        rtn{.bits = 2, .group_size = 1, .scheme = solve::grid_scheme::sym_unsigned}(matrix<float>(1, 1))
            .op.grid()
            .scale(0, 0));
}

TEST_CASE("gptq: codes are those of the stored scales", "[gptq]") {
  for (const auto type : {dtype::f16, dtype::bf16, dtype::f32}) {
    const auto w = random_matrix<float>(6, 30, 1);
    const auto inputs = statistics_of(correlated_inputs(90, 30, 2));
    const gptq options{.bits = 8, .group_size = 7, .keep_better = false, .scale_type = type};
    CHECK(options(w, inputs).op.to_dense() == values_of(options.quantize(w, inputs.hessian())));
  }
}

TEST_CASE("gptq: the same bits for any number of threads", "[gptq]") {
  const auto w = random_matrix<float>(50, 70, 1);
  const auto inputs = statistics_of(correlated_inputs(200, 70, 2));
  for (const bool act_order : {false, true}) {
    const gptq options{.bits = 3, .group_size = 16, .act_order = act_order, .block_size = 32};
    const auto one = options(w, inputs, threads(1));
    for (const int n : {2, 3}) {
      const auto many = options(w, inputs, threads(n));
      CHECK(many.op.to_dense() == one.op.to_dense());
      CHECK(*many.report.weighted_error == *one.report.weighted_error);
    }
  }
}

TEST_CASE("gptq: errors", "[gptq]") {
  const auto w = random_matrix<float>(3, 4, 1);
  const auto inputs = statistics_of(random_matrix<float>(9, 4, 2));
  CHECK(holds(error_text([&] { gptq{.bits = 1}(w, inputs); }), "gptq: bits = 1: expected 2 .. 8"));
  CHECK(holds(error_text([&] { gptq{.group_size = 0}(w, inputs); }), "gptq: group_size = 0"));
  CHECK(holds(error_text([&] { gptq{.block_size = 0}(w, inputs); }), "gptq: block_size = 0"));
  CHECK(holds(error_text([&] { gptq{.percdamp = -1}(w, inputs); }), "gptq: percdamp = -1"));
  CHECK(holds(error_text([&] { gptq{}(w, tersor::calib::statistics(4)); }),
              "gptq: calibration of weight = empty: expected at least one sequence"));
  CHECK(holds(error_text([&] { gptq{}(w, statistics_of(random_matrix<float>(9, 5, 2))); }),
              "gptq: in_features of the statistics of weight = 5: expected 4"));
  CHECK(holds(error_text([&] { gptq{}(w, statistics_of(random_matrix<float>(9, 4, 2), false)); }),
              "statistics: gram = not gathered"));
  auto bad = w;
  bad(2, 1) = not_a_number;
  CHECK(error_text([&] { gptq{}(bad, inputs); }) == "weight[2, 1] = nan: expected a finite number");
  CHECK(holds(error_text([&] { gptq{}.quantize(bad, inputs.hessian()); }), "gptq: w[2, 1] = nan"));
  auto h = inputs.hessian();
  CHECK(holds(error_text([&] { gptq{}.quantize(w, matrix<double>(3, 3)); }),
              "gptq: h = 3 x 3: expected 4 x 4"));
  h(1, 0) = std::numeric_limits<double>::quiet_NaN();
  CHECK(holds(error_text([&] { gptq{}.quantize(w, h); }), "gptq: h[1, 0] = nan"));
  for (const bool act_order : {false, true}) {
    h(1, 0) = 0;
    h(2, 2) = std::numeric_limits<double>::quiet_NaN();
    CHECK(holds(error_text([&] { gptq{.act_order = act_order}.quantize(w, h); }), "gptq: h[2, 2] = nan"));
  }
  // what the algorithm itself makes of nothing
  CHECK(gptq{}.quantize(matrix<float>(0, 4), inputs.hessian()).codes.empty());
  CHECK(gptq{}.quantize(matrix<float>(3, 0), {}).loss == 0.0);
  for (const double size : {1e-90, 1e95}) {  // its factor is no float
    matrix<double> extreme(4, 4);
    for (index_t j = 0; j < 4; ++j) extreme(j, j) = size;
    CHECK(holds(error_text([&] { gptq{}.quantize(w, extreme); }), "factor of H⁻¹[0, 0] = "));
  }
  const matrix<std::uint8_t> kept(3, 5);
  CHECK(holds(error_text([&] { gptq{}.quantize(w, inputs.hessian(), {}, &kept); }), "gptq: kept = 3 x 5"));
  auto huge = w;
  huge(0, 0) = 1e8F;
  CHECK(holds(error_text([&] { gptq{}(huge, inputs); }), "scale = "));
}

}  // namespace gptq_tests
