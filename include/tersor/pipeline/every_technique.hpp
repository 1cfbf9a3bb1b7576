// tersor - every technique of this library, in one catalog
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/adalora.hpp>
#include <tersor/adapters/aflora.hpp>
#include <tersor/adapters/bat.hpp>
#include <tersor/adapters/bone.hpp>
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/ia3.hpp>
#include <tersor/adapters/lamda.hpp>
#include <tersor/adapters/loha.hpp>
#include <tersor/adapters/lokr.hpp>
#include <tersor/adapters/lora.hpp>
#include <tersor/adapters/oft.hpp>
#include <tersor/adapters/olora.hpp>
#include <tersor/adapters/pissa.hpp>
#include <tersor/adapters/vera.hpp>
#include <tersor/kv/adakv.hpp>
#include <tersor/kv/bfp.hpp>
#include <tersor/kv/dense.hpp>
#include <tersor/kv/expected.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/gear.hpp>
#include <tersor/kv/group.hpp>
#include <tersor/kv/h2o.hpp>
#include <tersor/kv/keydiff.hpp>
#include <tersor/kv/kivi.hpp>
#include <tersor/kv/knorm.hpp>
#include <tersor/kv/pyramid.hpp>
#include <tersor/kv/quest.hpp>
#include <tersor/kv/random.hpp>
#include <tersor/kv/snapkv.hpp>
#include <tersor/kv/streaming.hpp>
#include <tersor/kv/tova.hpp>
#include <tersor/lowrank/svd.hpp>
#include <tersor/pipeline/catalog.hpp>
#include <tersor/prune/magnitude.hpp>
#include <tersor/prune/nm_mask.hpp>
#include <tersor/prune/ria.hpp>
#include <tersor/prune/sp24_store.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/prune/wanda.hpp>
#include <tersor/quant/awq.hpp>
#include <tersor/quant/ggml_blocks.hpp>
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/loftq.hpp>
#include <tersor/quant/lqlora.hpp>
#include <tersor/quant/nf4.hpp>
#include <tersor/quant/rtn.hpp>
#include <tersor/quant/smoothquant.hpp>
#include <tersor/quant/w8a8.hpp>

namespace tersor::pipeline {

/// What `standard_catalog()` returns.
inline catalog every_technique() {
  catalog c;
  c.add<quant::rtn>().add<quant::gptq>().add<quant::awq>().add<quant::smoothquant>().add<quant::w8a8>();
  c.add<quant::nf4>().add<quant::ggml_blocks>().add<quant::loftq>().add<quant::lqlora>();
  c.add<prune::magnitude>()
      .add<prune::nm_mask>()
      .add<prune::wanda>()
      .add<prune::ria>()
      .add<prune::sparsegpt>();
  c.add<prune::sp24_store>();
  c.add<lowrank::svd>();
  c.add<kv::full>().add<kv::random>().add<kv::streaming>().add<kv::h2o>().add<kv::tova>();
  c.add<kv::snapkv>().add<kv::pyramid>().add<kv::adakv>().add<kv::expected>();
  c.add<kv::keydiff>().add<kv::knorm>().add<kv::quest>();
  c.add<kv::dense>().add<kv::kivi>().add<kv::gear>().add<kv::group>().add<kv::bfp>();
  c.add<adapters::lora>().add<adapters::dora>().add<adapters::pissa>().add<adapters::olora>();
  c.add<adapters::vera>().add<adapters::adalora>().add<adapters::loha>().add<adapters::lokr>();
  c.add<adapters::ia3>().add<adapters::oft>().add<adapters::bone>().add<adapters::bat>();
  c.add<adapters::lamda>().add<adapters::aflora>();
  return c;
}

}  // namespace tersor::pipeline
