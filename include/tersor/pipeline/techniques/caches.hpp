// tersor - the codecs and policies of caches of this library, for the catalog
// SPDX-License-Identifier: MIT
#pragma once

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
#include <tersor/pipeline/catalog.hpp>

namespace tersor::pipeline {

inline void add_caches(catalog& c) {
  c.add<kv::full>().add<kv::random>().add<kv::streaming>().add<kv::h2o>().add<kv::tova>();
  c.add<kv::snapkv>().add<kv::pyramid>().add<kv::adakv>().add<kv::expected>();
  c.add<kv::keydiff>().add<kv::knorm>().add<kv::quest>();
  c.add<kv::dense>().add<kv::kivi>().add<kv::gear>().add<kv::group>().add<kv::bfp>();
}

}  // namespace tersor::pipeline
