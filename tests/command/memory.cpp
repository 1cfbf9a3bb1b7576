// tersor - tests of how much memory the built command needs for a large model
// SPDX-License-Identifier: MIT
#include <functional>
#include <numeric>

#include "command/program.hpp"

namespace tersor {
namespace memory_tests {

using test::json_of;
using test::small_model;

using named_shapes = std::vector<std::pair<std::string, std::vector<index_t>>>;

/// A checkpoint of zeros in F32 that takes no room on the disk.
void write_sparse(const std::filesystem::path& folder, const named_shapes& tensors) {
  std::filesystem::create_directory(folder);
  io::json header = io::json::object();
  index_t end = 0;
  for (const auto& [name, shape] : tensors) {
    const index_t begin = end;
    end += std::accumulate(shape.begin(), shape.end(), index_t{4}, std::multiplies<>());
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // reals that are not aligned are copied
  io::write_text_file(folder / "model.safetensors", test::u64(text.size()) + text);
  std::filesystem::resize_file(folder / "model.safetensors",
                               8 + text.size() + static_cast<std::uint64_t>(end));
}

/// A Llama model of 419 MB, whose largest tensors have 17 MB and whose queries and keys are an eighth of it.
void write_sparse_llama(const std::filesystem::path& folder) {
  constexpr index_t hidden = 1024, inner = 4096, blocks = 6, vocabulary = 4096;
  named_shapes tensors{{"model.embed_tokens.weight", {vocabulary, hidden}}, {"model.norm.weight", {hidden}}};
  for (index_t b = 0; b < blocks; ++b) {
    const auto add = [&](const char* name, std::vector<index_t> shape) {
      tensors.emplace_back(concat("model.layers.", b, ".", name, ".weight"), std::move(shape));
    };
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) add(norm, {hidden});
    for (const char* part : {"q", "k", "v", "o"})
      add(concat("self_attn.", part, "_proj").c_str(), {hidden, hidden});
    for (const char* part : {"gate", "up"}) add(concat("mlp.", part, "_proj").c_str(), {inner, hidden});
    add("mlp.down_proj", {hidden, inner});
  }
  write_sparse(folder, tensors);
  auto config = io::read_json_file(test::embedded_model / "config.json");
  config.merge_patch({{"hidden_size", hidden},
                      {"intermediate_size", inner},
                      {"num_hidden_layers", blocks},
                      {"num_attention_heads", 8},
                      {"num_key_value_heads", 8},
                      {"head_dim", hidden / 8},
                      {"vocab_size", vocabulary}});
  io::write_text_file(folder / "config.json", config.dump());
  std::filesystem::copy_file(test::embedded_model / "tokenizer.json", folder / "tokenizer.json");
}

// AddressSanitizer holds freed memory back for a while, which counts as the program's.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool freed_memory_is_kept = true;
#elif defined(__has_feature)
constexpr bool freed_memory_is_kept = __has_feature(address_sanitizer);
#else
constexpr bool freed_memory_is_kept = false;
#endif

/// Runs a command whose peak has to be below `part` times its input's bytes.
void check_peak(std::vector<std::string> arguments, double part) {
  arguments.insert(arguments.end(), {"--threads", "2"});  // each has its own work space
  const auto j = json_of(arguments);
  INFO(arguments[0] << " " << arguments[1]);
  if (!freed_memory_is_kept)
    CHECK(j["peak_rss_bytes"].get<double>() < part * j["bytes_before"].get<double>());
}

TEST_CASE("command: convert holds one tensor in memory") {
  const small_model files;
  // 17 MB each, 2.4 GB together; a few where memory is not measured
  const std::size_t count = freed_memory_is_kept ? 24 : 144, in_a_shard = 11;
  named_shapes tensors;
  for (std::size_t k = 0; k < count; ++k) tensors.push_back({concat("m.", k, ".weight"), {2048, 2048}});
  write_sparse(files.beside("big"), tensors);
  check_peak({"convert", files.beside("big"), files.beside("half"), "--to", "dense", "--dtype", "bf16",
              "--shard-size", "100MB", "--json"},
             0.05);
  CHECK(io::checkpoint(files.beside("half")).files().size() == (count + in_a_shard - 1) / in_a_shard);
}

TEST_CASE("command: compress without data, and convert to GGUF, hold one tensor in memory") {
  const small_model files;
  const auto big = files.beside("big"), eight = files.beside("eight.gguf");
  write_sparse_llama(big);
  const auto compressed = [&](const std::string& model, const std::string& out) {
    return std::vector<std::string>{
        "compress", model, "--with", "rtn(bits=4,group_size=128)", "--out", files.beside(out), "--json"};
  };
  check_peak(compressed(big, "small"), 0.35);
  check_peak({"convert", big, eight, "--to", "gguf", "--type", "Q8_0", "--json"}, 0.2);
  // of 112 MB: queries and keys besides, whose rows a GGUF file has in another order, and the table as F32
  check_peak(compressed(eight, "small-eight"), 1.5);
  check_peak({"convert", eight, files.beside("folder"), "--to", "tersor", "--json"}, 1.1);
}

}  // namespace memory_tests
}  // namespace tersor
