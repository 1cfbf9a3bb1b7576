// tersor - tests of the safetensors reader and writer
// SPDX-License-Identifier: MIT
#include <tersor/io/safetensors.hpp>

#include <cmath>
#include <random>

#if __has_include(<sys/resource.h>)
#include <sys/resource.h>
#include <csignal>
#endif

#include "catch.hpp"
#include "io/temporary_folder.hpp"

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;
using tersor::test::u64;

namespace {

std::string with_header(std::string_view header, std::string_view data = "") {
  return u64(header.size()) + std::string(header) + std::string(data);
}
std::string zeros(std::size_t n) { return std::string(n, '\0'); }

/// Opens a file with these bytes and returns the error, "" if it is accepted.
std::string verdict(std::string_view bytes) {
  const temporary_folder folder;
  const auto path = folder.file("case.safetensors", bytes);
  const std::string e = error_of([&] { safetensors_file file(path); });
  if (!e.empty()) CHECK(holds(e, {"case.safetensors"}));  // every error names the file
  return e;
}

}  // namespace

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

TEST_CASE("safetensors reader: accepts what the format allows") {
  CHECK(verdict(u64(2) + "{}").empty());
  CHECK(verdict(with_header("{}   ")).empty());
  CHECK(verdict(with_header(R"({"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", zeros(4))).empty());
  CHECK(verdict(with_header(R"({"x":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}})")).empty());
  CHECK(
      verdict(with_header(R"({"x":{"dtype":"F64","shape":[1,0,9223372036854775807],"data_offsets":[0,0]}})"))
          .empty());
  CHECK(verdict(with_header(R"({"x":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})", zeros(1))).empty());
  CHECK(verdict(with_header(R"({"x":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}})", zeros(3)))
            .empty());
  CHECK(verdict(with_header(R"({"x":{"data_offsets":[0,1],"shape":[1],"dtype":"U8","more":null}})", zeros(1)))
            .empty());
  CHECK(
      verdict(with_header(R"({"__metadata__":{"a":"b"},"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                          zeros(1)))
          .empty());
  CHECK(verdict(with_header(R"({"__metadata__":null})")).empty());
  // Data in another order than the header, two empty tensors at the same place.
  CHECK(verdict(with_header(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},)"
                            R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                            R"("e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},)"
                            R"("f":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                            zeros(3)))
            .empty());
  for (const dtype_info& d : dtypes) {  // every known type, 8 elements
    const std::size_t bytes = static_cast<std::size_t>(d.bits);
    CHECK(verdict(with_header(concat(R"({"x":{"dtype":")", d.name, R"(","shape":[8],"data_offsets":[0,)",
                                     bytes, "]}}"),
                              zeros(bytes)))
              .empty());
  }
}

TEST_CASE("safetensors reader: refuses broken files and says why") {
  SECTION("length and header") {
    CHECK(holds(verdict(""), {"0 bytes", "at least 8 bytes"}));
    CHECK(holds(verdict("1234567"), {"7 bytes", "at least 8 bytes"}));
    CHECK(holds(verdict(u64(0)), {"begins with '{'"}));
    CHECK(holds(verdict(u64(100'000'001) + "{}"), {"100000001", "at most 100000000"}));
    CHECK(holds(verdict(u64(~0ULL) + "{}"), {"18446744073709551615"}));
    CHECK(holds(verdict(u64(100'000'000) + "{}"), {"cut off"}));
    CHECK(holds(verdict(u64(3) + "{}"), {"10 bytes", "at least 11 bytes", "cut off"}));
    CHECK(holds(verdict(with_header(" {}")), {"begins with '{'"}));
    CHECK(holds(verdict(with_header("[]")), {"begins with '{'"}));
    CHECK(holds(verdict(with_header("\xEF\xBB\xBF{}")), {"begins with '{'"}));
  }
  SECTION("JSON") {
    CHECK(holds(verdict(with_header("{")), {"valid JSON"}));
    CHECK(holds(verdict(with_header("{} x")), {"valid JSON"}));
    CHECK(holds(verdict(with_header(std::string_view("{}\0", 3))), {"valid JSON"}));
    CHECK(holds(verdict(with_header("{\"\xff\":1}")), {"valid JSON", "UTF-8"}));
    CHECK(holds(verdict(with_header("{'x':1}")), {"valid JSON"}));
    CHECK(holds(verdict(with_header("{/**/}")), {"valid JSON"}));
    const std::string x = R"("x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    CHECK(holds(verdict(with_header("{" + x + "," + x + "}")), {"\"x\"", "twice"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})")),
                {"\"dtype\"", "twice"}));
    CHECK(holds(verdict(with_header(R"({"__metadata__":{"a":"1","a":"1"}})")), {"\"a\"", "twice"}));
    CHECK(holds(verdict(with_header(std::string(1000000, '[').insert(0, "{\"a\":"))), {"valid JSON"}));
  }
  SECTION("entries") {
    CHECK(holds(verdict(with_header(R"({"x":7})")), {"x", "an object"}));
    CHECK(holds(verdict(with_header(R"({"x":null})")), {"x", "an object"}));
    CHECK(holds(verdict(with_header(R"({"x":{"shape":[0],"data_offsets":[0,0]}})")), {"x", "dtype"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","data_offsets":[0,0]}})")), {"x", "shape"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[0]}})")), {"x", "data_offsets"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"F31","shape":[0],"data_offsets":[0,0]}})")),
                {"x", "F31", "known dtype"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"f32","shape":[0],"data_offsets":[0,0]}})")),
                {"x", "f32"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":5,"shape":[0],"data_offsets":[0,0]}})")),
                {"x", "dtype", "a string"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})")),
                {"x", "[-1]"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[0.0],"data_offsets":[0,0]}})")),
                {"x", "shape", "integer"}));
    CHECK(holds(
        verdict(with_header(R"({"x":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0]}})")),
        {"x", "shape"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":3,"data_offsets":[0,0]}})")),
                {"x", "shape", "an array"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "1")),
                {"x", "two"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", "1")),
                {"x", "two"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", "1")),
                {"x", "data_offsets", "-1"}));
    CHECK(holds(verdict(with_header(R"({"__metadata__":{"a":1}})")), {"__metadata__", "\"a\"", "a string"}));
    CHECK(holds(verdict(with_header(R"({"__metadata__":[]})")), {"__metadata__", "an object"}));
  }
  SECTION("tiling") {
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "12")),
                {"x", "[1, 2]", "begin at 0", "hole"}));
    CHECK(holds(
        verdict(with_header(
            R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
            "123")),
        {"y", "begin at 1", "hole"}));
    CHECK(holds(
        verdict(with_header(
            R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
            "123")),
        {"y", "begin at 2", "overlap"}));
    CHECK(holds(
        verdict(with_header(
            R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
            "1")),
        {"y", "overlap"}));
    CHECK(holds(
        verdict(with_header(
            R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}})",
            "12")),
        {"y", "end not before"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", zeros(4))),
                {"x", "8 bytes", "F32 [2]", "not 4"}));
    CHECK(holds(
        verdict(with_header(R"({"x":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})")),
        {"x", "2^64"}));
    CHECK(holds(
        verdict(with_header(R"({"x":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})")),
        {"x", "2^64"}));
    CHECK(holds(verdict(with_header(
                    R"({"x":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})")),
                {"x", "2^64"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", "1")),
                {"x", "12 bits"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"F6_E3M2","shape":[2],"data_offsets":[0,2]}})", "12")),
                {"x", "12 bits"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "12")),
                {"2 bytes of data", "left over"}));
    CHECK(holds(verdict(with_header(R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "1")),
                {"1 bytes of data", "cut off"}));
    CHECK(holds(verdict(with_header("{}", "1")), {"left over"}));
    CHECK(holds(
        verdict(with_header(
            R"({"x":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}})")),
        {"x"}));
  }
  SECTION("no file") {
    const temporary_folder folder;
    CHECK(holds(error_of([&] { safetensors_file file(folder / "none"); }), {"none", "an existing file"}));
    CHECK(holds(error_of([&] { safetensors_file file(folder.path()); }), {"a regular file"}));
  }
}

// Every prefix of a valid file, and the file with a byte more, is refused.
TEST_CASE("safetensors reader: any cut is noticed") {
  const temporary_folder folder;
  const std::vector<std::uint16_t> values{1, 2, 3};
  safetensors_writer writer;
  writer.add("x", dtype::u16, {3}, std::as_bytes(std::span(values)));
  writer.write(folder / "x");
  const std::string bytes = read_text_file(folder / "x");
  REQUIRE(verdict(bytes).empty());
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(verdict(bytes.substr(0, n)).empty());
  CHECK_FALSE(verdict(bytes + '\0').empty());
}

// A flipped bit either is refused or gives a file that can be read completely: no crash, no read past the
// end.
TEST_CASE("safetensors reader: damaged headers never read out of bounds") {
  const temporary_folder folder;
  const std::vector<float> values{1, 2, 3, 4};
  safetensors_writer writer;
  writer.add("a", dtype::f32, {2, 1}, std::as_bytes(std::span(values)).first(8));
  writer.add("b", dtype::f32, {2}, std::as_bytes(std::span(values)).last(8));
  writer.metadata("k", "v");
  writer.write(folder / "x");
  const std::string bytes = read_text_file(folder / "x");
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < bytes.size() - 16; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      const auto path = folder.file("damaged", damaged);
      try {
        const safetensors_file file(path);
        std::size_t total = 0;
        for (const tensor_entry& t : file.tensors()) total += file.bytes(t.name).size();
        CHECK(total == file.data_bytes());
        ++accepted;
      } catch (const tersor::error&) {
      }
    }
  CHECK(accepted > 0);  // a changed letter of a name is a valid file
}

TEST_CASE("safetensors reader: conversions and unaligned data") {
  const temporary_folder folder;
  const auto bytes_of = [](const auto& values) {
    return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
  };
  const auto open = [&](std::string_view type, std::size_t count, const std::string& data) {
    // The header's length is odd and a byte lies before the tensor, so that its data are not aligned.
    std::string header =
        concat(R"({"first":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":")", type,
               R"(","shape":[)", count, R"(],"data_offsets":[1,)", 1 + data.size(), "]}}");
    if (header.size() % 2 == 1) header += ' ';
    return safetensors_file(folder.file("x", with_header(header, "!" + data)));
  };
  const std::vector<float> f{0.5F, -1.25F, 3.0F, 65504.0F};
  const std::vector<double> d{0.5, -1.25, 3.0, 65504.0};
  const std::vector<f16> h{f16(0.5F), f16(-1.25F), f16(3.0F), f16(65504.0F)};
  CHECK(open("F32", 4, bytes_of(f)).read_vector<float>("x") == f);
  CHECK(open("F32", 4, bytes_of(f)).read_vector<double>("x") == d);
  CHECK(open("F64", 4, bytes_of(d)).read_vector<float>("x") == f);
  CHECK(open("F16", 4, bytes_of(h)).read_vector<float>("x") == f);
  CHECK(open("F16", 4, bytes_of(h)).read_vector<double>("x") == d);
  CHECK(open("BF16", 1, "\x80\x3f").read_vector<float>("x") == std::vector<float>{1.0F});
  CHECK(open("F32", 4, bytes_of(f)).read_vector<bf16>("x")[1].bits == bf16(-1.25F).bits);
  CHECK(open("F64", 4, bytes_of(d)).read_vector<f16>("x")[3].bits == h[3].bits);

  const std::vector<std::int64_t> wide{-1, 0, 300, 5};
  CHECK(open("I64", 4, bytes_of(wide)).read_vector<std::int32_t>("x") ==
        std::vector<std::int32_t>{-1, 0, 300, 5});
  CHECK(open("I64", 4, bytes_of(wide)).read_vector<float>("x") == std::vector<float>{-1, 0, 300, 5});
  CHECK(holds(error_of([&] { open("I64", 4, bytes_of(wide)).read_vector<std::int8_t>("x"); }),
              {"x[2]", "300", "I8"}));
  CHECK(holds(error_of([&] { open("I64", 4, bytes_of(wide)).read_vector<std::uint64_t>("x"); }),
              {"x[0]", "-1", "U64"}));
  CHECK(holds(error_of([&] { open("F32", 4, bytes_of(f)).read_vector<int>("x"); }),
              {"x", "F32", "integer type"}));
  CHECK(open("BOOL", 3, std::string("\0\1\1", 3)).read_vector<std::uint8_t>("x") ==
        std::vector<std::uint8_t>{0, 1, 1});
  CHECK(open("U8", 2, "\xff\x01").read_vector<float>("x") == std::vector<float>{255, 1});
  CHECK(open("I8", 2, "\xff\x01").read_vector<float>("x") == std::vector<float>{-1, 1});
  CHECK(open("U16", 1, "\xff\xff").read_vector<int>("x") == std::vector<int>{65535});
  CHECK(holds(error_of([&] { open("F8_E4M3", 2, "12").read_vector<float>("x"); }), {"x", "F8_E4M3"}));
  CHECK(open("F8_E4M3", 2, "12").bytes("x").size() == 2);
}

TEST_CASE("safetensors reader: names, ranks, nearest name") {
  const temporary_folder folder;
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const auto bytes = std::as_bytes(std::span(values));
  safetensors_writer writer;
  writer.add("model.norm.weight", dtype::f32, {6}, bytes);
  writer.add("model.embed_tokens.weight", dtype::f32, {2, 3}, bytes);
  writer.add("conv", dtype::f32, {1, 2, 3}, bytes);
  writer.write(folder / "x");
  safetensors_file opened(folder / "x");
  const safetensors_file file = std::move(opened);  // the mapping survives a move
  CHECK(file.contains("conv"));
  CHECK_FALSE(file.contains("conv2"));
  CHECK(file.entry("conv").shape == std::vector<tersor::index_t>{1, 2, 3});
  CHECK(file.entry("conv").elements() == 6);
  const matrix<float> m = file.read_matrix<float>("model.embed_tokens.weight");
  CHECK(m.rows() == 2);
  CHECK(m(1, 0) == 4);
  CHECK(holds(error_of([&] { file.entry("embed_tokens.weight"); }),
              {"embed_tokens.weight", "did you mean \"model.embed_tokens.weight\"?"}));
  CHECK(holds(error_of([&] { file.read_matrix<float>("conv"); }), {"conv", "[1, 2, 3]", "rank 2"}));
  CHECK(holds(error_of([&] { file.read_vector<float>("conv"); }), {"conv", "rank 1"}));
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
    for (const auto& [name, pair] : expected) {
      CHECK(file.entry(name).dtype == pair.first.dtype);
      CHECK(file.entry(name).shape == pair.first.shape);
      const auto bytes = file.bytes(name);
      CHECK(std::equal(bytes.begin(), bytes.end(), pair.second.begin(), pair.second.end()));
    }
  }
}
