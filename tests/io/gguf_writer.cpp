// tersor - tests of the GGUF writer: against the reader, and byte by byte
// SPDX-License-Identifier: MIT
#include <tersor/io/gguf_writer.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace gguf_writer_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;
using tersor::test::u64;

namespace {

std::vector<std::byte> counted(std::size_t n) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

gguf_writer sample() {
  gguf_writer out;
  out.set("general.architecture", "llama");
  out.set("k.bool", true);
  out.set("k.u8", std::uint8_t{1});
  out.set("k.i8", std::int8_t{-1});
  out.set("k.u16", std::uint16_t{2});
  out.set("k.i16", std::int16_t{-2});
  out.set("k.u32", std::uint32_t{3});
  out.set("k.i32", std::int32_t{-3});
  out.set("k.u64", std::uint64_t{4});
  out.set("k.i64", std::int64_t{-4});
  out.set("k.f32", 0.5F);
  out.set("k.f64", 0.25);
  out.set("k.words", std::vector<std::string>{"a", "", "c"});
  out.set("k.flags", std::vector<bool>{true, false});
  out.set("k.numbers", std::vector<std::int32_t>{1, -2});
  out.set("k.nothing", std::vector<float>{});
  out.add("m", ggml_type::f32, {3, 2});
  out.add("q", ggml_type::q8_0, {2, 32});
  out.add("h", ggml_type::f16, {1});
  return out;
}

}  // namespace

TEST_CASE("gguf writer: the bytes of a small file") {
  const temporary_folder folder;
  gguf_writer out;
  out.set("k", std::uint32_t{5});
  out.add("t", ggml_type::f32, {2, 1});
  out.write(folder / "a.gguf",
            [](const gguf_tensor& t) { return counted(static_cast<std::size_t>(t.size)); });
  std::string expected = std::string("GGUF\3\0\0\0", 8) + u64(1) + u64(1);
  expected += u64(1) + "k" + std::string("\4\0\0\0\5\0\0\0", 8);
  expected +=
      u64(1) + "t" + std::string("\2\0\0\0", 4) + u64(1) + u64(2) + std::string("\0\0\0\0", 4) + u64(0);
  expected.resize(96, '\0');
  expected += std::string("\0\1\2\3\4\5\6\7", 8);
  expected.resize(128, '\0');
  CHECK(read_text_file(folder / "a.gguf") == expected);
  CHECK(out.file_size() == expected.size());
}

TEST_CASE("gguf writer: the reader gives back what was written") {
  const temporary_folder folder;
  const auto out = sample();
  std::vector<std::string> asked;
  out.write(folder / "a.gguf", [&](const gguf_tensor& t) {
    asked.push_back(t.name);
    return counted(static_cast<std::size_t>(t.size));
  });
  CHECK(asked == std::vector<std::string>{"m", "q", "h"});
  const gguf_file in(folder / "a.gguf");
  CHECK(in.file_bytes() == out.file_size());
  CHECK(in.get<std::string>("general.architecture") == "llama");
  CHECK(in.get<bool>("k.bool"));
  for (const auto& [key, value] : std::vector<std::pair<const char*, int>>{{"k.u8", 1},
                                                                           {"k.i8", -1},
                                                                           {"k.u16", 2},
                                                                           {"k.i16", -2},
                                                                           {"k.u32", 3},
                                                                           {"k.i32", -3},
                                                                           {"k.u64", 4},
                                                                           {"k.i64", -4}}) {
    CHECK(in.get<int>(key) == value);
    CHECK(name(in.entry(key).type) == std::string_view(key).substr(2));
  }
  CHECK(in.get<float>("k.f32") == 0.5F);
  CHECK(in.get<double>("k.f64") == 0.25);
  CHECK(in.get<std::vector<std::string>>("k.words") == std::vector<std::string>{"a", "", "c"});
  CHECK(in.get<std::vector<bool>>("k.flags") == std::vector<bool>{true, false});
  CHECK(in.get<std::vector<int>>("k.numbers") == std::vector<int>{1, -2});
  CHECK(in.get<std::vector<float>>("k.nothing").empty());
  for (const auto& t : in.tensors()) {
    const auto bytes = in.bytes(t.name);
    CHECK(std::vector<std::byte>(bytes.begin(), bytes.end()) == counted(bytes.size()));
  }
  CHECK(in.tensor("m").shape == std::vector<index_t>{3, 2});
}

TEST_CASE("gguf writer: a file that is read and written again is the same bytes") {
  const temporary_folder folder;
  for (const std::uint32_t alignment : {32U, 8U, 1024U}) {
    auto out = sample();
    if (alignment != 32) out.set("general.alignment", alignment);
    out.write(folder / "a.gguf",
              [](const gguf_tensor& t) { return counted(static_cast<std::size_t>(t.size)); });
    const gguf_file in(folder / "a.gguf");
    CHECK(in.alignment() == alignment);
    gguf_writer again;
    for (const auto& e : in.keys()) again.copy(e);
    for (const auto& t : in.tensors()) again.add(t.name, t.type, t.shape);
    again.write(folder / "b.gguf", [&](const gguf_tensor& t) { return in.bytes(t.name); });
    CHECK(read_text_file(folder / "a.gguf") == read_text_file(folder / "b.gguf"));
  }
}

TEST_CASE("gguf writer: what is wrong is named, and nothing is left") {
  gguf_writer out;
  out.set("k", 1);
  CHECK(out.has("k"));
  CHECK(holds(error_of([&] { out.set("k", 2); }), {"k", "each key once"}));
  CHECK(holds(error_of([&] { out.set("", 2); }), {"GGUF key", "1 to 65535"}));
  CHECK(holds(error_of([&] { out.set("general.alignment", std::uint32_t{12}); }), {"12", "power of two"}));
  CHECK(holds(error_of([&] { out.set("general.alignment", 32); }), {"general.alignment", "i32", "u32"}));
  out.add("t", ggml_type::q4_0, {1, 64});
  CHECK(holds(error_of([&] { out.add("t", ggml_type::f32, {1}); }), {"t", "each name once"}));
  CHECK(holds(error_of([&] { out.add("u", ggml_type::q4_0, {1, 63}); }), {"u", "63", "32"}));
  CHECK(holds(error_of([&] { out.add("u", ggml_type::f32, {1, 1, 1, 1, 1}); }), {"u: rank", "5"}));
  CHECK(holds(error_of([&] { out.add(std::string(64, 'u'), ggml_type::f32, {1}); }), {"at most 63"}));
  const temporary_folder folder;
  CHECK(holds(error_of([&] { out.write(folder / "a.gguf", [](const gguf_tensor&) { return counted(35); }); }),
              {"t", "35 bytes", "36", "Q4_0"}));
  CHECK(folder.count() == 0);
}

}  // namespace gguf_writer_tests
