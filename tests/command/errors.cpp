// tersor - tests of the built command on input that is broken, missing or contradictory
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

#include <tersor/io/safetensors_writer.hpp>

namespace tersor {
namespace errors_tests {

using test::check_refused;
using test::run;
using test::run_shell;
using test::small_model;
using test::u64;

/// The safetensors file at `path` rewritten with changed tensors.
void rewrite(const std::filesystem::path& path,
             const std::function<bool(io::tensor_entry& entry, std::vector<std::byte>& bytes)>& change) {
  io::safetensors_writer writer;
  {
    const io::safetensors_file file(path);
    for (auto e : file.tensors()) {
      const auto stored = file.bytes(e.name);
      std::vector<std::byte> bytes(stored.begin(), stored.end());
      if (change(e, bytes)) writer.add(e.name, e.dtype, e.shape, std::move(bytes));
    }
    for (const auto& [key, value] : file.metadata()) writer.metadata(key, value);
  }
  writer.write(path);
}

TEST_CASE("command: methods, options and layers that do not exist are named with the nearest that does") {
  const small_model files;
  const auto refused = [&](const std::string& spec, std::initializer_list<std::string_view> parts) {
    INFO(spec);
    check_refused(run(files.compress(spec, {"--out", files.beside("small")})), parts);
  };
  refused(" ", {"spec", "a method"});
  refused("gptqq", {"gptqq", "did you mean \"gptq\"?"});
  refused("gptq(bitz=3)", {"gptq", "bitz", "did you mean \"bits\"?"});
  refused("rtn(bits=9)", {"rtn", "bits", "9", "2 .. 8"});
  refused("rtn(bits=1)", {"rtn", "bits", "1", "2 .. 8"});
  refused("rtn(bits=three)", {"rtn", "bits", "three"});
  refused("rtn(group_size=0)", {"rtn", "group_size", "0"});
  refused("rtn(bits=4", {"spec, character 11", "')'"});
  refused("rtn|", {"spec, character 5", "a method"});
  refused("rtn; model.layers.0.mlp.up_prj: rtn(bits=8)",
          {"glob", "up_prj", "did you mean \"model.layers.0.mlp.up_proj\"?"});
  refused("awq", {"awq", "a compressor"});
  refused("svd(rank=1000)", {"svd", "rank", "1000"});
  refused("gptq", {"calibration", "empty"});
  CHECK(files.folder().count() == 2);
  check_refused(run({"methods", "gptqq"}), {"gptqq", "did you mean \"gptq\"?"});
}

TEST_CASE("command: texts and prompts that are too short, too long or no text at all") {
  const small_model files;
  const auto empty = files.folder().file("empty", ""), word = files.folder().file("word", "Hello");
  const auto eval = [&](const std::string& text, const std::string& window = "32") {
    return run({"eval", files.model(), "--text", text, "--window", window});
  };
  check_refused(eval(empty), {"empty", "tokens = 1", "32"});
  check_refused(eval(word), {"word", "tokens", "32"});
  check_refused(eval(files.beside("none")), {"none", "an existing file"});
  check_refused(eval(files.model()), {files.model(), "a regular file"});
  check_refused(eval(files.text(), "1"), {"--window = 1", "2 .. 64"});
  check_refused(eval(files.text(), "65"), {"--window = 65", "2 .. 64"});
  check_refused(run(files.compress("gptq", {"--calibration", empty})), {"empty", "tokens", "32"});
  check_refused(run(files.compress("rtn", {"--evaluate", word})), {"word", "tokens", "32"});
  std::string longer = "It was";
  while (longer.size() < 600) longer += " it was";
  check_refused(run({"logits", files.model(), "--prompt", longer}), {"prompt", "64"});
  check_refused(run({"generate", files.model(), "--prompt", longer}), {"prompt", "64"});
  check_refused(run({"logits", files.model(), "--prompt", "", "--no-bos"}), {"prompt", "at least one token"});
  // Bytes that are no UTF-8 are tokens like any others.
  const auto bytes = files.folder().file("bytes", std::string(300, '\xFF'));
  CHECK(eval(bytes).code == 0);
  CHECK(run({"logits", files.model(), "--prompt", "\xFF\xFE", "--json"}).code == 0);
}

TEST_CASE("command: numbers that are none are usage errors") {
  const small_model files;
  for (const char* option : {"--window", "--max-windows", "--seed", "--threads"})
    for (const char* value : {"-1", "x", "1.5", "99999999999999999999"}) {
      const auto result = run({"eval", files.model(), "--text", files.text(), option, value});
      INFO(option << " " << value);
      CHECK(result.code > 1);
      CHECK(result.out.empty());
      CHECK(test::holds(result.err, {option, value}));
    }
  CHECK(run({"generate", files.model(), "--prompt", "a", "--tokens", "9223372036854775807"}).code > 1);
  CHECK(run({"eval", files.model()}).code > 1);
  CHECK(run({"nothing"}).code > 1);
  CHECK(run({}).code > 1);
}

TEST_CASE("command: weight files that are broken") {
  const small_model files;
  const auto whole = io::read_text_file(files.weights());
  const auto refused = [&](const std::string& bytes, std::initializer_list<std::string_view> parts) {
    io::write_text_file(files.weights(), bytes);
    check_refused(run(files.eval(files.model())), {"model.safetensors"});
    check_refused(run({"inspect", files.model()}), parts);
  };
  refused("", {"0 bytes"});
  refused(whole.substr(0, 5), {"5 bytes"});
  refused(whole.substr(0, 100), {"cut off"});
  refused(whole.substr(0, whole.size() - 1), {"cut off"});
  refused(whole + "x", {"left over"});
  refused(u64(100'000'001) + whole.substr(8), {"100000001", "at most 100000000"});
  const auto file_of = [](std::string_view header, std::string_view data) {
    return u64(header.size()) + std::string(header) + std::string(data);
  };
  refused(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                  "123"),
          {"b", "overlap"});
  refused(file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                  "1"),
          {"\"a\"", "twice"});
  refused(file_of(R"({"a\n\u001b[31m":{"dtype":"F31","shape":[1],"data_offsets":[0,1]}})", "1"),
          {"a\\x0a\\x1b[31m", "F31", "known dtype"});
}

TEST_CASE("command: tensors that are missing, of another type or shape, or not finite") {
  small_model files;
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  const auto refused = [&](const std::function<bool(io::tensor_entry&, std::vector<std::byte>&)>& change,
                           std::initializer_list<std::string_view> parts) {
    files.write();
    rewrite(files.weights(), [&](io::tensor_entry& e, std::vector<std::byte>& bytes) {
      return e.name != name || change(e, bytes);
    });
    const auto result = run(files.eval(files.model()));
    check_refused(result, {files.model(), "model.layers.1.mlp.up_proj"});
    check_refused(result, parts);
  };
  refused([](auto&, auto&) { return false; }, {"expected a tensor"});
  refused(
      [](auto& e, auto&) {
        e.name = "model.layers.1.mlp.upp_proj.weight";
        return true;
      },
      {"expected a tensor", "did you mean"});
  refused(
      [](auto& e, auto&) {
        e.dtype = dtype::i32;
        return true;
      },
      {"I32", "F32, F16 or BF16"});
  refused(
      [](auto& e, auto&) {
        std::swap(e.shape[0], e.shape[1]);
        return true;
      },
      {"24 x 40", "40 x 24", "config.json"});
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    refused(
        [&](auto& e, auto& bytes) {
          CHECK(e.dtype == dtype::f32);
          std::memcpy(bytes.data() + sizeof(float) * (2 * 24 + 3), &bad, sizeof bad);
          return true;
        },
        {"weight[2, 3]", "a finite number"});
}

TEST_CASE("command: activations that overflow are named with layer, token and channel") {
  const small_model files;
  rewrite(files.weights(), [](io::tensor_entry& e, std::vector<std::byte>& bytes) {
    const float huge = 3e38F;
    if (e.name.find("layers.1.mlp.gate_proj") != e.name.npos ||
        e.name.find("layers.1.mlp.up_proj") != e.name.npos)
      for (std::size_t i = 0; i < bytes.size(); i += sizeof huge) std::memcpy(&bytes[i], &huge, sizeof huge);
    return true;
  });
  const std::initializer_list<std::string_view> where{"input of model.layers.1.mlp.down_proj[0, ",
                                                      "a finite number"};
  check_refused(run(files.eval(files.model())), where);
  check_refused(run({"logits", files.model(), "--prompt", "It was", "--json"}), where);
  check_refused(run({"generate", files.model(), "--prompt", "It was", "--tokens", "2"}), where);
  check_refused(run(files.compress("*.q_proj: gptq; *.down_proj: gptq", {"--calibration", files.text()})),
                {"input of model.layers.1.mlp.down_proj", "a finite number"});
}

TEST_CASE("command: configs that contradict the weights or themselves") {
  small_model files;
  const auto refused = [&](const io::json& changes, std::initializer_list<std::string_view> parts) {
    files.write(changes);
    const auto result = run(files.eval(files.model()));
    check_refused(result, {"config.json"});
    check_refused(result, parts);
  };
  refused({{"intermediate_size", 44}}, {"model.layers.0.mlp", "44"});
  refused({{"num_hidden_layers", index_t{1} << 60}}, {"num_hidden_layers"});
  refused({{"head_dim", index_t{1} << 60}}, {"head_dim"});
  refused({{"hidden_size", "24"}}, {"hidden_size", "an integer"});
  refused({{"model_type", "mamba"}}, {"model_type", "mamba"});
  refused({{"vocab_size", nullptr}}, {"vocab_size"});
  files.write();
  for (const char* text : {"", "{", "[]", "\xFF"}) {
    io::write_text_file(files.path() / "config.json", text);
    check_refused(run(files.eval(files.model())), {"config.json"});
  }
  std::filesystem::remove(files.path() / "config.json");
  check_refused(run(files.eval(files.model())), {"config.json", "an existing file"});
  check_refused(run({"eval", files.beside("none"), "--text", files.text()}), {"none", "an existing file"});
  check_refused(run({"eval", std::string(300, 'x'), "--text", files.text()}), {"xxx: File name too long"});
}

TEST_CASE("command: tokenizers that are broken or of another type") {
  const small_model files;
  const auto path = files.path() / "tokenizer.json";
  const auto whole = io::read_json_file(path);
  const auto refused = [&](const std::string& text, std::initializer_list<std::string_view> parts) {
    io::write_text_file(path, text);
    const auto result = run(files.eval(files.model()));
    check_refused(result, {"tokenizer.json"});
    check_refused(result, parts);
  };
  auto changed = whole;
  changed["model"]["type"] = "Unigram";
  refused(changed.dump(), {"Unigram", "BPE"});
  changed = whole;
  changed["model"]["vocab"]["zzz"] = (1 << 24) - 1;
  refused(changed.dump(), {"zzz", "16777215"});
  refused("{", {"valid JSON"});
  refused(std::string(1000000, '['), {"nested"});
  std::filesystem::remove(path);
  check_refused(run(files.eval(files.model())), {"tokenizer.json", "an existing file"});
}

TEST_CASE("command: shards that are missing or do not fit their index") {
  const small_model files;
  std::filesystem::rename(files.weights(), files.path() / "model-1.safetensors");
  io::json map;
  const io::safetensors_file shard(files.path() / "model-1.safetensors");
  for (const auto name : shard.names()) map[std::string(name)] = "model-1.safetensors";
  const auto write_index = [&](const io::json& weight_map) {
    io::write_text_file(files.path() / "model.safetensors.index.json",
                        io::json{{"weight_map", weight_map}}.dump());
  };
  write_index(map);
  CHECK(run(files.eval(files.model())).code == 0);
  auto changed = map;
  changed["model.norm.weight"] = "model-2.safetensors";
  write_index(changed);
  check_refused(run(files.eval(files.model())), {"index.json", "model-2.safetensors", "model.norm.weight"});
  changed = map;
  changed.erase("model.norm.weight");
  write_index(changed);
  check_refused(run(files.eval(files.model())), {"index.json", "model.norm.weight"});
  changed["model.norm.weight"] = "../text.txt";
  write_index(changed);
  check_refused(run(files.eval(files.model())), {"index.json", "../text.txt", "beside the index"});
}

TEST_CASE("command: compressed folders that lost a part, or hold a damaged one") {
  const small_model files;
  const auto out = files.beside("small");
  const std::filesystem::path weights = out + "/model.safetensors";
  const auto changed = [&](const std::function<bool(io::tensor_entry&, std::vector<std::byte>&)>& change) {
    REQUIRE(run(files.compress("rtn(bits=3,group_size=8)+svd(rank=2)", {"--out", out, "--force"})).code == 0);
    rewrite(weights, change);
    return run(files.eval(out));
  };
  const std::string layer = "model.layers.0.mlp.up_proj";
  for (const char* part : {".0.codes", ".0.scales", ".0.zeros", ".1.a", ".1.b"}) {
    const auto name = layer + part;
    INFO(name);
    check_refused(changed([&](auto& e, auto&) { return e.name != name; }), {out, name});
    check_refused(changed([&](auto& e, auto&) {
                    if (e.name == name) e.shape.push_back(1);
                    return true;
                  }),
                  {out, name, "shape"});
  }
  check_refused(changed([&](auto& e, auto& bytes) {
                  if (e.name == layer + ".0.scales") std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
                  return true;
                }),
                {layer, "a finite number"});
  CHECK(changed([](auto&, auto&) { return true; }).code == 0);
}

TEST_CASE("command: an output file is no file that the run reads") {
  const small_model files;
  const auto weights = files.weights().string(), words = files.model() + "/tokenizer.json";
  const auto before = io::read_text_file(weights);
  for (const auto& out : {weights, words})
    check_refused(run({"convert", files.model(), out, "--to", "gguf", "--force"}), {"OUT", out, "reads"});
  const auto gguf = files.beside("lm.gguf");
  CHECK(run({"convert", files.model(), gguf, "--to", "gguf"}).code == 0);
  check_refused(run({"convert", gguf, gguf, "--to", "gguf", "--force"}), {"OUT", gguf, "reads"});
  CHECK(io::read_text_file(weights) == before);
}

TEST_CASE("command: an option without a value, and a command that there is not") {
  const small_model files;
  auto eval = files.eval(files.model());
  eval.insert(eval.end(), {"--adapter", ""});
  check_refused(run(eval), {"--adapter", "a value"});
  for (const char* option : {"--report", "--evaluate", "--calibration"})
    check_refused(run(files.compress("rtn", {option, ""})), {option, "a value"});
  check_refused(run({"inspect", ""}), {"FILE_OR_DIR", "a value"});
  const auto evil = run({"evil"}), zzz = run({"bench", "zzz"});
  CHECK((evil.code > 1 && zzz.code > 1));  // as all errors of usage
  CHECK(test::holds(evil.err, {"command = evil", "(did you mean \"eval\"?)"}));
  CHECK(test::holds(zzz.err, {"command = zzz", "kernel, model, attention"}));
}

TEST_CASE("command: the reason of an error stays, whatever the length of a path") {
  const std::string name(5000, 'x');
  check_refused(run({"inspect", name}), {"xxx...xxx", "File name too long"});
}

TEST_CASE("command: a perplexity that is no number is an error") {
  const small_model files;
  rewrite(files.weights(), [](auto& e, auto& bytes) {
    if (e.name != "model.norm.weight") return true;
    REQUIRE(e.dtype == dtype::f32);
    for (std::size_t i = 0; i < bytes.size(); i += sizeof(float)) {
      float v;
      std::memcpy(&v, bytes.data() + i, sizeof v);
      v *= 1e13F;
      std::memcpy(bytes.data() + i, &v, sizeof v);
    }
    return true;
  });
  check_refused(run(files.eval(files.model())), {"perplexity = inf", "a finite number"});
}

TEST_CASE("command: the output folder appears complete or not at all") {
  const small_model files;
  const auto out = files.beside("small");
  const auto entries = files.folder().count();
  SECTION("places where it cannot be") {
    check_refused(run(files.compress("rtn", {"--out", files.text()})), {"--out", "text.txt", "--force"});
    check_refused(run(files.compress("rtn", {"--out", files.beside("no/where")})),
                  {"no/where", "parent folder"});
    check_refused(run(files.compress("rtn", {"--out", ""})), {"--out", "a value"});
    check_refused(run(files.compress("rtn", {"--out", ".", "--force"})), {"output folder"});
  }
  SECTION("folders that hold what the run reads are not replaced") {
    const auto parent = files.folder().path().string();
    check_refused(run(files.compress("rtn", {"--out", parent, "--force"})), {"--out", files.model()});
    const auto text = (files.path() / "text.txt").string();
    std::filesystem::copy_file(files.text_path(), text);
    check_refused(run(files.compress("rtn", {"--out", files.model(), "--force", "--evaluate", text})),
                  {"--out", text});
    CHECK(std::filesystem::exists(text));
    CHECK(std::filesystem::exists(files.weights()));
  }
  SECTION("of a model that is named from its own folder, or whose files are links") {
    const auto parent = files.folder().path().string();
    check_refused(run_shell("cd " + test::shell_word(files.model()) + " && " +
                            test::command_line({"compress", "model.safetensors", "--with", "rtn", "--out",
                                                parent, "--force"})),
                  {"--out", parent, "which would be removed"});
    const auto store = files.beside("store"), links = files.beside("links");
    std::filesystem::rename(files.path(), store);
    std::filesystem::create_directory(links);
    for (const auto& file : std::filesystem::directory_iterator(store))
      std::filesystem::create_symlink(file.path(), links / file.path().filename());
    check_refused(run({"compress", links, "--with", "rtn", "--out", store, "--force"}),
                  {"--out", store, "links/", "which would be removed"});
    std::filesystem::remove_all(links);
    std::filesystem::rename(store, files.path());
    CHECK(run(files.eval(files.model())).code == 0);
  }
  SECTION("a disk that is full") {
    // The limit of a file's size, in blocks of 512 bytes, stands in for it.
    check_refused(run_shell("trap '' XFSZ; ulimit -f 300; " +
                            test::command_line(files.compress("rtn", {"--out", out}))),
                  {"model.safetensors", "all bytes to be written"});
  }
  SECTION("a full standard output") {
    if (std::filesystem::exists("/dev/full"))
      for (const char* line : {" methods", " methods --json"})
        check_refused(run_shell(test::shell_word(TERSOR_COMMAND) + line + " >/dev/full"), {"No space left"});
  }
  CHECK(files.folder().count() == entries);
}

TEST_CASE("command: a signal ends a long run with a message and without output") {
  if (!std::filesystem::exists("/proc/self/maps")) return;
  const small_model files;
  const auto lm = test::embedded_model.string(), out = files.beside("small");
  const auto line = test::command_line({"compress", lm, "--with", "gptq", "--calibration",
                                        lm + "/calibration.txt", "--threads", "1", "--out", out});
  // The model is mapped after the signals are caught and long before the work is done.
  const auto result = run_shell(line +
                                " & p=$!; until grep -q model.safetensors /proc/$p/maps; do :; done; "
                                "kill -TERM $p; wait $p");
  CHECK(result.code == 143);
  CHECK(result.out.empty());
  CHECK(result.err == "tersor: interrupted, nothing was written\n");
  CHECK(files.folder().count() == 2);
}

}  // namespace errors_tests
}  // namespace tersor
