// tersor - PEFT adapters: the configuration file, and which modules it means
// SPDX-License-Identifier: MIT
#pragma once

//   const auto config = tersor::io::peft_config::read("adapter");   // adapter/adapter_config.json
//   for (const auto& name : config.targets(modules)) use(name, config.rank(name));

#include <charconv>     // std::from_chars
#include <cmath>        // std::floor
#include <filesystem>   // std::filesystem::path
#include <optional>     // std::optional
#include <span>         // std::span
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <vector>       // std::vector

#include <tersor/core/view.hpp>
#include <tersor/io/json.hpp>
#include <tersor/io/pattern.hpp>

namespace tersor::io {

/// A module of the base model that an adapter can go to.
struct peft_module {
  std::string name;         ///< its path: "model.layers.0.self_attn.q_proj"
  index_t out = 0;          ///< rows of the weight; of an embedding the dimension
  index_t in = 0;           ///< columns; channels of a convolution, the vocabulary of an embedding
  index_t kernel_rows = 0;  ///< of a convolution, else 0
  index_t kernel_cols = 0;
  bool embedding = false;
  bool output_head = false;  ///< left out by "all-linear"

  /// Elements of the kernel; 1 where there is none.
  index_t places() const { return kernel_rows > 0 ? kernel_rows * kernel_cols : 1; }
};

namespace detail {

/// Whole components at the end: "q_proj" of "layers.0.q_proj".
inline bool is_suffix(std::string_view name, std::string_view suffix) {
  return name == suffix || (name.size() > suffix.size() && name.ends_with(suffix) &&
                            name[name.size() - suffix.size() - 1] == '.');
}
/// Python's matching of a list of suffixes, or of a string as an expression for the whole name.
inline bool names_module(const json& value, const std::string& name, const std::string& where) {
  if (value.is_null()) return false;
  if (value.is_string()) return matches(name, value.get<std::string>(), where);
  for (const auto& entry : json_as<std::vector<std::string>>::from(value, where))
    if (is_suffix(name, entry)) return true;
  return false;
}
/// The index of the layer in "model.layers.12.mlp"; of several numbers the last that is followed by a name.
inline std::optional<index_t> layer_index(const std::string& name, const std::vector<std::string>& patterns,
                                          const std::string& where) {
  const auto find = [&](const std::string& container) -> std::optional<index_t> {
    const auto number = first_capture(name, "^.*\\." + container + "\\.(\\d+)\\.", where);
    if (!number) return std::nullopt;
    index_t index = 0;
    const auto [end, error] = std::from_chars(number->data(), number->data() + number->size(), index);
    require(error == std::errc() && end == number->data() + number->size(), where, *number,
            "the index of a layer of ", name, ", from a pattern without groups of its own");
    return index;
  };
  if (patterns.empty()) return find("[^.]*");
  for (const auto& p : patterns)
    if (const auto found = find(p)) return found;
  return std::nullopt;
}

}  // namespace detail

/// adapter_config.json. All fields are kept, those this library does not know as well.
class peft_config {
 public:
  peft_config() = default;
  /// @param where names the file in errors.
  explicit peft_config(json fields, std::string where = "adapter_config.json")
      : fields_(std::move(fields)), where_(std::move(where)) {
    io::get<std::string>(fields_, "peft_type", where_);
    const std::string trained = bias();
    require(trained == "none" || trained == "all" || trained.ends_with("_only"), where_ + ": \"bias\"",
            trained, "\"none\", \"all\", or \"lora_only\" and the like");
  }
  static peft_config read(const std::filesystem::path& folder) {
    const auto path = folder / "adapter_config.json";
    return peft_config(read_json_file(path), path.string());
  }

  const json& fields() const { return fields_; }
  json& fields() { return fields_; }
  const std::string& where() const { return where_; }
  /// "LORA", "VERA" ...
  std::string type() const { return io::get<std::string>(fields_, "peft_type", where_); }
  /// A field, or `fallback` where it is missing or null.
  template <class T>
  T get(std::string_view key, T fallback) const {
    return io::get<T>(fields_, key, where_, std::move(fallback));
  }
  /// "none", "all", or "lora_only" and the like.
  std::string bias() const { return get<std::string>("bias", "none"); }
  bool fan_in_fan_out() const { return get("fan_in_fan_out", false); }

  /// r of a module: from rank_pattern, or the field `key`.
  index_t rank(const std::string& module, std::string_view key = "r", index_t fallback = 8) const {
    const json* found = from_pattern("rank_pattern", module);
    const index_t r =
        found ? json_as<index_t>::from(*found, where_ + ": \"rank_pattern\"") : get(key, fallback);
    require(r >= 1, concat(where_, ": rank of ", module), r, "at least 1");
    return r;
  }
  /// alpha of a module: from alpha_pattern, or the field `key`.
  double alpha(const std::string& module, std::string_view key = "lora_alpha", double fallback = 8) const {
    const json* found = from_pattern("alpha_pattern", module);
    return found ? json_as<double>::from(*found, where_ + ": \"alpha_pattern\"") : get(key, fallback);
  }

  /// Is the module one of `target_modules`, not of `exclude_modules`, in one of `layers_to_transform`?
  bool is_target(const peft_module& module) const {
    const json& targets = member(fields_, "target_modules", where_);
    const std::string where = where_ + ": \"target_modules\"";
    require(targets.is_string() || targets.is_array(), where, type_of(targets), "a list, or a string");
    if (fields_.contains("exclude_modules") &&
        detail::names_module(fields_["exclude_modules"], module.name, where_ + ": \"exclude_modules\""))
      return false;
    if (targets == "all-linear") {
      if (module.embedding || module.output_head || module.kernel_rows > 0) return false;
    } else if (!detail::names_module(targets, module.name, where)) {
      return false;
    }
    // a whole name in the list is meant wherever it is
    if (targets.is_array() && std::find(targets.begin(), targets.end(), module.name) != targets.end())
      return true;
    return in_layers(module.name);
  }
  /// Names of the modules that are adapted, in the order given. Error, with the nearest name, if there are
  /// none.
  std::vector<std::string> targets(std::span<const peft_module> modules) const {
    std::vector<std::string> names, last_parts;
    for (const auto& m : modules) {
      if (is_target(m)) names.push_back(m.name);
      last_parts.push_back(m.name.substr(m.name.rfind('.') + 1));
    }
    if (names.empty()) {
      const json& wanted = fields_["target_modules"];
      const std::string first = wanted.is_string() ? wanted.get<std::string>()
                                : wanted.empty()   ? ""
                                                   : json_as<std::string>::from(wanted[0], where_);
      fail(where_ + ": \"target_modules\"", json_text(wanted),
           concat("the name of one of the ", modules.size(), " modules of the base",
                  suggestion(first, last_parts)));
    }
    return names;
  }
  /// Is the module listed in `feedforward_modules` (IA3)? By the end of its name alone, as there.
  bool is_feedforward(const std::string& module) const {
    const auto found = fields_.find("feedforward_modules");
    if (found == fields_.end() || found->is_null()) return false;
    const std::string where = where_ + ": \"feedforward_modules\"";
    if (found->is_string()) return matches(module, found->get<std::string>(), where);
    for (const auto& entry : json_as<std::vector<std::string>>::from(*found, where))
      if (module.ends_with(entry)) return true;
    return false;
  }

  /// The file: sorted keys, indented by 2, and the fields that every file has.
  std::string text() const {
    json all = {{"auto_mapping", nullptr},    {"base_model_name_or_path", nullptr}, {"inference_mode", true},
                {"modules_to_save", nullptr}, {"peft_version", layout_version},     {"revision", nullptr},
                {"task_type", nullptr}};
    const std::string t = type();
    if (t != "LOHA" && t != "LOKR" && t != "IA3")
      all["bias"] = "none";  // PEFT warns of fields it does not know
    all.update(fields_);
    all["inference_mode"] = true;
    return all.dump(2, ' ', true);
  }

  /// The version of PEFT whose layout this is.
  static constexpr const char* layout_version = "0.20.0";

 private:
  /// The value of the first pattern that is the module's whole name or its end.
  const json* from_pattern(const char* key, const std::string& module) const {
    const auto found = fields_.find(key);
    if (found == fields_.end() || found->is_null()) return nullptr;
    const std::string where = where_ + ": \"" + key + "\"";
    require(found->is_object(), where, type_of(*found), "an object");
    for (const auto& item : found->items())
      if (matches(module, "(.*\\.)?(" + item.key() + ")", where)) return &item.value();
    return nullptr;
  }
  bool in_layers(const std::string& name) const {
    const auto found = fields_.find("layers_to_transform");
    if (found == fields_.end() || found->is_null() || (found->is_array() && found->empty())) return true;
    const std::string where = where_ + ": \"layers_to_transform\"";
    const auto wanted = found->is_array() ? json_as<std::vector<index_t>>::from(*found, where)
                                          : std::vector<index_t>{json_as<index_t>::from(*found, where)};
    std::vector<std::string> patterns;
    const std::string of = where_ + ": \"layers_pattern\"";
    const auto given = fields_.find("layers_pattern");
    if (given != fields_.end() && !given->is_null()) {
      if (given->is_string())
        patterns.push_back(given->get<std::string>());
      else
        patterns = json_as<std::vector<std::string>>::from(*given, of);
      std::erase(patterns, "");
    }
    const auto index = detail::layer_index(name, patterns, of);
    return index && std::find(wanted.begin(), wanted.end(), *index) != wanted.end();
  }

  json fields_ = json::object();
  std::string where_ = "adapter_config.json";
};

}  // namespace tersor::io
