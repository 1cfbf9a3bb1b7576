// tersor - conformance vectors: manifests of what the authors' own programs returned
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdlib>           // std::getenv
#include <filesystem>        // std::filesystem
#include <initializer_list>  // std::initializer_list
#include <map>               // std::map
#include <set>               // std::set
#include <string>            // std::string

#include "catch.hpp"

#include <tersor/io/json.hpp>
#include <tersor/io/safetensors.hpp>

namespace conformance {

using tersor::index_t;
using tersor::matrix;
using tersor::io::json;

/// The folder named by TERSOR_VECTORS, or the one in the project.
inline std::filesystem::path folder() {
  if (const char* named = std::getenv("TERSOR_VECTORS")) return named;
  return std::filesystem::path(TERSOR_SOURCE_DIR) / "tests" / "data" / "vectors";
}

/// The techniques that have a conformance test, by the stem of their manifests.
inline std::set<std::string>& techniques() {
  static std::set<std::string> names;
  return names;
}
/// Registers a technique and the configuration keys that its manifests may have, those included that only
/// inform: `const conformance::technique gptq{"quant_gptq", {"bits", "sym"}};`.
struct technique {
  std::string stem;
  std::set<std::string> keys;
  technique(std::string s, std::set<std::string> k) : stem(std::move(s)), keys(std::move(k)) {
    techniques().insert(stem);
  }
};

/// The technique of a manifest: the longest registered stem that is its name, or its name's beginning up to a
/// '_' or '-'. Empty: nobody's.
inline std::string technique_of(const std::string& manifest) {
  std::string best;
  for (const auto& stem : techniques())
    if (manifest == stem ||
        (manifest.starts_with(stem) && (manifest[stem.size()] == '_' || manifest[stem.size()] == '-')))
      if (stem.size() > best.size()) best = stem;
  return best;
}

inline std::vector<std::filesystem::path> manifests() {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder()))
    if (entry.path().extension() == ".json") found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

/// One case: its configuration and its tensors by role.
class test_case {
 public:
  test_case(std::string name, const json& description, const tersor::io::safetensors_file& file)
      : name_(std::move(name)), description_(&description), file_(&file) {}

  const std::string& name() const { return name_; }
  const json& config() const { return description_->at("config"); }
  const json& description() const { return *description_; }
  std::string function() const { return description_->value("function", ""); }
  template <class T>
  T option(const char* key, T fallback) const {
    return config().contains(key) ? config().at(key).get<T>() : fallback;
  }
  /// The meaning of a text among those that the test knows. Error that lists them on any other.
  template <class T>
  T choice(const char* key, const char* fallback,
           std::initializer_list<std::pair<std::string_view, T>> known) const {
    const auto text = option<std::string>(key, fallback);
    std::string expected;
    for (const auto& [name, value] : known) {
      if (text == name) return value;
      expected += expected.empty() ? "" : ", ";
      expected += name;
    }
    tersor::fail(tersor::concat("config ", key), text, "one of: " + expected);
  }
  /// A number that the program printed.
  double scalar(const char* key) const { return description_->at("scalars").at(key).get<double>(); }

  bool has_input(const std::string& role) const { return has("inputs", role); }
  bool has_output(const std::string& role) const { return has("outputs", role); }
  matrix<float> input(const std::string& role) const { return read("inputs", role); }
  matrix<float> output(const std::string& role) const { return read("outputs", role); }
  std::vector<float> input_vector(const std::string& role) const {
    return file_->read_tensor<float>(tensor_name("inputs", role));
  }
  std::vector<float> output_vector(const std::string& role) const {
    return file_->read_tensor<float>(tensor_name("outputs", role));
  }
  std::vector<std::int32_t> output_integers(const std::string& role) const {
    return file_->read_tensor<std::int32_t>(tensor_name("outputs", role));
  }
  std::vector<std::int32_t> input_integers(const std::string& role) const {
    return file_->read_tensor<std::int32_t>(tensor_name("inputs", role));
  }
  /// What the manifest says of an output; empty where it gives no more than the tensor's name.
  std::string output_meaning(const std::string& role) const {
    const auto& entry = description_->at(description_->contains("tensors") ? "tensors" : "outputs").at(role);
    return entry.is_object() ? entry.value("meaning", "") : "";
  }
  std::vector<index_t> input_shape(const std::string& role) const {
    return file_->entry(tensor_name("inputs", role)).shape;
  }
  /// The bound of max |difference| / max |official| that the manifest gives for an output.
  double tolerance(const std::string& role) const {
    return description_->at("tolerance").at(role).at("relative_to_max_abs").get<double>();
  }

 private:
  bool has(const char* side, const std::string& role) const {
    if (description_->contains("tensors"))
      return description_->at("tensors").contains(role) &&
             std::string_view(side).starts_with(
                 description_->at("tensors").at(role).at("role").get<std::string>());
    return description_->contains(side) && description_->at(side).contains(role);
  }
  /// Manifests name a tensor directly or in an object with its shape and meaning; some list inputs and
  /// outputs in one object, each entry with its "role".
  std::string tensor_name(const char* side, const std::string& role) const {
    if (description_->contains("tensors")) {
      tersor::require(has(side, role), tersor::concat(side, " of case ", name_), role,
                      "a tensor of the manifest");
      return description_->at("tensors").at(role).at("name").get<std::string>();
    }
    const auto& entry = description_->at(side).at(role);
    return entry.is_string() ? entry.get<std::string>() : entry.at("tensor").get<std::string>();
  }
  /// Any rank as a matrix: a vector becomes one row, leading axes are flattened.
  matrix<float> read(const char* side, const std::string& role) const {
    const auto name = tensor_name(side, role);
    const auto& shape = file_->entry(name).shape;
    const auto values = file_->read_tensor<float>(name);
    const index_t cols = shape.empty() ? 1 : shape.back();
    matrix<float> m(cols == 0 ? 0 : static_cast<index_t>(values.size()) / cols, cols);
    std::ranges::copy(values, m.values().begin());
    return m;
  }
  std::string name_;
  const json* description_;
  const tersor::io::safetensors_file* file_;
};

/// Calls test(case) for every case of every manifest of the technique. Warns of configuration keys that the
/// technique does not know: whatever they ask for, the test does not do it.
template <class Test>
void for_each_case(const technique& of, Test&& test) {
  for (const auto& path : manifests()) {
    if (technique_of(path.stem().string()) != of.stem) continue;
    const json manifest = tersor::io::read_json_file(path);
    auto tensors = path;
    tensors.replace_extension(".safetensors");
    const tersor::io::safetensors_file file(tensors);
    for (const auto& [name, description] : manifest.at("cases").items()) {
      INFO(path.stem().string() << " / " << name);
      for (const auto& [key, value] : description.at("config").items())
        if (of.keys.count(key) == 0)
          WARN(path.stem().string() << " / " << name << ": config " << key << " is not read");
      test(test_case(name, description, file));
    }
  }
}

/// max |a - b| over entries, relative to `scale` where that is positive.
inline double max_difference(std::span<const float> a, std::span<const float> b, double scale = 0) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= worst)) worst = d;
  }
  return scale > 0 ? worst / scale : worst;
}
inline double max_abs(std::span<const float> a) {
  double m = 0;
  for (const float v : a) m = std::max(m, std::abs(static_cast<double>(v)));
  return m;
}
/// The largest |a - b| / |b| over entries, entries equal to each other counting 0.
inline double max_relative(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i])
      worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) /
                                  std::abs(static_cast<double>(b[i])));
  return worst;
}
/// Entries that differ.
template <class A, class B>
std::size_t mismatches(const A& a, const B& b) {
  REQUIRE(std::size(a) == std::size(b));
  std::size_t n = 0;
  auto ib = std::begin(b);
  for (auto ia = std::begin(a); ia != std::end(a); ++ia, ++ib)
    n += static_cast<double>(*ia) != static_cast<double>(*ib);
  return n;
}

}  // namespace conformance
