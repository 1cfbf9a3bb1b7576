// tersor - a catalog of techniques: what there is, with which options, and how to make one by name
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function

#include <tersor/pipeline/any_stage.hpp>

namespace tersor::pipeline {

/// One assignment in a spec: "bits=3".
struct option_value {
  std::string name, value;
};

struct catalog_entry {
  solve::technique_info info;
  solve::stage_kind kind;
  std::vector<option_row> options;
  std::function<any_stage(std::span<const option_value>)>
      make;  ///< unknown options and bad values are errors
};

/// A list of techniques. `standard_catalog()` (pipeline/standard_catalog.hpp) holds the library's; add your
/// own with `add<my_technique>()`.
class catalog {
 public:
  template <solve::technique T>
  catalog& add() {
    for (const auto& e : entries_)
      require(e.info.id != T::info.id, "catalog: id", e.info.id, "an id that is not taken");
    entries_.push_back({T::info, T::kind, option_table<T>(), [](std::span<const option_value> values) {
                          T technique{};
                          for (const auto& v : values) set_option(technique, T::info.id, v.name, v.value);
                          technique.validate();
                          return any_stage(std::move(technique));
                        }});
    return *this;
  }
  const std::vector<catalog_entry>& entries() const { return entries_; }
  /// The entry of that id; an error that suggests the nearest if there is none.
  const catalog_entry& find(std::string_view id) const {
    std::vector<std::string_view> ids;
    for (const auto& e : entries_) {
      if (e.info.id == id) return e;
      ids.push_back(e.info.id);
    }
    fail("method", id, concat("a method of the catalog", suggestion(id, ids)));
  }

 private:
  std::vector<catalog_entry> entries_;
};

}  // namespace tersor::pipeline
