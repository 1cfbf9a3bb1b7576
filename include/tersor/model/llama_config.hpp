// tersor - config.json of the Llama family
// SPDX-License-Identifier: MIT
#pragma once

#include <numbers>  // std::numbers::pi

#include <tersor/io/json.hpp>
#include <tersor/model/layers.hpp>

namespace tersor::model {

/// Shapes and constants of a Llama-architecture decoder, as Hugging Face's config.json gives them.
struct llama_config {
  index_t hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  index_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  index_t vocab_size = 0, max_position_embeddings = 0;
  float rms_norm_eps = 1e-5F;
  bool tie_word_embeddings = false, attention_bias = false, mlp_bias = false;
  int bos_token_id = -1, eos_token_id = -1;  ///< -1: the model has none
  std::vector<double> rotary_frequencies;    ///< [head_dim / 2], with any rope_scaling applied

  index_t query_features() const { return num_attention_heads * head_dim; }
  index_t key_features() const { return num_key_value_heads * head_dim; }

  /// Reads and checks a config. What this decoder does not compute (another architecture, activation or kind
  /// of rope_scaling) is an error that names the key and the value.
  static llama_config from_json(const io::json& j, const std::string& where) {
    const auto architecture = io::get<std::string>(j, "model_type", where);
    require(architecture == "llama", concat(where, ": model_type"), architecture, "\"llama\"");
    const auto activation = io::get<std::string>(j, "hidden_act", where, "silu");
    require(activation == "silu", concat(where, ": hidden_act"), activation, "\"silu\"");
    llama_config c;
    auto extent = [&](const char* key) {
      const auto value = io::get<index_t>(j, key, where);
      require(value > 0, concat(where, ": ", key), value, "at least 1");
      return value;
    };
    c.hidden_size = extent("hidden_size");
    c.intermediate_size = extent("intermediate_size");
    c.num_hidden_layers = extent("num_hidden_layers");
    c.num_attention_heads = extent("num_attention_heads");
    c.num_key_value_heads =
        j.contains("num_key_value_heads") ? extent("num_key_value_heads") : c.num_attention_heads;
    c.head_dim = j.contains("head_dim") && !j["head_dim"].is_null() ? extent("head_dim")
                                                                    : c.hidden_size / c.num_attention_heads;
    c.vocab_size = extent("vocab_size");
    c.max_position_embeddings = io::get<index_t>(j, "max_position_embeddings", where, index_t{2048});
    c.rms_norm_eps = io::get<float>(j, "rms_norm_eps", where, 1e-6F);
    c.tie_word_embeddings = io::get<bool>(j, "tie_word_embeddings", where, false);
    c.attention_bias = io::get<bool>(j, "attention_bias", where, false);
    c.mlp_bias = io::get<bool>(j, "mlp_bias", where, false);
    c.bos_token_id = token(j, "bos_token_id", where);
    c.eos_token_id = token(j, "eos_token_id", where);
    require(c.head_dim % 2 == 0 && c.head_dim > 0, concat(where, ": head_dim"), c.head_dim, "an even number");
    require(c.num_attention_heads % c.num_key_value_heads == 0, concat(where, ": num_attention_heads"),
            c.num_attention_heads, "a multiple of num_key_value_heads, ", c.num_key_value_heads);
    c.rotary_frequencies = frequencies(j, c, where);
    return c;
  }

 private:
  /// A token id; the first of a list; -1 for null or nothing.
  static int token(const io::json& j, const char* key, const std::string& where) {
    if (!j.contains(key) || j[key].is_null()) return -1;
    if (j[key].is_array()) return j[key].empty() ? -1 : j[key][0].get<int>();
    return io::get<int>(j, key, where);
  }
  static std::vector<double> frequencies(const io::json& j, const llama_config& c, const std::string& where) {
    auto f = rotary::base_frequencies(c.head_dim, io::get<double>(j, "rope_theta", where, 10000.0));
    if (!j.contains("rope_scaling") || j["rope_scaling"].is_null()) return f;
    const auto& s = j["rope_scaling"];
    const std::string place = where + ": rope_scaling";
    const auto type = s.contains("rope_type") ? io::get<std::string>(s, "rope_type", place)
                                              : io::get<std::string>(s, "type", place);
    if (type == "default") return f;
    require(type == "linear" || type == "llama3", concat(place, ".rope_type"), type,
            "\"default\", \"linear\" or \"llama3\"");
    const auto factor = io::get<double>(s, "factor", place);
    require(factor > 0, concat(place, ".factor"), factor, "a positive number");
    if (type == "linear") {
      for (double& x : f) x /= factor;
      return f;
    }
    // llama3: long wavelengths are stretched by `factor`, short ones kept, a smooth step between
    const auto low = io::get<double>(s, "low_freq_factor", place),
               high = io::get<double>(s, "high_freq_factor", place);
    const auto original = io::get<double>(s, "original_max_position_embeddings", place);
    require(high > low, concat(place, ".high_freq_factor"), high, "more than low_freq_factor, ", low);
    for (double& x : f) {
      const double turns = original * x / (2.0 * std::numbers::pi);
      const double kept = std::min(std::max((turns - low) / (high - low), 0.0), 1.0);
      x = (1.0 - kept) * x / factor + kept * x;
    }
    return f;
  }
};

}  // namespace tersor::model
