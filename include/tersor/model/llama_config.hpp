// tersor - config.json of the Llama family
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>    // std::isfinite
#include <numbers>  // std::numbers::pi

#include <tersor/io/json.hpp>
#include <tersor/kernel/rotary.hpp>

namespace tersor::model {

/// Shapes and constants of a Llama-architecture decoder, as Hugging Face's config.json gives them.
struct llama_config {
  index_t hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  index_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  index_t vocab_size = 0, max_position_embeddings = 2048;
  float rms_norm_eps = 1e-5F;
  bool tie_word_embeddings = false, attention_bias = false, mlp_bias = false;
  int bos_token_id = -1, eos_token_id = -1;  ///< -1: the model has none
  double rope_theta = 10000.0;
  std::vector<double> rotary_frequencies;  ///< [head_dim / 2], of rope_theta, with any rope_scaling applied

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
    // Bounds far above any model: products of extents fit 64 bits, and no memory is taken for a typing error.
    auto extent = [&](const char* key, index_t most = index_t{1} << 24) {
      const auto value = io::get<index_t>(j, key, where);
      require(value > 0 && value <= most, concat(where, ": ", key), value, "1 .. ", most);
      return value;
    };
    auto given = [&](const char* key) { return j.contains(key) && !j[key].is_null(); };
    c.hidden_size = extent("hidden_size");
    c.intermediate_size = extent("intermediate_size");
    c.num_hidden_layers = extent("num_hidden_layers", 1 << 14);
    c.num_attention_heads = extent("num_attention_heads");
    c.num_key_value_heads =
        given("num_key_value_heads") ? extent("num_key_value_heads") : c.num_attention_heads;
    c.head_dim = given("head_dim") ? extent("head_dim", 1 << 16) : c.hidden_size / c.num_attention_heads;
    c.vocab_size = extent("vocab_size");
    if (given("max_position_embeddings"))
      c.max_position_embeddings = extent("max_position_embeddings", index_t{1} << 40);
    c.rms_norm_eps = io::get<float>(j, "rms_norm_eps", where, 1e-6F);
    require(c.rms_norm_eps >= 0 && std::isfinite(c.rms_norm_eps), concat(where, ": rms_norm_eps"),
            c.rms_norm_eps, "a finite number, not negative");
    c.tie_word_embeddings = io::get<bool>(j, "tie_word_embeddings", where, false);
    c.attention_bias = io::get<bool>(j, "attention_bias", where, false);
    c.mlp_bias = io::get<bool>(j, "mlp_bias", where, false);
    c.bos_token_id = token(j, "bos_token_id", c, where);
    c.eos_token_id = token(j, "eos_token_id", c, where);
    require(c.head_dim % 2 == 0 && c.head_dim > 0, concat(where, ": head_dim"), c.head_dim, "an even number");
    require(c.num_attention_heads % c.num_key_value_heads == 0, concat(where, ": num_attention_heads"),
            c.num_attention_heads, "a multiple of num_key_value_heads, ", c.num_key_value_heads);
    set_frequencies(j, c, where);
    return c;
  }

 private:
  /// A token id; the first of a list; -1 for null or nothing.
  static int token(const io::json& j, const char* key, const llama_config& c, const std::string& where) {
    const auto found = j.find(key);
    if (found == j.end() || found->is_null() || (found->is_array() && found->empty())) return -1;
    const std::string place = concat(where, ": ", key);
    const int id = io::json_as<int>::from(found->is_array() ? found->front() : *found, place);
    require(id >= -1 && id < c.vocab_size, place, id, "a token below vocab_size, ", c.vocab_size, ", or -1");
    return id;
  }
  static void set_frequencies(const io::json& j, llama_config& c, const std::string& where) {
    // Since transformers 5 both are in "rope_parameters".
    const char* key = j.contains("rope_parameters") ? "rope_parameters" : "rope_scaling";
    const std::string place = concat(where, ": ", key);
    const auto s = io::get<io::json>(j, key, where, io::json());
    c.rope_theta = io::get<double>(j, "rope_theta", where, 10000.0);
    if (!s.is_null()) c.rope_theta = io::get<double>(s, "rope_theta", place, c.rope_theta);
    require(c.rope_theta > 0 && std::isfinite(c.rope_theta), concat(where, ": rope_theta"), c.rope_theta,
            "a positive number");
    c.rotary_frequencies = kernel::rotary::base_frequencies(c.head_dim, c.rope_theta);
    if (s.is_null()) return;
    const auto type = s.contains("rope_type") ? io::get<std::string>(s, "rope_type", place)
                                              : io::get<std::string>(s, "type", place);
    if (type == "default") return;
    if (type == "longrope") return divide(c.rotary_frequencies, s, place);
    require(type == "linear" || type == "llama3", concat(place, ".rope_type"), type,
            "\"default\", \"linear\", \"llama3\" or \"longrope\"");
    const auto factor = io::get<double>(s, "factor", place);
    require(factor > 0 && std::isfinite(factor), concat(place, ".factor"), factor, "a positive number");
    if (type == "linear") {
      for (double& x : c.rotary_frequencies) x /= factor;
      return;
    }
    // llama3: long wavelengths are stretched by `factor`, short ones kept, a smooth step between
    const auto low = io::get<double>(s, "low_freq_factor", place),
               high = io::get<double>(s, "high_freq_factor", place);
    const auto original = io::get<double>(s, "original_max_position_embeddings", place);
    require(high > low, concat(place, ".high_freq_factor"), high, "more than low_freq_factor, ", low);
    for (double& x : c.rotary_frequencies) {
      const double turns = original * x / (2.0 * std::numbers::pi);
      const double kept = std::min(std::max((turns - low) / (high - low), 0.0), 1.0);
      x = (1.0 - kept) * x / factor + kept * x;
    }
  }
  /// longrope: a divisor for each frequency. Those of short and of long texts have to be the same here, and
  /// attention is not scaled.
  static void divide(std::vector<double>& frequencies, const io::json& s, const std::string& place) {
    const auto divisors = io::get<std::vector<double>>(s, "long_factor", place);
    const std::string list = concat(place, ".long_factor");
    require(divisors.size() == frequencies.size(), list, divisors.size(), frequencies.size(),
            " values, head_dim / 2");
    require(divisors == io::get<std::vector<double>>(s, "short_factor", place),
            concat(place, ".short_factor"), "another list", "that of long_factor");
    const auto attention = io::get<double>(s, "attention_factor", place);
    require(attention == 1.0, concat(place, ".attention_factor"), attention, 1);
    for (std::size_t i = 0; i < divisors.size(); ++i) {
      require(divisors[i] > 0 && std::isfinite(divisors[i]), list, divisors[i], "positive numbers");
      frequencies[i] /= divisors[i];
    }
  }
};

}  // namespace tersor::model
