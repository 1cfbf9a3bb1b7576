// tersor - the adapters of this library, for the catalog
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
#include <tersor/pipeline/catalog.hpp>

namespace tersor::pipeline {

inline void add_adapters(catalog& c) {
  c.add<adapters::lora>().add<adapters::dora>().add<adapters::pissa>().add<adapters::olora>();
  c.add<adapters::vera>().add<adapters::adalora>().add<adapters::loha>().add<adapters::lokr>();
  c.add<adapters::ia3>().add<adapters::oft>().add<adapters::bone>().add<adapters::bat>();
  c.add<adapters::lamda>().add<adapters::aflora>();
}

}  // namespace tersor::pipeline
