// tersor - every header but the xtensor adapter; written by docs/tools/umbrella.sh
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/tersor.hpp>

#include <tersor/io/awq_checkpoint.hpp>
#include <tersor/io/bitsandbytes_checkpoint.hpp>
#include <tersor/io/byte_pairs.hpp>
#include <tersor/io/checkpoint.hpp>
#include <tersor/io/compressed_tensors.hpp>
#include <tersor/io/convert.hpp>
#include <tersor/io/every_layout.hpp>
#include <tersor/io/file.hpp>
#include <tersor/io/gptq_checkpoint.hpp>
#include <tersor/io/json.hpp>
#include <tersor/io/json_parser.hpp>
#include <tersor/io/json_value.hpp>
#include <tersor/io/linear_layout.hpp>
#include <tersor/io/model_files.hpp>
#include <tersor/io/operator_archive.hpp>
#include <tersor/io/output_folder.hpp>
#include <tersor/io/output_journal.hpp>
#include <tersor/io/pattern.hpp>
#include <tersor/io/peft.hpp>
#include <tersor/io/peft_adapter.hpp>
#include <tersor/io/peft_config.hpp>
#include <tersor/io/peft_folder.hpp>
#include <tersor/io/peft_methods.hpp>
#include <tersor/io/pre_tokenizer.hpp>
#include <tersor/io/regex_pattern.hpp>
#include <tersor/io/safetensors.hpp>
#include <tersor/io/safetensors_writer.hpp>
#include <tersor/io/sharded_writer.hpp>
#include <tersor/io/tensor_sink.hpp>
#include <tersor/io/tokenizer.hpp>
#include <tersor/io/unicode_classes.hpp>

#include <tersor/model/block_model.hpp>
#include <tersor/model/decode_evaluation.hpp>
#include <tersor/model/evaluate.hpp>
#include <tersor/model/finetune.hpp>
#include <tersor/model/finetune_checkpoint.hpp>
#include <tersor/model/generate.hpp>
#include <tersor/model/layer_caches.hpp>
#include <tersor/model/layers.hpp>
#include <tersor/model/llama.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/model/llama_config.hpp>
#include <tersor/model/llama_graph.hpp>
#include <tersor/model/peft_model.hpp>
#include <tersor/model/prepare.hpp>

#include <tersor/pipeline/adapter_rules.hpp>
#include <tersor/pipeline/adapter_spec.hpp>
#include <tersor/pipeline/any_stage.hpp>
#include <tersor/pipeline/cache_spec.hpp>
#include <tersor/pipeline/catalog.hpp>
#include <tersor/pipeline/compress.hpp>
#include <tersor/pipeline/every_adapter.hpp>
#include <tersor/pipeline/every_technique.hpp>
#include <tersor/pipeline/format.hpp>
#include <tersor/pipeline/recipe.hpp>
#include <tersor/pipeline/report_json.hpp>
#include <tersor/pipeline/standard_catalog.hpp>
#include <tersor/pipeline/started_adapters.hpp>
