// tersor - conformance vectors: manifests of what the authors' own programs returned
// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>        // std::filesystem
#include <functional>        // std::function
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
std::filesystem::path folder();

/// The techniques that have a conformance test, by the stem of their manifests.
std::set<std::string>& techniques();
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
std::string technique_of(const std::string& manifest);

std::vector<std::filesystem::path> manifests();

/// One case: its configuration and its tensors by role.
class test_case {
 public:
  test_case(std::string name, const json& description, const tersor::io::safetensors_file& file)
      : name_(std::move(name)), description_(&description), file_(&file) {}

  const std::string& name() const { return name_; }
  const json& config() const { return description_->at("config"); }
  const json& description() const { return *description_; }
  /// What of the official program was run.
  std::string function() const;
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
  double scalar(const char* key) const;

  bool has_input(const std::string& role) const { return has("inputs", role); }
  bool has_output(const std::string& role) const { return has("outputs", role); }
  matrix<float> input(const std::string& role) const { return read("inputs", role); }
  matrix<float> output(const std::string& role) const { return read("outputs", role); }
  std::vector<float> input_vector(const std::string& role) const;
  std::vector<float> output_vector(const std::string& role) const;
  std::vector<std::int32_t> output_integers(const std::string& role) const;
  std::vector<std::int32_t> input_integers(const std::string& role) const;
  /// What the manifest says of an output; empty where it gives no more than the tensor's name.
  std::string output_meaning(const std::string& role) const;
  std::vector<index_t> input_shape(const std::string& role) const;
  /// The bound of max |difference| / max |official| that the manifest gives for an output.
  double tolerance(const std::string& role) const;

 private:
  bool has(const char* side, const std::string& role) const;
  /// Manifests name a tensor directly or in an object with its shape and meaning; some list inputs and
  /// outputs in one object, each entry with its "role".
  std::string tensor_name(const char* side, const std::string& role) const;
  /// Any rank as a matrix: a vector becomes one row, leading axes are flattened.
  matrix<float> read(const char* side, const std::string& role) const;
  std::string name_;
  const json* description_;
  const tersor::io::safetensors_file* file_;
};

/// Calls test(case) for every case of every manifest of the technique. Warns of configuration keys that the
/// technique does not know: whatever they ask for, the test does not do it.
void for_each_case(const technique& of, const std::function<void(const test_case&)>& test);

/// max |a - b| over entries, relative to `scale` where that is positive.
double max_difference(std::span<const float> a, std::span<const float> b, double scale = 0);
double max_abs(std::span<const float> a);
/// The largest |a - b| / |b| over entries, entries equal to each other counting 0.
double max_relative(std::span<const float> a, std::span<const float> b);
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
