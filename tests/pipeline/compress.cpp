// tersor - tests of pipeline/compress.hpp: the schedule on a tiny decoder
// SPDX-License-Identifier: MIT
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/compress.hpp>
#include <tersor/quant/gptq.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace compress_tests {

using pipeline::recipe;
using test::error_of;
using test::holds;

std::vector<std::vector<int>> sequences(std::size_t count = 6, std::size_t length = 40) {
  std::vector<std::vector<int>> s;
  for (std::size_t i = 0; i < count; ++i) s.push_back(random_ids(length, 50, 100 + i));
  return s;
}
pipeline::compression_report run(model::llama& m, const char* spec,
                                 const pipeline::schedule_options& options = {}, const context& ctx = {}) {
  return pipeline::compress(m, recipe::parse(spec), sequences(), options, ctx);
}
matrix<float> predictions(const model::llama& m) { return m.logits(m.forward(random_ids(30, 50)).view()); }

TEST_CASE("compress: every linear gets an operator of its chain, with a report") {
  auto m = tiny_llama();
  const auto r = run(
      m,
      "gptq(bits=4,group_size=8); *.down_proj: rtn(bits=8,group_size=-1); model.layers.1.mlp.up_proj: dense");
  CHECK(r.layers.size() == 13);
  for (const auto& l : r.layers) {
    INFO(l.name);
    const auto& op = m.linear(l.name);
    REQUIRE(op.as<op::quantized>());
    CHECK(op.as<op::quantized>()->grid().bits() == (l.name.ends_with("down_proj") ? 8 : 4));
    CHECK(l.report.bytes == op.storage().bytes());
    CHECK(l.report.bits_per_weight == op::bits_per_weight(op));
    CHECK(l.report.relative_error > 0);
    REQUIRE(l.report.weighted_error.has_value());
    CHECK(*l.report.weighted_error > 0);
  }
  CHECK(m.linear("model.layers.1.mlp.up_proj").as<op::dense>());
  CHECK(r.bits_per_weight() > 4);
}

TEST_CASE("compress: methods that need no data run without calibration, others say that it is empty") {
  auto m = tiny_llama();
  const auto r = pipeline::compress(m, recipe::parse("rtn(group_size=8)"), {});
  CHECK(r.layers.size() == 14);
  CHECK_FALSE(r.layers.front().report.weighted_error.has_value());
  auto measured = tiny_llama();
  const auto with_data =
      run(measured, "rtn(group_size=8)");  // the same weights, and what they do to the outputs
  CHECK(predictions(measured) == predictions(m));
  for (const auto& l : with_data.layers) CHECK(l.report.weighted_error.value_or(0) > 0);
  CHECK(holds(error_of([&] { pipeline::compress(m, recipe::parse("gptq"), {}); }), {"calibration", "empty"}));
}

TEST_CASE("compress: a chain with one link equals the direct call on the same statistics") {
  // the first stage of the first block sees the embedded tokens only, so its statistics can be gathered by
  // hand
  auto m = tiny_llama();
  const std::string name = "model.layers.0.self_attn.q_proj";
  calib::statistics inputs(24);
  for (const auto& ids : sequences()) {
    model::block_state state{m.embed(ids), {}};
    m.begin_block(0, state);
    inputs.add(state.input);
  }
  const auto direct = quant::gptq{.bits = 3, .group_size = 8}(m.linear(name).to_dense(), inputs);
  run(m, "gptq(bits=3,group_size=8)");
  CHECK(m.linear(name).as<op::quantized>()->codes() == direct.op.codes());
}

TEST_CASE("compress: the same bits for any number of threads") {
  for (const char* spec : {"gptq(bits=3,group_size=8)", "awq(group_size=8)|rtn(bits=3,group_size=8)",
                           "sparsegpt(pattern=2:4)", "smoothquant|w8a8", "svd(method=whitened,rank=4)"}) {
    INFO(spec);
    auto one = tiny_llama(), two = tiny_llama();
    run(one, spec, {}, {.threads = 1});
    run(two, spec, {}, {.threads = 2});
    CHECK(predictions(one) == predictions(two));
  }
}

TEST_CASE("compress: transformations without rounding leave the function") {
  // 8 bits per weight and per row of eight: whatever AWQ and SmoothQuant did is nearly undone
  for (const char* spec :
       {"awq(bits=8,group_size=2,clip=false,match_next=false)|svd(ratio=1,rank=24,value_type=f32)"}) {
    auto m = tiny_llama(3, tiny_config(4, 4));
    const auto before = predictions(m);
    run(m, spec);
    const auto after = predictions(m);
    double worst = 0;
    for (index_t i = 0; i < before.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(after.data()[i] - before.data()[i])));
    CHECK(worst < 1e-3);
  }
}

TEST_CASE("compress: sums and chains of compressors") {
  auto m = tiny_llama();
  const auto plain = run(m, "gptq(bits=3,group_size=8)");
  auto n = tiny_llama();
  const auto with_residual = run(n, "gptq(bits=3,group_size=8)+svd(rank=4)");
  for (std::size_t i = 0; i < plain.layers.size(); ++i) CHECK(n.linear(plain.layers[i].name).kind() == "sum");
  CHECK(with_residual.layers.front().report.relative_error < plain.layers.front().report.relative_error);

  auto p = tiny_llama();
  run(p, "sparsegpt(pattern=2:4)|gptq(bits=4,group_size=8)");
  const auto* sparse = p.linear("model.layers.0.mlp.up_proj").as<op::sparse_nm>();
  REQUIRE(sparse);
  CHECK(sparse->values().is_quantized());
  const auto w = sparse->to_dense();
  for (index_t r = 0; r < w.rows(); ++r)
    for (index_t j = 0; j < w.cols(); j += 4) {
      int zeros = 0;
      for (index_t k = 0; k < 4; ++k) zeros += w(r, j + k) == 0.0F;
      CHECK(zeros >= 2);
    }
}

TEST_CASE("compress: schedule options change what layers are calibrated on") {
  auto sequential = tiny_llama(), one_pass = tiny_llama(), dense = tiny_llama();
  run(sequential, "gptq(bits=2,group_size=8)");
  run(one_pass, "gptq(bits=2,group_size=8)", {.true_sequential = false});
  run(dense, "gptq(bits=2,group_size=8)", {.propagate = pipeline::propagation::dense});
  const std::string first = "model.layers.0.self_attn.q_proj", last = "model.layers.1.mlp.down_proj";
  auto codes = [](const model::llama& m, const std::string& n) {
    return m.linear(n).as<op::quantized>()->codes();
  };
  CHECK(codes(sequential, first) == codes(one_pass, first));
  CHECK(codes(sequential, first) == codes(dense, first));
  CHECK(codes(sequential, last) != codes(one_pass, last));
  CHECK(codes(sequential, last) != codes(dense, last));
}

TEST_CASE("compress: transformations must agree among the readers of one input") {
  auto m = tiny_llama();
  CHECK(holds(error_of([&] { run(m, "awq(group_size=8)|rtn(group_size=8); *.v_proj: rtn"); }),
              {"v_proj", "awq"}));
}

TEST_CASE("compress: NaN in an activation is named") {
  auto m = tiny_llama();
  m.set_vector("model.layers.1.input_layernorm.weight",
               std::vector<float>(24, std::numeric_limits<float>::infinity()));
  CHECK(holds(error_of([&] { run(m, "gptq(group_size=8)"); }), {"model.layers.1.self_attn", "finite"}));
}

TEST_CASE("compress: an error of a technique names the layer") {
  auto m = tiny_llama();
  const std::string name = "model.layers.1.mlp.up_proj";
  auto w = m.linear(name).to_dense();
  w(3, 4) = 1e37F;  // the scale does not fit f16
  m.set_linear(name, op::dense(w.view()));
  CHECK(holds(error_of([&] { run(m, "rtn(group_size=8)"); }), {name, "scale"}));
}

TEST_CASE("compress: progress is reported and a run can be cancelled") {
  auto m = tiny_llama();
  long long last = 0, total = 0;
  context ctx;
  ctx.on_progress = [&](const progress_event& e) {
    CHECK(e.done >= last);
    last = e.done;
    total = e.total;
  };
  run(m, "rtn(group_size=8)", {}, ctx);
  CHECK(last == 14);
  CHECK(total == 14);
  int asked = 0;
  ctx.is_cancelled = [&] { return ++asked > 3; };
  last = 0;
  CHECK_THROWS_AS(run(m, "rtn(group_size=8)", {}, ctx), cancelled);
}

TEST_CASE("compress: windows of a token stream") {
  const auto ids = random_ids(105, 50);
  CHECK(pipeline::windows_of(ids, 20).size() == 5);
  CHECK(pipeline::windows_of(ids, 20, 3).size() == 3);
  CHECK(pipeline::windows_of(ids, 200).empty());
  CHECK(pipeline::windows_of(ids, 20)[4][19] == ids[99]);
}

TEST_CASE("compress: a run that goes on behind a finished block gives the same operators") {
  for (const auto propagate : {pipeline::propagation::compressed, pipeline::propagation::dense})
    for (const bool true_sequential : {true, false}) {
      const pipeline::schedule_options options{.true_sequential = true_sequential, .propagate = propagate};
      const auto recipe = recipe::parse("awq|gptq(bits=3,group_size=8)");
      const auto text_of = [](const model::llama& m, index_t block) {
        io::safetensors_writer file;
        io::operator_writer operators(file);
        model::write_llama_block(m, block, file, operators);
        operators.finish();
        const test::temporary_folder folder;
        file.write(folder / "block");
        return io::read_text_file(folder / "block");
      };
      auto whole = tiny_llama();
      std::vector<matrix<float>> hidden;
      std::vector<std::string> texts;
      std::vector<std::size_t> layers;
      pipeline::block_progress progress;
      progress.finished = [&](index_t block, std::span<const pipeline::layer_report> reports,
                              std::span<const model::block_state> states) {
        layers.push_back(reports.size());
        texts.push_back(text_of(whole, block));
        if (block == 0)
          for (const auto& s : states) hidden.push_back(s.hidden);
      };
      pipeline::compress(whole, recipe, sequences(), options, {}, progress);
      CHECK(layers == std::vector<std::size_t>{7, 7});
      auto rest = tiny_llama();
      const auto r =
          pipeline::compress(rest, recipe, sequences(), options, {}, {.first_block = 1, .hidden = hidden});
      CHECK(r.layers.size() == 7);
      CHECK((text_of(rest, 1) == texts[1]));
      CHECK(rest.linear("model.layers.0.mlp.up_proj").as<op::dense>());
    }
  auto m = tiny_llama();
  CHECK(holds(error_of([&] {
                pipeline::compress(m, recipe::parse("gptq"), sequences(), {}, {}, {.first_block = 1});
              }),
              {"hidden states", "0"}));
  CHECK(holds(error_of([&] { pipeline::compress(m, recipe::parse("rtn"), {}, {}, {}, {.first_block = 2}); }),
              {"first block", "2"}));
}

}  // namespace compress_tests
}  // namespace tersor
