// tersor - fuzz target: linears of other tools' checkpoints, config.json and weights in one
// SPDX-License-Identifier: MIT
#include <algorithm>

#include <tersor/io/every_layout.hpp>

#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"

namespace tersor::fuzz {

void layouts(std::string_view bytes) {
  const std::size_t line = std::min(bytes.find('\n'), bytes.size()), rest = std::min(line + 1, bytes.size());
  const auto folder = memory_file("config.json", bytes.substr(0, line)).parent_path();
  memory_file("model.safetensors", bytes.substr(rest));
  const io::checkpoint files(folder);
  const auto layout = io::layout_of(files);
  for (const auto& name : layout->linears(files)) {
    for (const auto& tensor : layout->tensors(files, name)) touch(files.bytes(tensor));
    const auto op = layout->read(files, name);
    if (op.rows() <= 256 && op.cols() <= 256) touch(std::as_bytes(op.to_dense().values()));
  }
}

}  // namespace tersor::fuzz
