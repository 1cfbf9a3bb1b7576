// tersor - fuzz target: safetensors files, and operators in them
// SPDX-License-Identifier: MIT
#include <tersor/io/operator_archive.hpp>

#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"

namespace tersor::fuzz {

void safetensors(std::string_view bytes) {
  const io::checkpoint files(memory_file("model.safetensors", bytes));
  for (const auto& file : files.files())
    for (const auto& t : file.tensors()) touch(file.bytes(t.name));
  const io::operator_reader operators(files);
  for (const auto& [name, description] : operators.descriptions()) {
    const auto op = operators.read(name);
    // a file of a few bytes may describe a large operator (all zeros in compressed rows): nothing dense of it
    // then
    if (op.rows() <= 256 && op.cols() <= 256) touch(std::as_bytes(op.to_dense().values()));
  }
}

}  // namespace tersor::fuzz
