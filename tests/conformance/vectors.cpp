// tersor - conformance vectors: finding and reading them
// SPDX-License-Identifier: MIT
#include "vectors.hpp"

#include <cstdlib>  // std::getenv

namespace conformance {

std::filesystem::path folder() {
  if (const char* named = std::getenv("TERSOR_VECTORS")) return named;
  return std::filesystem::path(TERSOR_SOURCE_DIR) / "tests" / "data" / "vectors";
}

std::set<std::string>& techniques() {
  static std::set<std::string> names;
  return names;
}

std::string technique_of(const std::string& manifest) {
  std::string best;
  for (const auto& stem : techniques())
    if (manifest == stem ||
        (manifest.starts_with(stem) && (manifest[stem.size()] == '_' || manifest[stem.size()] == '-')))
      if (stem.size() > best.size()) best = stem;
  return best;
}

std::vector<std::filesystem::path> manifests() {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder()))
    if (entry.path().extension() == ".json") found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

bool test_case::has(const char* side, const std::string& role) const {
  if (description_->contains("tensors"))
    return description_->at("tensors").contains(role) &&
           std::string_view(side).starts_with(
               description_->at("tensors").at(role).at("role").get<std::string>());
  return description_->contains(side) && description_->at(side).contains(role);
}

std::string test_case::tensor_name(const char* side, const std::string& role) const {
  if (description_->contains("tensors")) {
    tersor::require(has(side, role), tersor::concat(side, " of case ", name_), role,
                    "a tensor of the manifest");
    return description_->at("tensors").at(role).at("name").get<std::string>();
  }
  const auto& entry = description_->at(side).at(role);
  return entry.is_string() ? entry.get<std::string>() : entry.at("tensor").get<std::string>();
}

matrix<float> test_case::read(const char* side, const std::string& role) const {
  const auto name = tensor_name(side, role);
  const auto& shape = file_->entry(name).shape;
  const auto values = file_->read_tensor<float>(name);
  const index_t cols = shape.empty() ? 1 : shape.back();
  matrix<float> m(cols == 0 ? 0 : static_cast<index_t>(values.size()) / cols, cols);
  std::ranges::copy(values, m.values().begin());
  return m;
}

double test_case::scalar(const char* key) const { return description_->at("scalars").at(key).get<double>(); }

std::vector<float> test_case::input_vector(const std::string& role) const {
  return file_->read_tensor<float>(tensor_name("inputs", role));
}

std::vector<float> test_case::output_vector(const std::string& role) const {
  return file_->read_tensor<float>(tensor_name("outputs", role));
}

std::vector<std::int32_t> test_case::output_integers(const std::string& role) const {
  return file_->read_tensor<std::int32_t>(tensor_name("outputs", role));
}

std::vector<std::int32_t> test_case::input_integers(const std::string& role) const {
  return file_->read_tensor<std::int32_t>(tensor_name("inputs", role));
}

std::string test_case::output_meaning(const std::string& role) const {
  const auto& entry = description_->at(description_->contains("tensors") ? "tensors" : "outputs").at(role);
  return entry.is_object() ? entry.value("meaning", "") : "";
}

std::vector<index_t> test_case::input_shape(const std::string& role) const {
  return file_->entry(tensor_name("inputs", role)).shape;
}

double test_case::tolerance(const std::string& role) const {
  return description_->at("tolerance").at(role).at("relative_to_max_abs").get<double>();
}

std::string test_case::function() const {
  return description_->value("function", description_->value("run", std::string()));
}

void for_each_case(const technique& of, const std::function<void(const test_case&)>& test) {
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

double max_difference(std::span<const float> a, std::span<const float> b, double scale) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= worst)) worst = d;
  }
  return scale > 0 ? worst / scale : worst;
}

double max_abs(std::span<const float> a) {
  double m = 0;
  for (const float v : a) m = std::max(m, std::abs(static_cast<double>(v)));
  return m;
}

double max_relative(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i] != b[i])
      worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])) /
                                  std::abs(static_cast<double>(b[i])));
  return worst;
}

}  // namespace conformance
