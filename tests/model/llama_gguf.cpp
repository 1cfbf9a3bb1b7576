// tersor - tests of model/llama_gguf*.hpp: saving and loading, files of the reference package, broken files
// SPDX-License-Identifier: MIT
#include <tersor/model/llama_gguf.hpp>
#include <tersor/model/llama_gguf_writer.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

#include <tersor/io/safetensors.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/quant/rtn.hpp>

namespace tersor {
namespace llama_gguf_tests {

using test::error_of;
using test::holds;
using test::temporary_folder;

const std::filesystem::path root = TERSOR_SOURCE_DIR;
const std::filesystem::path embedded = root / "examples" / "data" / "lm";

io::json embedded_tokenizer() { return io::read_json_file(embedded / "tokenizer.json"); }
/// A tokenizer for 50 tokens.
io::json tiny_tokenizer() {
  io::json t = embedded_tokenizer(), vocab = io::json::object();
  for (int i = 0; i < 40; ++i) vocab[std::string(1, static_cast<char>('0' + i))] = i;
  t["model"]["vocab"] = vocab;
  t["model"]["merges"] = io::json::array();
  t["added_tokens"] = io::json::array();
  return t;
}
std::filesystem::path save_tiny(const temporary_folder& folder, const model::llama& m,
                                ggml_type type = ggml_type::f32) {
  model::save_llama_gguf(m, tiny_tokenizer(), "tokenizer", folder / "tiny.gguf", {.type = type});
  return folder / "tiny.gguf";
}

void check_same(const model::llama& a, const model::llama& b) {
  CHECK(a.embedding().to_dense() == b.embedding().to_dense());
  if (!a.config().tie_word_embeddings) CHECK(a.head().to_dense() == b.head().to_dense());
  for (const auto& l : a.linear_shapes()) {
    INFO(l.name);
    CHECK(a.linear(l.name).to_dense() == b.linear(l.name).to_dense());
  }
  REQUIRE(a.vector_shapes() == b.vector_shapes());
  for (const auto& [name, length] : a.vector_shapes()) {
    INFO(name);
    CHECK(a.vector(name) == b.vector(name));
  }
}
double relative_difference(const matrix<float>& a, const matrix<float>& b) {
  double error = 0, norm = 0;
  for (index_t i = 0; i < a.size(); ++i) {
    error += std::pow(static_cast<double>(a.data()[i] - b.data()[i]), 2);
    norm += std::pow(static_cast<double>(b.data()[i]), 2);
  }
  return std::sqrt(error / norm);
}
matrix<float> logits(const model::llama& m, std::span<const int> ids) {
  return m.logits(m.forward(ids).view());
}

/// A copy of a file with some keys and tensors of other values. A change of nothing leaves a key or tensor
/// out.
struct edit {
  std::map<std::string, std::function<void(io::gguf_writer&)>> keys;
  std::map<std::string, std::optional<std::pair<std::vector<index_t>, std::vector<float>>>> tensors;
};
std::filesystem::path edited(const temporary_folder& folder, const std::filesystem::path& source,
                             const edit& change) {
  const io::gguf_file in(source);
  io::gguf_writer out;
  for (const auto& e : in.keys())
    if (!change.keys.contains(e.key)) out.copy(e);
  for (const auto& [key, set] : change.keys)
    if (set) set(out);
  for (const auto& t : in.tensors())
    if (!change.tensors.contains(t.name)) out.add(t.name, t.type, t.shape);
  for (const auto& [name, t] : change.tensors)
    if (t) out.add(name, ggml_type::f32, t->first);
  out.write(folder / "edited.gguf", [&](const io::gguf_tensor& t) {
    if (const auto found = change.tensors.find(t.name); found != change.tensors.end())
      return model::detail::bytes_of_reals(dtype::f32, found->second->second);
    const auto bytes = in.bytes(t.name);
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  });
  return folder / "edited.gguf";
}
template <class T>
std::function<void(io::gguf_writer&)> setting(const std::string& key, T value) {
  return [=](io::gguf_writer& out) { out.set(key, value); };
}

// By hand: two heads of four channels.
TEST_CASE("llama gguf: rows of queries and keys") {
  CHECK(model::detail::rotary_rows(2, 4) == std::vector<std::int32_t>{0, 2, 1, 3, 4, 6, 5, 7});
  CHECK(model::detail::gguf_name("model.layers.12.self_attn.o_proj.weight") == "blk.12.attn_output.weight");
  CHECK(model::detail::gguf_name("model.layers.0.mlp.down_proj.bias") == "blk.0.ffn_down.bias");
  CHECK(model::detail::gguf_name("model.norm.weight") == "output_norm.weight");
}

TEST_CASE("llama gguf: a model that is saved in its own type comes back exactly") {
  const temporary_folder folder;
  const auto m = model::load_llama(embedded);
  const auto ids = random_ids(20, 4096);
  for (const auto type : {ggml_type::f32, ggml_type::bf16}) {
    model::save_llama_gguf(m, embedded_tokenizer(), "tokenizer", folder / "m.gguf", {.type = type});
    const io::gguf_file file(folder / "m.gguf");
    const auto back = model::load_llama_gguf(file);
    check_same(m, back);
    CHECK(back.config().rotary_frequencies == m.config().rotary_frequencies);
    CHECK(back.config().bos_token_id == 0);
    CHECK(back.config().eos_token_id == 0);
    CHECK(back.config().max_position_embeddings == 1024);
    // the same type takes the same products; another one may round otherwise
    if (type == ggml_type::bf16) CHECK(logits(back, ids) == logits(m, ids));
    CHECK(relative_difference(logits(back, ids), logits(m, ids)) < 1e-5);
    CHECK(file.get<int>("general.file_type") == (type == ggml_type::f32 ? 0 : 32));
    CHECK_FALSE(file.has("general.quantization_version"));
    // weights stay in the file
    const auto* q = back.linear("model.layers.0.mlp.up_proj").as<op::dense>();
    REQUIRE(q != nullptr);
    CHECK(q->values().bytes().data() == file.bytes("blk.0.ffn_up.weight").data());
  }
}

TEST_CASE("llama gguf: shorter types lose what they round") {
  const temporary_folder folder;
  const auto m = model::load_llama(embedded);
  const auto ids = random_ids(20, 4096);
  const auto exact = logits(m, ids);
  double before = 0;
  for (const auto type : {ggml_type::f16, ggml_type::q8_0, ggml_type::q4_0}) {
    INFO(name(type));
    model::save_llama_gguf(m, embedded_tokenizer(), "tokenizer", folder / "m.gguf", {.type = type});
    const io::gguf_file file(folder / "m.gguf");
    const auto back = model::load_llama_gguf(file);
    const double difference = relative_difference(logits(back, ids), exact);
    CHECK(difference > before);
    before = difference;
    CHECK(file.tensor("blk.3.attn_k.weight").type == type);
    CHECK(file.tensor("blk.3.attn_norm.weight").type == ggml_type::f32);
    // tied: the table makes the logits
    CHECK(file.tensor("token_embd.weight").type ==
          (type == ggml_type::q4_0 ? model::detail::head_type(type, 256) : type));
    CHECK(file.has("general.quantization_version") == (type != ggml_type::f16));
    if (type == ggml_type::f16) CHECK(difference < 1e-3);
    if (type == ggml_type::q8_0) {
      CHECK(difference < 0.02);
      const auto& op = back.linear("model.layers.0.self_attn.q_proj");
      CHECK(op.kind() == op::ggml_blocks::kind());
      CHECK(op.storage().bytes() == static_cast<std::size_t>(file.tensor("blk.0.attn_q.weight").size));
      // half a step of rounding, and that of the scale to f16 at the largest codes: 127 / 2048
      const auto w = m.linear("model.layers.0.self_attn.q_proj").to_dense(), v = op.to_dense();
      for (index_t r = 0; r < w.rows(); ++r)
        for (index_t b = 0; b < w.cols(); b += 32) {
          float largest = 0;
          for (index_t j = b; j < b + 32; ++j) largest = std::max(largest, std::abs(w(r, j)));
          for (index_t j = b; j < b + 32; ++j)
            REQUIRE(std::abs(v(r, j) - w(r, j)) <= largest / 127 * 0.57F + 1e-8F);
        }
    }
  }
}

TEST_CASE("llama gguf: heads of every number, biases, an own head, and odd sizes") {
  const auto [heads, kv_heads] = GENERATE(table<index_t, index_t>({{4, 4}, {4, 2}, {4, 1}, {1, 1}}));
  const temporary_folder folder;
  auto config = tiny_config(heads, kv_heads);
  config["attention_bias"] = config["mlp_bias"] = heads == kv_heads;
  config["tie_word_embeddings"] = heads != 1;
  const auto m = tiny_llama(3, config);
  const auto back = model::load_llama_gguf(save_tiny(folder, m));
  check_same(m, back);
  const auto ids = random_ids(12, 50);
  CHECK(logits(back, ids) == logits(m, ids));
  // rows of 24 values are no block
  const auto halves = model::load_llama_gguf(save_tiny(folder, m, ggml_type::q4_0));
  CHECK(relative_difference(logits(halves, ids), logits(m, ids)) < 1e-2);
}

TEST_CASE("llama gguf: compressed operators are written as their values") {
  const temporary_folder folder;
  auto m = tiny_llama();
  for (const auto& l : m.linear_shapes()) {
    solve::layer layer;
    layer.name = l.name;
    layer.weight = m.linear(l.name).to_dense();
    m.set_linear(l.name, quant::rtn{.bits = 3, .group_size = 8}.compress(layer, {}).op);
  }
  check_same(m, model::load_llama_gguf(save_tiny(folder, m)));
}

TEST_CASE("llama gguf: scaled rotations") {
  const temporary_folder folder;
  auto config = tiny_config();
  config["head_dim"] = 64;
  config["rope_theta"] = 500000.0;
  SECTION("Llama 3") {
    config["rope_scaling"] = model::detail::llama3_scaling(32.0, 8192.0);
    const auto m = tiny_llama(2, config);
    const io::gguf_file file(save_tiny(folder, m));
    CHECK(file.contains("rope_freqs.weight"));
    CHECK(file.get<float>("llama.rope.freq_base") == 500000.0F);
    const auto back = model::load_llama_gguf(file);
    for (std::size_t i = 0; i < 32; ++i)
      CHECK(std::abs(back.config().rotary_frequencies[i] / m.config().rotary_frequencies[i] - 1) < 1e-7);
    const auto written = model::config_json(file);
    CHECK(written["rope_scaling"] == config["rope_scaling"]);
  }
  SECTION("Llama 3 with other constants, and divisors of no rule") {
    const auto frequencies_of = [](const io::gguf_file& f) {
      return model::load_llama_gguf(f).config().rotary_frequencies;
    };
    // what a folder says of a file is what the file says
    const auto check_folder = [&](const io::gguf_file& f) {
      const auto written = model::llama_config::from_json(model::config_json(f), "config");
      const auto expected = frequencies_of(f);
      REQUIRE(written.rotary_frequencies.size() == expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(std::abs(written.rotary_frequencies[i] / expected[i] - 1) < 1e-5);
    };
    auto scaling = model::detail::llama3_scaling(32.0, 8192.0);
    SECTION("another length") { scaling["original_max_position_embeddings"] = 4096.0; }
    SECTION("another step") { scaling["high_freq_factor"] = 8.0; }
    SECTION("no wavelength is as it was") {
      config["head_dim"] = 8;
      config["rope_theta"] = 10000.0;
      scaling["original_max_position_embeddings"] = 16.0;
    }
    config["rope_scaling"] = scaling;
    const auto m = tiny_llama(2, config);
    const io::gguf_file file(save_tiny(folder, m));
    CHECK(file.get<float>("llama.rope.freq_base") == config["rope_theta"].get<float>());
    const auto back = frequencies_of(file);
    for (std::size_t i = 0; i < back.size(); ++i)
      CHECK(std::abs(back[i] / m.config().rotary_frequencies[i] - 1) < 1e-7);
    check_folder(file);

    const auto pairs = static_cast<index_t>(back.size());
    std::vector<float> factors(back.size(), 2.0F);
    factors[0] = 1.5F;
    edit odd{{}, {{"rope_freqs.weight", {{{pairs}, factors}}}}};
    const io::gguf_file of_no_rule(edited(folder, file.path(), odd));
    CHECK(model::config_json(of_no_rule)["rope_scaling"]["rope_type"] == "longrope");
    const auto base = kernel::rotary::base_frequencies(2 * pairs, config["rope_theta"].get<double>());
    for (std::size_t i = 0; i < back.size(); ++i)
      CHECK(frequencies_of(of_no_rule)[i] == base[i] / static_cast<double>(factors[i]));
    check_folder(of_no_rule);
  }
  SECTION("the original length is an integer") {
    config["rope_scaling"] = model::detail::llama3_scaling(8.0, 4096.0);
    const auto plain = save_tiny(folder, tiny_llama(2, config));
    const std::string key = "llama.rope.scaling.original_context_length";
    const io::gguf_file file(edited(folder, plain, {{{key, setting(key, 4096U)}}, {}}));
    CHECK(model::config_json(file)["rope_scaling"] == config["rope_scaling"]);
  }
  SECTION("linear") {
    config["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
    const auto m = tiny_llama(2, config);
    const io::gguf_file file(save_tiny(folder, m));
    CHECK(file.get<std::string>("llama.rope.scaling.type") == "linear");
    CHECK(file.get<float>("llama.rope.scaling.factor") == 4.0F);
    const auto divided = m.config().rotary_frequencies;
    CHECK(model::load_llama_gguf(file).config().rotary_frequencies == divided);
    // As llama.cpp reads it: "linear" where there is no type, the older name, 0 for 1; nothing if it is
    // "none".
    const auto plain = kernel::rotary::base_frequencies(64, 500000.0);
    const std::string rope = "llama.rope.", type = rope + "scaling.type", factor = rope + "scaling.factor",
                      older = rope + "scale_linear";
    const auto frequencies = [&](const edit& change) {
      return model::load_llama_gguf(edited(folder, file.path(), change)).config().rotary_frequencies;
    };
    CHECK(frequencies({{{type, nullptr}}, {}}) == divided);
    CHECK(frequencies({{{factor, nullptr}, {older, setting(older, 4.0F)}}, {}}) == divided);
    CHECK(frequencies({{{type, nullptr}, {factor, nullptr}, {older, setting(older, 4.0F)}}, {}}) == divided);
    CHECK(frequencies({{{type, setting(type, std::string("none"))}, {older, setting(older, 4.0F)}}, {}}) ==
          plain);
    CHECK(frequencies({{{factor, setting(factor, 0.0F)}}, {}}) == plain);
    CHECK(holds(error_of([&] {
                  frequencies({{{factor, setting(factor, std::numeric_limits<float>::infinity())}}, {}});
                }),
                {"rope.scaling.factor", "inf"}));
  }
}

TEST_CASE("llama gguf: a file that comes from a file keeps what a model does not decide") {
  const temporary_folder folder;
  const io::gguf_file source(root / "tests" / "data" / "gguf" / "tiny.gguf");
  const auto m = model::load_llama_gguf(source);
  const auto tokenizer = io::tokenizer_json(source);
  const auto path = folder / "copy.gguf";
  model::save_llama_gguf(m, tokenizer, "tokenizer", path, {.type = std::nullopt, .source = &source});
  const io::gguf_file copy(path);
  for (const auto& e : source.keys()) {
    INFO(e.key);
    REQUIRE(copy.has(e.key));
    if (e.key != "general.file_type") CHECK(std::ranges::equal(copy.entry(e.key).value, e.value));
  }
  REQUIRE(copy.tensors().size() == source.tensors().size());
  for (const auto& t : source.tensors()) {
    INFO(t.name);
    CHECK(copy.tensor(t.name).type == t.type);
    CHECK(std::ranges::equal(copy.bytes(t.name), source.bytes(t.name)));
  }
}

TEST_CASE("llama gguf: rotations of a file are not scaled a second time in its copy") {
  const temporary_folder folder;
  const auto plain = save_tiny(folder, tiny_llama());
  const std::string factor = "llama.rope.scaling.factor";
  edit change{{{factor, setting(factor, 2.0F)}}, {{"rope_freqs.weight", {{{3}, {1.0F, 2.0F, 4.0F}}}}}};
  const io::gguf_file source(edited(folder, plain, change));
  const auto m = model::load_llama_gguf(source);
  model::save_llama_gguf(m, tiny_tokenizer(), "tokenizer", folder / "copy.gguf",
                         {.type = std::nullopt, .source = &source});
  const auto copy = model::load_llama_gguf(folder / "copy.gguf").config().rotary_frequencies;
  const auto& expected = m.config().rotary_frequencies;
  CHECK(expected[1] == kernel::rotary::base_frequencies(6, 10000.0)[1] / 4.0);
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(copy[i] / expected[i] - 1) < 1e-7);
}

TEST_CASE("llama gguf: the types of a table and of a head") {
  const temporary_folder folder;
  auto config = tiny_config();
  config["hidden_size"] = 256;
  config["tie_word_embeddings"] = false;
  const auto m = tiny_llama(2, config);
  const auto types = [&](ggml_type type) {
    const io::gguf_file file(save_tiny(folder, m, type));
    CHECK(file.get<int>("general.quantization_version") == 2);
    return std::pair(file.tensor("token_embd.weight").type, file.tensor("output.weight").type);
  };
  CHECK(types(ggml_type::q4_0) == std::pair(ggml_type::q4_0, ggml_type::q6_k));
  CHECK(types(ggml_type::q8_0) == std::pair(ggml_type::q8_0, ggml_type::q8_0));
  CHECK(types(ggml_type::tq2_0) == std::pair(ggml_type::q4_k, ggml_type::q6_k));
}

TEST_CASE("llama gguf: importances are given to the encoder") {
  const temporary_folder folder;
  auto config = tiny_config();
  config["hidden_size"] = 64;
  const auto m = tiny_llama(2, config);
  const std::string name = "model.layers.0.mlp.up_proj";
  std::vector<float> weights(64);
  for (std::size_t i = 0; i < 64; ++i) weights[i] = static_cast<float>(i % 7 + 1);
  const auto bytes = [&](const model::gguf_options& options) {
    model::save_llama_gguf(m, tiny_tokenizer(), "tokenizer", folder / "x.gguf", options);
    const io::gguf_file file(folder / "x.gguf");
    const auto b = file.bytes(model::detail::gguf_name(name + ".weight"));
    return std::vector<std::byte>(b.begin(), b.end());
  };
  const auto w = m.linear(name).to_dense();
  const auto plain = bytes({.type = ggml_type::q4_0});
  const auto weighed = bytes({.type = ggml_type::q4_0, .importance = {{name, weights}}});
  CHECK(plain == quant::encode(ggml_type::q4_0, w.view()));
  CHECK(weighed == quant::encode(ggml_type::q4_0, w.view(), weights));
  CHECK(weighed != plain);
}

TEST_CASE("llama gguf: whether a text has a beginning-of-text token is kept") {
  const temporary_folder folder;
  const auto m = tiny_llama();  // bos_token_id 0
  const auto start = [&](const io::json& post_processor, std::optional<bool> add) {
    auto tokenizer = tiny_tokenizer();
    tokenizer["post_processor"] = post_processor;
    model::save_llama_gguf(m, tokenizer, "tokenizer", folder / "x.gguf",
                           {.type = ggml_type::f32, .add_bos_token = add});
    const io::gguf_file file(folder / "x.gguf");
    CHECK(model::load_llama_gguf(file).config().bos_token_id == 0);
    return io::text_start(io::tokenizer_json(file), "t").value();
  };
  const auto with_bos = io::text_start_template({{"0", 0}}), without = io::text_start_template({});
  const std::vector<int> bos{0}, none;
  CHECK(start(nullptr, std::nullopt) == bos);
  CHECK(start(with_bos, std::nullopt) == bos);
  CHECK(start(without, std::nullopt) == none);
  CHECK(start(nullptr, false) == none);
  CHECK(start(without, true) == bos);
  CHECK(holds(error_of([&] {
                start(io::text_start_template({{"1", 1}}), std::nullopt);
              }),
              {"tokenizer: post_processor", "bos_token_id"}));
}

TEST_CASE("llama gguf: qwen2 is the same with biases, and without permuted rows") {
  const temporary_folder folder;
  auto config = tiny_config();
  config["attention_bias"] = true;
  auto m = tiny_llama(5, config);
  for (index_t b = 0; b < 2; ++b)
    m.set_vector(concat("model.layers.", b, ".self_attn.o_proj.bias"), std::vector<float>(24));
  const auto llama = save_tiny(folder, m);
  edit change;
  const io::gguf_file file(llama);
  for (const auto& e : file.keys())
    if (e.key.starts_with("llama.")) {
      change.keys[e.key] = nullptr;
      const auto key = "qwen2." + e.key.substr(6);
      if (e.type == io::gguf_type::f32)
        change.keys[key] = setting(key, io::gguf_value<float>(e, ""));
      else
        change.keys[key] = setting(key, io::gguf_value<std::uint32_t>(e, ""));
    }
  change.keys["general.architecture"] = setting("general.architecture", std::string("qwen2"));
  for (const auto& l : m.linear_shapes())
    if (l.name.ends_with("q_proj") || l.name.ends_with("k_proj")) {
      const auto w = m.linear(l.name).to_dense();
      change.tensors[model::detail::gguf_name(l.name + ".weight")] = {{l.out, l.in},
                                                                      {w.values().begin(), w.values().end()}};
      change.tensors[model::detail::gguf_name(l.name + ".bias")] = {{l.out}, m.vector(l.name + ".bias")};
    } else if (l.name.ends_with("o_proj")) {
      change.tensors[model::detail::gguf_name(l.name + ".bias")] = std::nullopt;
    }
  check_same(m, model::load_llama_gguf(edited(folder, llama, change)));
}

TEST_CASE("llama gguf: a folder that is written from a file is the same model") {
  const temporary_folder folder;
  const auto m = model::load_llama(embedded);
  model::save_llama_gguf(m, embedded_tokenizer(), "tokenizer", folder / "m.gguf", {.type = ggml_type::q8_0});
  const io::gguf_file file(folder / "m.gguf");
  const auto loaded = model::load_llama_gguf(file);
  std::filesystem::create_directory(folder / "out");
  model::llama_file(loaded).write(folder / "out" / "model.safetensors");
  model::write_config_files(file, folder / "out");
  const auto again = model::load_llama(folder / "out");
  check_same(loaded, again);
  CHECK(again.config().bos_token_id == 0);
  const std::string text = "It was the best of times, it was the worst of times.";
  CHECK(io::tokenizer(folder / "out").encode(text) == io::tokenizer(embedded).encode(text));
}

// Expected: the package gguf 0.19.0, see tests/interop/gguf_files.py; its permutation, its quantization.
TEST_CASE("llama gguf: a file of the reference package") {
  const auto data = root / "tests" / "data" / "gguf";
  const io::gguf_file file(data / "tiny.gguf");
  const auto m = model::load_llama_gguf(file);
  const io::safetensors_file expected(data / "tiny.safetensors");
  CHECK(m.config().hidden_size == 32);
  CHECK(m.config().num_key_value_heads == 2);
  CHECK(m.config().bos_token_id == 1);
  CHECK(m.config().eos_token_id == 2);
  CHECK(m.embedding().to_dense() == expected.read_matrix<float>("model.embed_tokens.weight"));
  for (const auto& l : m.linear_shapes()) {
    INFO(l.name);
    CHECK(m.linear(l.name).to_dense() == expected.read_matrix<float>(l.name + ".weight"));
  }
  for (const auto& [name, length] : m.vector_shapes())
    CHECK(m.vector(name) == expected.read_vector<float>(name));
  CHECK(file.get<std::string>("general.name") == "tiny");
  CHECK(file.get<std::vector<int>>("tersor.numbers") == std::vector<int>{1, -2, 3});
}

TEST_CASE("llama gguf: what is wrong with a file is named") {
  const temporary_folder folder;
  const auto good = save_tiny(folder, tiny_llama());
  const auto verdict = [&](const edit& change) {
    const auto path = edited(folder, good, change);
    const auto e = error_of([&] { model::load_llama_gguf(path); });
    if (!e.empty()) CHECK(holds(e, {"edited.gguf"}));
    return e;
  };
  const auto with_key = [&](const std::string& key, auto value) {
    edit change;
    change.keys[key] = setting(key, value);
    return verdict(change);
  };
  CHECK(verdict({}).empty());
  CHECK(holds(with_key("general.architecture", std::string("gemma")),
              {"general.architecture", "gemma", "llama"}));
  CHECK(holds(with_key("llama.expert_count", 8U), {"llama.expert_count", "8"}));
  CHECK(holds(with_key("llama.rope.dimension_count", 4U), {"llama.rope.dimension_count", "4", "6"}));
  CHECK(holds(with_key("llama.rope.scaling.type", std::string("yarn")), {"rope.scaling.type", "yarn"}));
  CHECK(holds(with_key("llama.attention.value_length", 8U), {"attention.value_length", "8", "6"}));
  CHECK(holds(with_key("llama.attention.key_length", std::numeric_limits<std::int64_t>::min()),
              {"attention.key_length", "-9223372036854775808", "even"}));
  CHECK(holds(verdict({{}, {{"rope_freqs.weight", {{{2}, {1.0F, 1.0F}}}}}}),
              {"rope_freqs.weight", "3 values"}));
  CHECK(holds(with_key("llama.block_count", 3U), {"blk.2."}));
  CHECK(holds(with_key("llama.block_count", 1U), {"blk.1.", "keys describe"}));
  CHECK(holds(with_key("llama.feed_forward_length", 41U),
              {"blk.0.ffn_gate.weight: shape", "40 x 24", "41 x 24"}));
  CHECK(holds(with_key("llama.attention.head_count", 0U), {"attention.head_count", "0"}));
  CHECK(holds(verdict({{{"llama.embedding_length", nullptr}}, {}}), {"llama.embedding_length"}));
  CHECK(holds(verdict({{}, {{"output_norm.weight", std::nullopt}}}), {"output_norm.weight"}));
  CHECK(holds(verdict({{}, {{"blk.0.extra", {{{1}, {0.0F}}}}}}), {"blk.0.extra", "keys describe"}));
  std::vector<float> broken(24, 1.0F);
  broken[5] = std::numeric_limits<float>::quiet_NaN();
  CHECK(holds(verdict({{}, {{"output_norm.weight", {{{24}, broken}}}}}), {"output_norm.weight", "nan"}));

  const auto m = tiny_llama();
  const auto save_error = [&](model::gguf_options options) {
    return error_of(
        [&] { model::save_llama_gguf(m, tiny_tokenizer(), "tokenizer", folder / "x.gguf", options); });
  };
  CHECK(holds(save_error({.type = ggml_type::i32}), {"type", "I32"}));
  CHECK(holds(save_error({.importance = {{"model.layers.0.mlp.up", {}}}}), {"importance", "mlp.up"}));
  CHECK(holds(save_error({.importance = {{"model.layers.0.mlp.up_proj", {1.0F}}}}), {"up_proj", "1", "24"}));
  CHECK_FALSE(std::filesystem::exists(folder / "x.gguf"));
}

}  // namespace llama_gguf_tests
}  // namespace tersor
