// tersor - tests of how much memory the built command needs for a large model
// SPDX-License-Identifier: MIT
#include "command/program.hpp"

namespace tersor {
namespace {

using test::json_of;
using test::small_model;

/// A checkpoint of zeros that takes no room on the disk: `count` linears of 2048 x 2048 in F32.
void write_sparse(const std::filesystem::path& folder, int count) {
  std::filesystem::create_directory(folder);
  constexpr std::uint64_t bytes = 2048ULL * 2048 * 4;
  io::json header = io::json::object();
  for (int k = 0; k < count; ++k)
    header[concat("m.", k, ".weight")] = {
        {"dtype", "F32"},
        {"shape", {2048, 2048}},
        {"data_offsets", {static_cast<std::uint64_t>(k) * bytes, static_cast<std::uint64_t>(k + 1) * bytes}}};
  const std::string text = header.dump();
  io::write_text_file(folder / "model.safetensors", test::u64(text.size()) + text);
  std::filesystem::resize_file(folder / "model.safetensors",
                               8 + text.size() + static_cast<std::uint64_t>(count) * bytes);
}

// AddressSanitizer holds freed memory back for a while, which counts as the program's.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool freed_memory_is_kept = true;
#elif defined(__has_feature)
constexpr bool freed_memory_is_kept = __has_feature(address_sanitizer);
#else
constexpr bool freed_memory_is_kept = false;
#endif

TEST_CASE("command: convert holds one tensor in memory") {
  const small_model files;
  constexpr int count = 24;  // 403 MB, 17 MB each
  write_sparse(files.beside("big"), count);
  const auto j = json_of({"convert", files.beside("big"), files.beside("half"), "--to", "dense", "--dtype",
                          "bf16", "--shard-size", "100MB", "--json"});
  CHECK(j["bytes_before"].get<double>() > 4e8);
  if (!freed_memory_is_kept) CHECK(j["peak_rss_bytes"].get<double>() < 0.4 * j["bytes_before"].get<double>());
  CHECK(io::checkpoint(files.beside("half")).files().size() == 3);
}

}  // namespace
}  // namespace tersor
