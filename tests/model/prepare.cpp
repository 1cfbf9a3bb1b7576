// tersor - tests of model/prepare.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/prepare.hpp>
#include <tersor/quant/rtn.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace {

/// A tiny model whose linears have 4 bits, but for one that stays dense.
model::llama packed_llama() {
  auto m = tiny_llama();
  for (const auto& l : m.linear_shapes())
    if (!l.name.ends_with("0.self_attn.q_proj"))
      m.set_linear(l.name, quant::rtn{.bits = 4, .group_size = 8}(m.linear(l.name).to_dense()).op);
  return m;
}

TEST_CASE("prepare: a model predicts the same") {
  const auto packed = packed_llama();
  auto prepared = packed;
  model::prepare(prepared);
  const auto ids = random_ids(20, 50);
  const auto expected = packed.logits(packed.forward(ids).view()),
             logits = prepared.logits(prepared.forward(ids).view());
  double worst = 0;
  for (index_t i = 0; i < logits.size(); ++i)
    worst = std::max(worst, static_cast<double>(std::abs(logits.data()[i] - expected.data()[i])));
  CHECK(worst < 1e-4);
  index_t laid_out = 0;
  for (const auto& l : prepared.linear_shapes())
    laid_out += prepared.linear(l.name).as<op::prepared_quantized>() != nullptr;
  CHECK(laid_out == static_cast<index_t>(prepared.linear_shapes().size()) - 1);
}

TEST_CASE("prepare: what is stored is what the model was made of") {
  const auto packed = packed_llama();
  auto prepared = packed;
  model::prepare(prepared);
  for (const auto& l : packed.linear_shapes()) {
    CHECK(prepared.linear(l.name).to_dense() == packed.linear(l.name).to_dense());
    CHECK(prepared.linear(l.name).kind() == packed.linear(l.name).kind());
    CHECK(prepared.linear(l.name).storage().bytes() == packed.linear(l.name).storage().bytes());
  }
}

}  // namespace
}  // namespace tersor
