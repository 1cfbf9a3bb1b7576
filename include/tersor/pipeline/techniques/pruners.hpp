// tersor - the pruners and low-rank factorizations of this library, for the catalog
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/lowrank/svd.hpp>
#include <tersor/pipeline/catalog.hpp>
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/nm_mask.hpp>
#include <tersor/prune/ria.hpp>
#include <tersor/prune/sp24_store.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/prune/wanda.hpp>

namespace tersor::pipeline {

inline void add_pruners(catalog& c) {
  c.add<prune::magnitude>()
      .add<prune::nm_mask>()
      .add<prune::wanda>()
      .add<prune::ria>()
      .add<prune::sparsegpt>();
  c.add<prune::sp24_store>();
  c.add<lowrank::svd>();
}

}  // namespace tersor::pipeline
