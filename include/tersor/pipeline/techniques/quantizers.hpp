// tersor - the quantizers of this library, for the catalog
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/pipeline/catalog.hpp>
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

inline void add_quantizers(catalog& c) {
  c.add<quant::rtn>().add<quant::gptq>().add<quant::awq>().add<quant::smoothquant>().add<quant::w8a8>();
  c.add<quant::nf4>().add<quant::ggml_blocks>().add<quant::loftq>().add<quant::lqlora>();
}

}  // namespace tersor::pipeline
