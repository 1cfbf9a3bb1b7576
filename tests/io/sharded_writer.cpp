// tersor - tests of io/sharded_writer.hpp: the same bytes as in memory, shards, interrupted runs
// SPDX-License-Identifier: MIT
#include <tersor/io/checkpoint.hpp>
#include <tersor/io/sharded_writer.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace sharded_writer_tests {

using test::error_of;
using test::holds;
using test::temporary_folder;

/// Tensors of several types, the narrow ones first.
struct sample {
  std::string name;
  dtype type;
  std::vector<std::byte> bytes;
};
std::vector<sample> samples() {
  std::vector<sample> list;
  for (int k = 0; k < 9; ++k) {
    const dtype type = std::array{dtype::u8, dtype::f16, dtype::f32}[static_cast<std::size_t>(k % 3)];
    std::vector<std::byte> bytes(static_cast<std::size_t>((40 + k) * bits_of(type) / 8));
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(i * 7 + static_cast<std::size_t>(k));
    list.push_back({concat("t", 9 - k), type, std::move(bytes)});
  }
  return list;
}
void add(io::tensor_sink& out, const sample& s) {
  out.add(s.name, s.type, {static_cast<index_t>(s.bytes.size()) * 8 / bits_of(s.type)},
          std::span<const std::byte>(s.bytes));
}
/// Every file of a folder with its bytes.
std::map<std::string, std::string> content(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& file : std::filesystem::directory_iterator(folder))
    files[file.path().filename().string()] = io::read_text_file(file.path());
  return files;
}

TEST_CASE("sharded_writer: one file has the bytes of safetensors_writer") {
  const temporary_folder folder, reference;
  io::sharded_writer out(folder.path());
  io::safetensors_writer memory;
  const auto list = samples();
  for (const auto& s : list) {
    add(out, s);
    add(memory, s);
  }
  for (io::tensor_sink* sink : {static_cast<io::tensor_sink*>(&out), static_cast<io::tensor_sink*>(&memory)})
    sink->metadata("key", "value");
  memory.write(reference / "model.safetensors");
  CHECK(out.finish() == memory.file_size());
  CHECK(content(folder.path()).size() == 1);
  CHECK((content(folder.path()) == content(reference.path())));
}

TEST_CASE("sharded_writer: shards stay below their size and the index finds every tensor") {
  for (const std::uint64_t size : {1U, 100U, 250U, 100000U}) {
    const temporary_folder folder;
    io::sharded_writer out(folder.path(), size);
    out.metadata_of_all("format", "pt");
    for (const auto& s : samples()) add(out, s);
    out.finish();
    const io::checkpoint files(folder.path());
    CHECK(files.files().size() == (size == 1 ? 9 : size == 100000 ? 1 : files.files().size()));
    for (const auto& file : files.files()) {
      CHECK((file.data_bytes() <= size || file.tensors().size() == 1));
      CHECK(file.metadata().at("format") == "pt");
    }
    for (const auto& s : samples()) {
      const auto bytes = files.bytes(s.name);
      CHECK(std::vector<std::byte>(bytes.begin(), bytes.end()) == s.bytes);
    }
    for (const auto& [name, text] : content(folder.path())) CHECK(name.starts_with("model"));
  }
}

TEST_CASE("sharded_writer: an interrupted run goes on to the same bytes") {
  const temporary_folder whole;
  io::sharded_writer expected(whole.path(), 200);
  for (const auto& s : samples()) add(expected, s);
  expected.finish();
  const auto list = samples();
  for (std::size_t reported = 0; reported <= list.size(); ++reported)
    for (std::size_t lost = 0; reported + lost <= list.size(); lost += 2) {
      const temporary_folder folder;
      std::vector<io::json> progress;
      {
        io::sharded_writer out(folder.path(), 200);
        for (std::size_t k = 0; k < reported + lost; ++k) {
          add(out, list[k]);
          if (k < reported) progress.push_back(out.take_progress());
        }
        if (lost > 0) out.take_progress();  // a report that was not noted
      }
      io::sharded_writer out(folder.path(), 200);
      out.restore(progress, "journal");
      for (std::size_t k = 0; k < list.size(); ++k) {
        CHECK(out.contains(list[k].name) == (k < reported));
        if (k >= reported) add(out, list[k]);
      }
      out.finish();
      INFO(reported << " finished, " << lost << " lost");
      CHECK(content(folder.path()) == content(whole.path()));
    }
}

TEST_CASE("sharded_writer: a run that ends while it finishes goes on to the same bytes") {
  const auto list = samples();
  for (const std::uint64_t shard_bytes : {0U, 200U}) {
    const temporary_folder whole;
    io::sharded_writer expected(whole.path(), shard_bytes);
    for (const auto& s : list) add(expected, s);
    const auto bytes = expected.finish();
    for (const std::size_t reported : {list.size() / 2, list.size()})
      for (int renamed = 0; renamed <= 9; ++renamed) {
        INFO(shard_bytes << " bytes in a shard, " << reported << " reported, " << renamed << " renamed");
        const temporary_folder folder;
        std::vector<io::json> progress;
        {
          io::sharded_writer out(folder.path(), shard_bytes);
          for (std::size_t k = 0; k < list.size(); ++k) {
            add(out, list[k]);
            if (k < reported) progress.push_back(out.take_progress());
          }
          CHECK(holds(
              error_of([&] { out.finish([](std::uint64_t size) { fail("finish", size, "no end here"); }); }),
              {"finish", std::to_string(bytes)}));
        }
        // as if the end had come before the last of the renames
        std::set<std::filesystem::path> shards;
        for (const auto& [name, text] : content(folder.path()))
          if (name.starts_with("model-")) shards.insert(name);
        int k = 0;
        for (const auto& name : shards)
          if (k++ >= renamed)
            std::filesystem::rename(folder / name.string(),
                                    folder / (".shard-" + name.string().substr(6, 5)));
        io::sharded_writer out(folder.path(), shard_bytes);
        out.restore(progress, "journal");
        for (std::size_t t = reported; t < list.size(); ++t) add(out, list[t]);
        std::uint64_t noted = 0;
        CHECK(out.finish([&](std::uint64_t size) { noted = size; }) == bytes);
        CHECK(noted == bytes);
        CHECK(content(folder.path()) == content(whole.path()));
      }
  }
}

TEST_CASE("sharded_writer: wrong sizes, names that are there twice and lost files are refused") {
  const temporary_folder folder;
  io::sharded_writer out(folder.path());
  const auto list = samples();
  add(out, list[0]);
  CHECK(holds(error_of([&] { add(out, list[0]); }), {"t9", "once"}));
  CHECK(holds(error_of([&] { out.add("x", dtype::f32, {3}, std::span<const std::byte>(list[0].bytes)); }),
              {"x", "40 bytes", "12"}));
  const auto progress = out.take_progress();
  const temporary_folder other;
  io::sharded_writer lost(other.path());
  CHECK(holds(error_of([&] { lost.restore({progress}, "journal"); }), {".tensors-00001", "40"}));
  std::filesystem::resize_file(folder / ".model.safetensors.tensors-00001", 39);
  CHECK(holds(error_of([&] { out.finish(); }), {".tensors-00001", "39", "40 bytes"}));
  io::sharded_writer broken(other.path());
  CHECK(holds(error_of([&] { broken.restore({io::json{{1, 2}}}, "journal"); }), {"journal"}));
}

}  // namespace sharded_writer_tests
}  // namespace tersor
