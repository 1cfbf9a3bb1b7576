// tersor - tests of the safetensors writer, and of files that are written and read
// SPDX-License-Identifier: MIT
#include <tersor/io/safetensors_writer.hpp>

#include <random>

#if __has_include(<sys/resource.h>)
#include <sys/resource.h>
#include <csignal>
#endif

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace safetensors_writer_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;
using tersor::test::u64;

// Golden bytes: the format's README and the reference writer's own tests.
TEST_CASE("safetensors writer: golden bytes") {
  const temporary_folder folder;
  const auto path = folder / "golden.safetensors";
  SECTION("no tensors") {
    const safetensors_writer writer;
    writer.write(path);
    CHECK(read_text_file(path) == u64(8) + "{}      ");
    CHECK(writer.file_size() == 16);
    CHECK(safetensors_file(path).tensors().empty());
  }
  SECTION("one F32 tensor [1, 2, 3]") {
    const std::vector<float> values{0, 1, 2, 3, 4, 5};
    safetensors_writer writer;
    writer.add("attn.0", dtype::f32, {1, 2, 3}, std::as_bytes(std::span(values)));
    writer.write(path);
    const std::string bytes = read_text_file(path);
    CHECK(bytes.substr(0, 72) ==
          u64(64) + R"({"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}})");
    CHECK(std::memcmp(bytes.data() + 72, values.data(), 24) == 0);
    CHECK(bytes.size() == 96);
    CHECK(writer.file_size() == 96);
    CHECK(safetensors_file(path).read_tensor<float>("attn.0") == values);
  }
}

TEST_CASE("safetensors writer: order, alignment, exact size, metadata") {
  const temporary_folder folder;
  const auto path = folder / "x.safetensors";
  const std::vector<std::uint8_t> bytes{1, 2, 3};
  const std::vector<bf16> halves{bf16(1.0F), bf16(2.0F), bf16(3.0F)};
  const std::vector<double> doubles{1.5};
  safetensors_writer writer;
  writer.add("b", dtype::u8, {3}, std::as_bytes(std::span(bytes)));
  writer.add("a", dtype::u8, {3, 1}, std::as_bytes(std::span(bytes)));
  writer.add("h", dtype::bf16, {3}, std::as_bytes(std::span(halves)));
  writer.add("scalar", dtype::f64, {}, std::as_bytes(std::span(doubles)));
  writer.add("empty", dtype::f32, {2, 0}, std::vector<std::byte>{});
  writer.metadata("format", "pt");
  writer.metadata("quote", "\"\n\\ \xE2\x9C\x93");
  writer.write(path);
  CHECK(std::filesystem::file_size(path) == writer.file_size());
  CHECK(folder.count() == 1);

  const safetensors_file file(path);
  CHECK(file.file_bytes() == writer.file_size());
  CHECK(file.data_bytes() == 8 + 0 + 6 + 3 + 3);
  CHECK(file.names() == std::vector<std::string_view>{"scalar", "empty", "h", "a", "b"});
  CHECK(file.metadata() ==
        std::map<std::string, std::string>{{"format", "pt"}, {"quote", "\"\n\\ \xE2\x9C\x93"}});
  for (const tensor_entry& t : file.tensors())
    CHECK(reinterpret_cast<std::uintptr_t>(file.bytes(t.name).data()) %
              (static_cast<std::size_t>(bits_of(t.dtype)) / 8) ==
          0);
  CHECK(file.read_tensor<double>("scalar") == doubles);
  CHECK(file.read_tensor<std::uint8_t>("a") == bytes);
  CHECK(file.read_vector<float>("h") == std::vector<float>{1, 2, 3});
  CHECK(file.read_matrix<float>("empty").rows() == 2);
  CHECK(file.read_matrix<float>("empty").cols() == 0);
}

TEST_CASE("safetensors writer: the bytes do not depend on the order of adding") {
  const temporary_folder folder;
  const std::vector<std::uint8_t> data(64, 7);
  const std::vector<std::pair<std::string, dtype>> tensors{
      {"z", dtype::u8}, {"a", dtype::i64}, {"m", dtype::f16}, {"k", dtype::f16}, {"q", dtype::f32}};
  std::string first;
  for (std::size_t shift = 0; shift < tensors.size(); ++shift) {
    safetensors_writer writer;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto& [name, type] = tensors[(i + shift) % tensors.size()];
      writer.add(name, type, {4},
                 std::as_bytes(std::span(data)).first(static_cast<std::size_t>(bits_of(type)) / 2));
    }
    writer.write(folder / "x.safetensors");
    const std::string bytes = read_text_file(folder / "x.safetensors");
    if (shift == 0) first = bytes;
    CHECK(bytes == first);
  }
}

TEST_CASE("safetensors writer: refuses what no reader would accept") {
  const std::vector<std::byte> eight(8);
  safetensors_writer writer;
  writer.add("x", dtype::f32, {2}, eight);
  CHECK(holds(error_of([&] { writer.add("x", dtype::f32, {2}, eight); }), {"x", "once"}));
  CHECK(holds(error_of([&] { writer.add("y", dtype::f32, {3}, eight); }), {"y", "8 bytes", "12 bytes"}));
  CHECK(holds(error_of([&] { writer.add("y", dtype::f32, {-2}, eight); }), {"y", "[-2]"}));
  CHECK(
      holds(error_of([&] { writer.add("y", dtype::f4, {3}, eight); }), {"y", "F4", "whole number of bytes"}));
  CHECK(holds(error_of([&] { writer.add("__metadata__", dtype::f32, {2}, eight); }), {"reserved"}));
  CHECK(holds(error_of([&] { writer.add("\xff", dtype::f32, {2}, eight); }), {"UTF-8"}));
  CHECK(holds(error_of([&] { writer.metadata("key", "\x80"); }), {"key", "UTF-8"}));
  writer.metadata("key", "value");
  CHECK(holds(error_of([&] { writer.metadata("key", "value"); }), {"key", "once"}));
  CHECK(holds(error_of([&] { writer.write("/nowhere/at/all/x.safetensors"); }),
              {"/nowhere/at/all/x.safetensors"}));
}

TEST_CASE("safetensors writer: no header longer than readers accept") {
  const temporary_folder folder;
  safetensors_writer writer;
  writer.metadata("k", std::string(safetensors_max_header, 'x'));
  CHECK(holds(error_of([&] { writer.write(folder / "x"); }), {"header of 1000000", "at most 100000000"}));
  CHECK(folder.count() == 0);
}

TEST_CASE("safetensors writer: a failed write leaves nothing and keeps the old file") {
  const std::vector<std::byte> megabyte(1 << 20);
  safetensors_writer writer;
  writer.add("x", dtype::u8, {1 << 20}, megabyte);
#if __has_include(<sys/resource.h>)
  SECTION("file size limit") {
    const temporary_folder folder;
    const auto path = folder.file("x.safetensors", "old");
    rlimit saved{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &saved) == 0);
    rlimit small = saved;
    small.rlim_cur = 1 << 19;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const std::string e = error_of([&] { writer.write(path); });
    REQUIRE(setrlimit(RLIMIT_FSIZE, &saved) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK(holds(e, {"x.safetensors", "all bytes to be written"}));
    CHECK(read_text_file(path) == "old");
    CHECK(folder.count() == 1);
  }
#endif
  SECTION("a device without space") {
    if (!std::filesystem::exists("/dev/full")) return;
    CHECK(holds(error_of([&] { writer.write("/dev/full"); }), {"/dev/full", "No space left"}));
    CHECK(std::filesystem::is_character_file("/dev/full"));
    safetensors_writer tiny;  // fails only when the buffer is flushed
    CHECK(holds(error_of([&] { tiny.write("/dev/full"); }), {"/dev/full", "No space left"}));
  }
  SECTION("a folder in its place") {
    const temporary_folder folder;
    CHECK(holds(error_of([&] { writer.write(folder.path()); }), {folder.path().string()}));
    CHECK(folder.count() == 0);
  }
}

TEST_CASE("safetensors writer: follows a symbolic link instead of replacing it") {
  const temporary_folder folder;
  folder.file("real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  safetensors_writer().write(folder / "link");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(read_text_file(folder / "real") == u64(8) + "{}      ");
}

TEST_CASE("safetensors: random files come back bit for bit") {
  const temporary_folder folder;
  std::mt19937 random(7);
  for (int round = 0; round < 30; ++round) {
    safetensors_writer writer;
    std::map<std::string, std::pair<tensor_entry, std::vector<std::byte>>> expected;
    const unsigned count = random() % 8;
    for (unsigned n = 0; n < count; ++n) {
      const dtype_info& d = dtypes[random() % dtypes.size()];
      tensor_entry e{.name = "t" + std::to_string(random()), .dtype = d.type, .shape = {}};
      for (unsigned k = random() % 4; k > 0; --k)
        e.shape.push_back(static_cast<tersor::index_t>(random() % 5));
      e.shape.push_back(8);  // whole bytes for the sub-byte types
      std::vector<std::byte> bytes(static_cast<std::size_t>(e.elements() * d.bits / 8));
      for (std::byte& b : bytes) b = static_cast<std::byte>(random());
      if (!expected.emplace(e.name, std::pair(e, bytes)).second) continue;
      writer.add(e.name, d.type, e.shape, std::move(bytes));
    }
    writer.write(folder / "x");
    CHECK(std::filesystem::file_size(folder / "x") == writer.file_size());
    const safetensors_file file(folder / "x");
    CHECK(file.tensors().size() == expected.size());
    CHECK((file.file_bytes() - file.data_bytes()) % 8 == 0);
    for (const auto& [name, pair] : expected) {
      CHECK(file.entry(name).dtype == pair.first.dtype);
      CHECK(file.entry(name).shape == pair.first.shape);
      const auto bytes = file.bytes(name);
      CHECK(std::equal(bytes.begin(), bytes.end(), pair.second.begin(), pair.second.end()));
    }
  }
}

}  // namespace safetensors_writer_tests
