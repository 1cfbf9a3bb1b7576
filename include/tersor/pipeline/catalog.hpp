// tersor - the catalog of techniques: what there is, with which options, and how to make one by name
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function

#include <tersor/lowrank/svd.hpp>
#include <tersor/pipeline/any_stage.hpp>
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/nm_mask.hpp>
#include <tersor/prune/ria.hpp>
#include <tersor/prune/sp24_store.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/prune/wanda.hpp>
#include <tersor/quant/awq.hpp>
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/rtn.hpp>
#include <tersor/quant/smoothquant.hpp>
#include <tersor/quant/w8a8.hpp>

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

/// A list of techniques. `standard_catalog()` holds the library's; add your own with `add<my_technique>()`.
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

/// The techniques of this library.
inline catalog standard_catalog() {
  catalog c;
  c.add<quant::rtn>().add<quant::gptq>().add<quant::awq>().add<quant::smoothquant>().add<quant::w8a8>();
  c.add<prune::magnitude>()
      .add<prune::nm_mask>()
      .add<prune::wanda>()
      .add<prune::ria>()
      .add<prune::sparsegpt>();
  c.add<prune::sp24_store>();
  c.add<lowrank::svd>();
  return c;
}

}  // namespace tersor::pipeline
