// tersor - every header but the xtensor adapter; written by docs/tools/umbrella.sh
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/tersor.hpp>

#include <tersor/io/file.hpp>
#include <tersor/io/json.hpp>
#include <tersor/io/safetensors.hpp>
#include <tersor/io/tokenizer.hpp>
#include <tersor/io/unicode_classes.hpp>
