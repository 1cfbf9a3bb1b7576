// tersor - tests of model/llama_config.hpp
// SPDX-License-Identifier: MIT
#include <tersor/model/llama_config.hpp>

#include "catch.hpp"
#include "model/samples.hpp"

namespace tersor {
namespace llama_config_tests {

model::llama_config read(const io::json& j) { return model::llama_config::from_json(j, "config.json"); }

std::string message(const io::json& j) {
  try {
    read(j);
  } catch (const error& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("llama_config: values and defaults") {
  auto j = tiny_config();
  auto c = read(j);
  CHECK(c.hidden_size == 24);
  CHECK(c.query_features() == 24);
  CHECK(c.key_features() == 12);
  CHECK(c.tie_word_embeddings);
  CHECK_FALSE(c.attention_bias);
  j.erase("head_dim");
  j.erase("num_key_value_heads");
  j["eos_token_id"] = {5, 6};
  j["bos_token_id"] = nullptr;
  c = read(j);
  CHECK(c.head_dim == 6);
  CHECK(c.num_key_value_heads == 4);
  CHECK(c.eos_token_id == 5);
  CHECK(c.bos_token_id == -1);
  j.erase("max_position_embeddings");
  CHECK(read(j).max_position_embeddings == 2048);
}

TEST_CASE("llama_config: scaled rotary frequencies") {
  auto j = tiny_config();
  const auto plain = read(j).rotary_frequencies;
  j["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  const auto linear = read(j).rotary_frequencies;
  for (std::size_t i = 0; i < plain.size(); ++i) CHECK(linear[i] == plain[i] / 4);
  // llama3: short wavelengths stay, long ones are stretched by the factor
  j["rope_scaling"] = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  const auto smooth = read(j).rotary_frequencies;
  CHECK(smooth.front() == plain.front());
  CHECK(std::abs(smooth.back() - plain.back() / 8) < 1e-12);
  // what transformers 5 writes
  j = tiny_config();
  j["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", j["rope_theta"]}};
  j.erase("rope_theta");
  CHECK(read(j).rotary_frequencies == linear);
  j["rope_parameters"]["rope_theta"] = 1e6;
  CHECK(read(j).rotary_frequencies.back() < linear.back());
}

TEST_CASE("llama_config: what this decoder does not compute is refused by name") {
  auto with = [](const char* key, const io::json& value) {
    auto j = tiny_config();
    j[key] = value;
    return message(j);
  };
  CHECK(with("model_type", "mamba").find("mamba") != std::string::npos);
  CHECK(with("hidden_act", "relu").find("hidden_act") != std::string::npos);
  CHECK(with("hidden_size", 0).find("hidden_size") != std::string::npos);
  CHECK(with("hidden_size", "big").find("hidden_size") != std::string::npos);
  CHECK(with("num_key_value_heads", 3).find("num_attention_heads") != std::string::npos);
  CHECK(with("head_dim", 5).find("head_dim") != std::string::npos);
  CHECK(with("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}}).find("yarn") != std::string::npos);
  auto j = tiny_config();
  j.erase("vocab_size");
  CHECK(message(j).find("vocab_size") != std::string::npos);
}

// Each value once took all memory, overflowed, gave NaN or an error that did not say where it came from.
TEST_CASE("llama_config: values that no model has are refused by key and value") {
  const std::vector<std::pair<const char*, io::json>> cases{
      {"num_hidden_layers", 1 << 30},
      {"head_dim", index_t{1} << 40},
      {"num_attention_heads", index_t{1} << 62},
      {"vocab_size", -1},
      {"max_position_embeddings", 0},
      {"rms_norm_eps", -1.0},
      {"rms_norm_eps", 1e39},
      {"rope_theta", 0},
      {"rope_theta", -10000},
      {"bos_token_id", 50},
      {"bos_token_id", -2},
      {"eos_token_id", io::json::array({"a"})},
      {"eos_token_id", io::json::array({nullptr})},
      {"rope_scaling", 5},
  };
  for (const auto& [key, value] : cases) {
    auto j = tiny_config();
    j[key] = value;
    INFO(key << " = " << value);
    CHECK(message(j).find(key) != std::string::npos);
  }
}

}  // namespace llama_config_tests
}  // namespace tersor
