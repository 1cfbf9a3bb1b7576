// tersor - tests of quant/ggml_blocks.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/ggml_blocks.hpp>

#include "ggml_reference.hpp"
#include "samples.hpp"

#include <tersor/pipeline/recipe.hpp>
#include <tersor/prune/magnitude.hpp>

namespace ggml_blocks_tests {

using namespace tersor_test;
using tersor::ggml_type;
using tersor::index_t;
using tersor::quant::encodable_types;
using tersor::quant::ggml_blocks;
using tersor::quant::input_importance;

static_assert(tersor::solve::compressor<ggml_blocks>);
static_assert(tersor::solve::technique<ggml_blocks>);

TEST_CASE("ggml: the operator holds the encoder's blocks and decodes to what they mean", "[ggml]") {
  const auto w = random_matrix<float>(5, 512, 1);
  int seen = 0;
  for (const auto type : encodable_types) {
    if (!tersor::op::can_decode(type)) continue;
    INFO(tersor::name(type));
    ++seen;
    const auto result = ggml_blocks{.type = type}(w);
    const auto bytes = tersor::quant::encode(type, w.view());
    CHECK(std::ranges::equal(result.op.bytes(), bytes));
    CHECK(distance(result.op.to_dense(), ggml_values(type, bytes, 5, 512)) < 1e-5);
    CHECK(result.report.notes.empty());
    const auto& t = tersor::info(type);
    CHECK(std::abs(result.report.bits_per_weight - 8.0 * t.bytes / t.block) < 1e-9);
    CHECK(result.report.bytes == static_cast<std::size_t>(5 * 512 / t.block * t.bytes));
  }
  CHECK(seen >= 8);
}

TEST_CASE("ggml: statistics of the inputs lower the error of the outputs", "[ggml]") {
  for (const auto type : encodable_types) {
    if (!tersor::op::can_decode(type)) continue;
    INFO(tersor::name(type));
    double plain = 0, weighted = 0;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      const auto w = random_matrix<float>(16, 256, seed);
      auto x = random_matrix<float>(300, 256,
                                    seed + 10);  // independent inputs: the Gram matrix is nearly diagonal
      const auto loud = random_matrix<float>(1, 256, seed + 20);
      for (index_t t = 0; t < x.rows(); ++t)
        for (index_t j = 0; j < 256; ++j) x(t, j) *= std::exp(loud(0, j));
      const auto inputs = statistics_of(x);
      const auto with = ggml_blocks{.type = type}(w, &inputs);
      const auto without = ggml_blocks{.type = type, .importance = input_importance::none}(w, &inputs);
      plain += *without.report.weighted_error;
      weighted += *with.report.weighted_error;
      CHECK(std::ranges::equal(without.op.bytes(), tersor::quant::encode(type, w.view())));
      if (!tersor::quant::uses_importance(type))
        CHECK(std::ranges::equal(with.op.bytes(), without.op.bytes()));
    }
    if (tersor::quant::uses_importance(type)) CHECK(weighted < plain);
  }
}

TEST_CASE("ggml: inputs that the calibration never saw keep their weights", "[ggml]") {
  const auto w = random_matrix<float>(4, 512, 3);
  auto x = random_matrix<float>(50, 512, 4);
  for (index_t t = 0; t < 50; ++t)
    for (index_t j = 0; j < 300; ++j) x(t, j) = 0.0F;  // more than a super-block
  const auto dead = statistics_of(x);
  const auto silent = statistics_of(matrix<float>(3, 512));
  for (const auto type : encodable_types) {
    if (!tersor::op::can_decode(type)) continue;
    INFO(tersor::name(type));
    const auto q = ggml_blocks{.type = type}(w, &dead).op.to_dense();
    double error = 0, norm = 0;
    for (index_t r = 0; r < 4; ++r)
      for (index_t j = 0; j < 300; ++j) {
        error += std::pow(static_cast<double>(q(r, j) - w(r, j)), 2);
        norm += std::pow(static_cast<double>(w(r, j)), 2);
      }
    CHECK(error < (type == ggml_type::tq1_0 || type == ggml_type::tq2_0 ? 1.0 : 0.25) * norm);
    CHECK(std::ranges::equal(ggml_blocks{.type = type}(w, &silent).op.bytes(),
                             tersor::quant::encode(type, w.view())));
  }
}

// llama.cpp: src/llama-quant.cpp, the types of rows that 256 does not divide.
TEST_CASE("ggml: rows that are not whole blocks take another type, and the report says so", "[ggml]") {
  using tersor::quant::fitting_type;
  CHECK(fitting_type(ggml_type::q4_k, 512) == ggml_type::q4_k);
  CHECK(fitting_type(ggml_type::q2_k, 96) == ggml_type::iq4_nl);
  CHECK(fitting_type(ggml_type::q3_k, 96) == ggml_type::iq4_nl);
  CHECK(fitting_type(ggml_type::iq4_xs, 96) == ggml_type::iq4_nl);
  CHECK(fitting_type(ggml_type::tq1_0, 96) == ggml_type::q4_0);
  CHECK(fitting_type(ggml_type::q4_0, 96) == ggml_type::q4_0);
  CHECK_FALSE(fitting_type(ggml_type::q4_k, 100));
  CHECK_FALSE(fitting_type(ggml_type::q4_0, 48));
  const auto w = random_matrix<float>(3, 96, 5);
  for (const auto& [asked, stored] : {std::pair{ggml_type::q4_k, ggml_type::q5_0},
                                      {ggml_type::q5_k, ggml_type::q5_1},
                                      {ggml_type::q6_k, ggml_type::q8_0}}) {
    const auto result = ggml_blocks{.type = asked}(w);
    CHECK(result.op.type() == stored);
    REQUIRE(result.report.notes.size() == 1);
    const auto& note = result.report.notes.front();
    INFO(note);
    CHECK(holds(note, tersor::name(asked)));
    CHECK(holds(note, tersor::name(stored)));
    CHECK(holds(note, "96"));
    CHECK(std::ranges::equal(result.op.bytes(), tersor::quant::encode(stored, w.view())));
  }
  const auto error = error_text([&] { ggml_blocks{}(random_matrix<float>(3, 100, 6)); });
  INFO(error);
  CHECK(holds(error, "in_features"));
  CHECK(holds(error, "100"));
  CHECK(holds(error, "Q4_K"));
}

TEST_CASE("ggml: zeros of a pruner stay zero, or the type is refused", "[ggml]") {
  tersor::solve::layer l{.weight = random_matrix<float>(8, 256, 7)};
  l.sparsity.kept = random_mask(8, 256, 0.5, 8);
  for (index_t i = 0; i < l.weight.size(); ++i)
    if (l.sparsity.kept.data()[i] == 0) l.weight.data()[i] = 0.0F;
  int kept = 0, refused = 0;
  for (const auto type : encodable_types) {
    if (!tersor::op::can_decode(type)) continue;
    INFO(tersor::name(type));
    tersor::solve::outcome o;
    const auto error = error_text([&] { o = ggml_blocks{.type = type}.compress(l); });
    if (!error.empty()) {
      CHECK(holds(error, tersor::name(type)));
      CHECK(holds(error, "Q4_0"));
      ++refused;
      continue;
    }
    ++kept;
    CHECK(o.sparsity.kept == l.sparsity.kept);
    const auto q = o.op.to_dense();
    for (index_t i = 0; i < q.size(); ++i)
      if (l.sparsity.kept.data()[i] == 0) REQUIRE(q.data()[i] == 0.0F);
  }
  CHECK(kept >= 4);     // Q4_0, Q5_0, Q8_0, Q6_K
  CHECK(refused >= 4);  // Q4_1, Q5_1, Q4_K, Q5_K
}

TEST_CASE("ggml: bits do not depend on threads", "[ggml]") {
  const auto w = random_matrix<float>(33, 256, 9);
  const auto inputs = statistics_of(random_matrix<float>(40, 256, 10));
  const auto one = ggml_blocks{}(w, &inputs, {.threads = 1});
  CHECK(std::ranges::equal(ggml_blocks{}(w, &inputs, {.threads = 4}).op.bytes(), one.op.bytes()));
}

TEST_CASE("ggml: specs name the type as llama.cpp does", "[ggml]") {
  using tersor::pipeline::recipe;
  for (const auto type : encodable_types) {
    const auto text = tersor::concat("ggml(type=", tersor::name(type), ")");
    const auto shortest = type == ggml_type::q4_k ? std::string("ggml") : text;
    CHECK(recipe::parse(text).text() == shortest);
    CHECK(recipe(ggml_blocks{.type = type}).text() == shortest);
  }
  CHECK(recipe::parse("ggml(type=Q6_K,importance=none)").text() == "ggml(type=Q6_K,importance=none)");
  CHECK(holds(error_text([] { recipe::parse("ggml(type=IQ1_S)"); }), "IQ4_NL"));
  CHECK(holds(error_text([] { ggml_blocks{.type = ggml_type::q8_k}(matrix<float>(1, 256)); }), "Q8_K"));
}

TEST_CASE("ggml: bad weights are named", "[ggml]") {
  auto w = random_matrix<float>(2, 256, 11);
  w(1, 7) = not_a_number;
  CHECK(holds(error_text([&] { ggml_blocks{}(w); }), "[1, 7]"));
  w(1, 7) = 1e30F;
  CHECK(holds(error_text([&] { ggml_blocks{}(w); }), "F16"));
}

}  // namespace ggml_blocks_tests
