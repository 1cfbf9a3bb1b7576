// tersor - linears for the tests of checkpoint layouts, written and read again
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/random.hpp>
#include <tersor/io/every_layout.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor::test {

/// What the grid of a random operator is like.
struct grid_sample {
  int bits = 4;
  index_t group_size = 32;
  bool symmetric = false, act_order = false, one_unit = false;
  dtype scale_type = dtype::f16;
};

/// Random codes and scales; zero points are at least 1, as v1 of GPTQ wants.
inline op::quantized quantized_sample(index_t rows, index_t cols, const grid_sample& s,
                                      std::uint64_t seed = 1) {
  random_generator random(seed);
  const index_t groups = cols / s.group_size + (cols % s.group_size != 0), units = s.one_unit ? 1 : rows;
  const auto levels = static_cast<std::uint64_t>(1) << s.bits;
  matrix<std::uint8_t> codes(rows, cols);
  for (auto& q : codes.values()) q = static_cast<std::uint8_t>(random.uniform_index(levels));
  matrix<float> scale(units, groups), zero(units, groups);
  for (float& x : scale.values())
    x = round_to(s.scale_type, static_cast<float>(0.01 + 0.02 * random.uniform()));
  for (float& z : zero.values())
    z = s.symmetric ? static_cast<float>(levels / 2)
                    : static_cast<float>(1 + random.uniform_index(std::max<std::uint64_t>(levels - 1, 1)));
  if (s.bits == 1 && !s.symmetric)
    for (float& z : zero.values()) z = static_cast<float>(random.uniform_index(2));
  std::vector<std::int32_t> g_idx;
  if (s.act_order)
    for (index_t j = 0; j < cols; ++j)
      g_idx.push_back(static_cast<std::int32_t>((cols - 1 - j) / s.group_size));
  return {codes, op::affine_grid(s.bits, rows, cols, s.group_size, scale.view(), zero.view(), s.scale_type,
                                 std::move(g_idx))};
}

/// A folder with linears as `writer` lays them out.
inline void write_linears(const temporary_folder& folder, const io::linear_writer& writer,
                          const std::vector<std::pair<std::string, op::any_operator>>& linears,
                          const std::vector<std::string>& dense = {}) {
  io::safetensors_writer file;
  io::linear_notes notes{{}, dense};
  for (const auto& [name, op] : linears) notes.compressed.emplace_back(name, writer.write(file, name, op));
  file.write(folder / "model.safetensors");
  folder.file("config.json", io::ordered_json{{"quantization_config", writer.settings(notes)}}.dump());
}
/// The linear NAME of a folder, read as its settings say.
inline op::any_operator read_linear(const temporary_folder& folder, const std::string& name = "a.b") {
  const io::checkpoint files(folder.path());
  const auto layout = io::layout_of(files);
  REQUIRE(layout->holds(files, name));
  for (const auto tensor : files.names()) {
    const auto tensors = layout->tensors(files, name);
    CHECK((std::find(tensors.begin(), tensors.end(), tensor) != tensors.end() || !tensor.starts_with(name)));
  }
  return layout->read(files, name);
}
/// What the linear is after it was written and read.
inline op::any_operator round_trip(const io::linear_writer& writer, const op::any_operator& op) {
  const temporary_folder folder;
  write_linears(folder, writer, {{"a.b", op}});
  return read_linear(folder);
}
/// Collects everything of an operator that is stored.
inline std::string stored(const op::any_operator& op) {
  io::safetensors_writer file;
  io::operator_writer operators(file);
  operators.add("x", op);
  operators.finish();
  const temporary_folder folder;
  file.write(folder / "x.safetensors");
  return io::read_text_file(folder / "x.safetensors");
}
/// Writes the file of `folder` again with one tensor changed or, where it is given no shape, left out.
inline void replace_tensor(const temporary_folder& folder, const std::string& name, dtype type,
                           std::vector<index_t> shape, std::vector<std::byte> bytes, bool leave_out = false) {
  io::safetensors_writer file;
  {
    const io::checkpoint files(folder.path());
    for (const auto tensor : files.names()) {
      if (tensor == name) continue;
      const auto& e = files.entry(tensor);
      const auto b = files.bytes(tensor);
      file.add(e.name, e.dtype, e.shape, std::vector<std::byte>(b.begin(), b.end()));
    }
  }
  if (!leave_out) file.add(name, type, std::move(shape), std::move(bytes));
  file.write(folder / "model.safetensors");
}
inline void remove_tensor(const temporary_folder& folder, const std::string& name) {
  replace_tensor(folder, name, dtype::u8, {}, {}, true);
}
/// Merges `changes` into the settings of a folder.
inline void change_settings(const temporary_folder& folder, const io::json& changes) {
  auto config = io::read_json_file(folder / "config.json");
  config["quantization_config"].merge_patch(changes);
  folder.file("config.json", config.dump());
}
inline std::string read_error(const temporary_folder& folder, const std::string& name = "a.b") {
  return error_of([&] { read_linear(folder, name); });
}
/// What `writer` says of a linear "a.b" that it does not hold.
inline std::string refusal(const io::linear_writer& writer, const op::any_operator& op) {
  io::safetensors_writer file;
  return error_of([&] { writer.write(file, "a.b", op); });
}
template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto b = std::as_bytes(std::span(values));
  return {b.begin(), b.end()};
}

/// Random E2M1 codes in blocks of NVFP4 (16) or MXFP4 (32).
inline op::codebook fp4_sample(index_t rows, index_t cols, bool nvidia) {
  random_generator random(9);
  matrix<std::uint8_t> codes(rows, cols);
  for (auto& q : codes.values()) q = static_cast<std::uint8_t>(random.uniform_index(16));
  const index_t blocks = rows * cols / (nvidia ? 16 : 32);
  real_array scales(nvidia ? dtype::f8_e4m3 : dtype::f8_e8m0, blocks);
  for (index_t i = 0; i < blocks; ++i)
    scales.set(
        i, nvidia ? f8_e4m3(static_cast<float>(1 + i % 400)) : std::ldexp(1.0F, static_cast<int>(i % 9) - 4));
  return {codes, io::detail::e2m1_levels(), nvidia ? 16 : 32,
          nvidia ? op::block_scales::factored(scales, 1.0F / 1024) : op::block_scales::plain(scales)};
}

/// A folder of compressed-tensors with the tensors of a linear "a.b" and one scheme for all.
struct raw_linear {
  temporary_folder folder;
  io::safetensors_writer file;
  io::json settings;
  raw_linear(const std::string& format, io::json weights)
      : settings{
            {"quant_method", "compressed-tensors"},
            {"format", format},
            {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", std::move(weights)}}}}}} {}
  template <class T>
  void add(const std::string& part, std::vector<index_t> shape, const std::vector<T>& values) {
    file.add("a.b." + part, dtype_of<T>, std::move(shape), bytes_of(values));
  }
  void write() {
    file.write(folder / "model.safetensors");
    folder.file("config.json", io::json{{"quantization_config", settings}}.dump());
  }
};

}  // namespace tersor::test
