// tersor - tests of model/prepare.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/model/llama_gguf.hpp>
#include <tersor/model/prepare.hpp>
#include <tersor/quant/rtn.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

#include <set>

namespace tersor {
namespace prepare_tests {

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

TEST_CASE("prepare: blocks of a GGUF file run as native operators") {
  const auto loaded =
      model::load_llama_gguf(std::filesystem::path(TERSOR_SOURCE_DIR) / "tests/data/gguf/tiny.gguf");
  auto prepared = loaded;
  model::prepare(prepared);
  std::set<std::string_view> kinds;
  for (const auto& l : loaded.linear_shapes()) {
    INFO(l.name);
    CHECK(prepared.linear(l.name).to_dense() == loaded.linear(l.name).to_dense());
    CHECK(prepared.linear(l.name).as<op::ggml_blocks>() == nullptr);
    kinds.insert(prepared.linear(l.name).kind());
  }
  CHECK(kinds ==
        std::set<std::string_view>{"dense", "quantized", "ggml_blocks"});  // Q4_1 and Q5_1 have offsets
  const auto ids = random_ids(20, 40);
  const auto expected = loaded.logits(loaded.forward(ids).view()),
             logits = prepared.logits(prepared.forward(ids).view());
  double worst = 0;
  for (index_t i = 0; i < logits.size(); ++i)
    worst = std::max(worst, static_cast<double>(std::abs(logits.data()[i] - expected.data()[i])));
  CHECK(worst < 1e-4);
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

TEST_CASE("prepare: a prepared model is written as what it was made of, dense values of 8 bits too") {
  auto packed = packed_llama();
  const std::string first = packed.linear_shapes().front().name;
  packed.set_linear(first, op::dense(packed.linear(first).to_dense().view(), dtype::f8_e4m3));
  auto prepared = packed;
  model::prepare(prepared);
  const test::temporary_folder folder;
  model::llama_file(packed).write(folder / "packed");
  model::llama_file(prepared).write(folder / "prepared");
  CHECK(io::read_text_file(folder / "packed") == io::read_text_file(folder / "prepared"));
  const io::checkpoint files(folder / "prepared");
  const io::operator_reader operators(files);
  for (const auto& l : packed.linear_shapes()) {
    INFO(l.name);
    CHECK(operators.read(l.name).to_dense() == packed.linear(l.name).to_dense());
  }
  CHECK(operators.has(first));
}

TEST_CASE("prepare: a tensor of 8 bits without its scale is not read as a weight") {
  const test::temporary_folder folder;
  io::safetensors_writer writer;
  writer.add("a.weight", dtype::f8_e4m3, {1, 2}, std::vector<std::byte>(2));
  writer.write(folder / "model.safetensors");
  const io::checkpoint files(folder / "model.safetensors");
  CHECK(test::holds(test::error_of([&] { io::operator_reader(files).read("a"); }), {"a.weight", "F8_E4M3"}));
}

}  // namespace prepare_tests
}  // namespace tersor
