// tersor - the state of a fine-tuning run in a file, for an interrupted run to go on from
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/io/json.hpp>
#include <tersor/io/safetensors.hpp>
#include <tersor/io/safetensors_writer.hpp>
#include <tersor/model/finetune.hpp>

namespace tersor::model {

// A safetensors file: "tensor/" + name and "optimizer/" + name, f32, "rule/" + name, f64; the metadata has
// the step, the updates of each parameter, and what the run was started with.

/// Writes to a temporary name first, so that an interruption leaves the state before. @param run whatever
/// must be the same for the rest to be the same bits, as text.
inline void save_finetune_state(const finetune_state& s, const std::filesystem::path& path,
                                const std::string& run) {
  io::safetensors_writer file;
  file.metadata("tersor.step", std::to_string(s.optimizer.steps));
  file.metadata("tersor.run", run);
  io::json updates = io::json::object();
  for (const auto& [name, n] : s.optimizer.updates) updates[name] = n;
  file.metadata("tersor.updates", updates.dump());
  const auto add = [&](const std::string& name, index_t rows, index_t cols,
                       std::span<const std::byte> bytes) {
    file.add(name, dtype::f32, {rows, cols}, std::vector<std::byte>(bytes.begin(), bytes.end()));
  };
  for (const auto& [name, value] : s.tensors)
    add("tensor/" + name, value.rows(), value.cols(), std::as_bytes(value.values()));
  for (const auto& t : s.optimizer.tensors) {
    require(t.type == "f32", concat("state of ", t.name), t.type, "f32");
    add("optimizer/" + t.name, t.rows, t.cols, t.bytes);
  }
  for (const auto& [name, values] : s.rule) {
    const auto bytes = std::as_bytes(std::span(values));
    file.add("rule/" + name, dtype::f64, {static_cast<index_t>(values.size())},
             std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  file.write(path);
}

/// Error if the file is of another run.
inline finetune_state load_finetune_state(const std::filesystem::path& path, const std::string& run) {
  const io::safetensors_file file(path);
  const auto field = [&](const char* key) {
    const auto found = file.metadata().find(key);
    require(found != file.metadata().end(), concat(path.string(), ": metadata"), key,
            "the state of a fine-tuning run");
    return found->second;
  };
  require(field("tersor.run") == run, concat(path.string(), ": run"), field("tersor.run"), run,
          ", as this one");
  finetune_state s;
  const auto step = option_text<index_t>::parse(field("tersor.step"));
  require(step && *step >= 0, concat(path.string(), ": step"), field("tersor.step"), "a whole number");
  s.optimizer.steps = *step;
  const auto updates = io::parse_json(field("tersor.updates"), path.string());
  for (const auto& [name, n] : updates.items())
    s.optimizer.updates.emplace_back(name, io::json_as<index_t>::from(n, path.string()));
  for (const auto name : file.names()) {
    const auto& e = file.entry(name);
    if (name.starts_with("rule/")) {
      require(e.dtype == dtype::f64 && e.shape.size() == 1, concat(path.string(), ": ", name),
              tersor::name(e.dtype), "a list of F64");
      auto& values = s.rule[std::string(name.substr(5))];
      values.resize(static_cast<std::size_t>(e.shape[0]));
      std::ranges::copy(file.bytes(name), std::as_writable_bytes(std::span(values)).begin());
      continue;
    }
    require(e.dtype == dtype::f32 && e.shape.size() == 2, concat(path.string(), ": ", name),
            tersor::name(e.dtype), "a matrix of F32");
    const auto bytes = file.bytes(name);
    if (name.starts_with("optimizer/")) {
      s.optimizer.tensors.push_back(
          {std::string(name.substr(10)), "f32", e.shape[0], e.shape[1], {bytes.begin(), bytes.end()}});
    } else if (name.starts_with("tensor/")) {
      matrix<float> value(e.shape[0], e.shape[1]);
      std::ranges::copy(file.read_tensor<float>(name), value.values().begin());
      s.tensors.emplace_back(name.substr(7), std::move(value));
    }
  }
  return s;
}

}  // namespace tersor::model
