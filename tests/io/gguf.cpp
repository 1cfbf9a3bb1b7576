// tersor - tests of the GGUF reader
// SPDX-License-Identifier: MIT
#include <tersor/io/gguf.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace gguf_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;
using tersor::test::u64;

namespace {

// Files are put together byte by byte here: the writer is not what tells us that the reader is right.
std::string u32(std::uint64_t value) { return u64(value).substr(0, 4); }
std::string text(std::string_view s) { return u64(s.size()) + std::string(s); }
std::string key(std::string_view name, std::uint64_t type, std::string_view value) {
  return text(name) + u32(type) + std::string(value);
}
/// Extents in the order of the file: fastest first.
std::string tensor(std::string_view name, const std::vector<std::uint64_t>& extents, std::uint64_t type,
                   std::uint64_t offset) {
  std::string s = text(name) + u32(extents.size());
  for (const auto e : extents) s += u64(e);
  return s + u32(type) + u64(offset);
}
std::string padded(std::string s, std::size_t alignment = 32) {
  s.resize((s.size() + alignment - 1) / alignment * alignment, '\0');
  return s;
}
std::string head(std::uint64_t tensors, std::uint64_t keys, std::uint64_t version = 3) {
  return "GGUF" + u32(version) + u64(tensors) + u64(keys);
}
std::string f32_bytes(float v) {
  std::string s(4, '\0');
  std::memcpy(s.data(), &v, 4);
  return s;
}

constexpr std::uint64_t type_u32 = 4, type_f32 = 6, type_bool = 7, type_string = 8, type_array = 9;

/// Two tensors and a key of every kind; its last byte is data.
std::string sample() {
  std::string s = head(2, 5);
  s += key("general.architecture", type_string, text("llama"));
  s += key("a.count", type_u32, u32(7));
  s += key("a.scale", type_f32, f32_bytes(0.5F));
  s += key("a.flag", type_bool, std::string(1, '\1'));
  s += key("a.words", type_array, u32(type_string) + u64(3) + text("x") + text("") + text("zz"));
  s += tensor("m", {2, 3}, 0, 0) + tensor("q", {32, 2}, 8, 32);
  s = padded(s);
  for (int i = 0; i < 6; ++i) s += f32_bytes(static_cast<float>(i));
  s = padded(s);
  for (int i = 0; i < 68; ++i) s += static_cast<char>(i);
  return padded(s);
}

/// Opens a file with these bytes and returns the error, "" if it is accepted.
std::string verdict(std::string_view bytes) {
  const temporary_folder folder;
  const auto path = folder.file("case.gguf", bytes);
  const std::string e = error_of([&] { gguf_file file(path); });
  if (!e.empty()) CHECK(holds(e, {"case.gguf"}));  // every error names the file
  return e;
}
std::string replaced(std::string s, std::string_view from, std::string_view to) {
  const auto at = s.find(from);
  REQUIRE(at != s.npos);
  return s.replace(at, from.size(), to);
}
/// A file of one tensor and `data` zeros.
std::string one_tensor(const std::string& description, std::size_t data) {
  return padded(head(1, 0) + description) + std::string(data, '\0');
}

}  // namespace

TEST_CASE("gguf reader: keys and tensors of a file made by hand") {
  const temporary_folder folder;
  const gguf_file file(folder.file("a.gguf", sample()));
  CHECK(file.version() == 3);
  CHECK(file.alignment() == 32);
  CHECK(file.get<std::string>("general.architecture") == "llama");
  CHECK(file.get<std::string_view>("general.architecture") == "llama");
  CHECK(file.get<int>("a.count") == 7);
  CHECK(file.get<std::uint8_t>("a.count") == 7);
  CHECK(file.get<float>("a.scale") == 0.5F);
  CHECK(file.get<double>("a.scale") == 0.5);
  CHECK(file.get<bool>("a.flag"));
  CHECK(file.get<std::vector<std::string>>("a.words") == std::vector<std::string>{"x", "", "zz"});
  CHECK(file.get<int>("a.missing", 3) == 3);
  CHECK(file.get<int>("a.count", 3) == 7);
  REQUIRE(file.keys().size() == 5);
  CHECK(file.keys()[4].count == 3);

  REQUIRE(file.tensors().size() == 2);
  const auto& m = file.tensor("m");
  CHECK(m.type == ggml_type::f32);
  CHECK(m.shape == std::vector<index_t>{3, 2});  // slowest axis first
  CHECK(file.bytes("m").size() == 24);
  float last;
  std::memcpy(&last, file.bytes("m").data() + 20, 4);
  CHECK(last == 5.0F);
  CHECK(file.tensor("q").size == 68);
  CHECK(std::to_integer<int>(file.bytes("q")[67]) == 67);
  CHECK_FALSE(file.contains("x"));
}

TEST_CASE("gguf reader: values of the wrong type are named") {
  const temporary_folder folder;
  const gguf_file file(folder.file("a.gguf", sample()));
  CHECK(holds(error_of([&] { file.get<int>("a.cuont"); }), {"a.gguf", "a.cuont", "a.count"}));
  CHECK(holds(error_of([&] { file.get<float>("a.count"); }), {"a.gguf", "a.count", "u32", "f32 or f64"}));
  CHECK(holds(error_of([&] { file.get<int>("a.scale"); }), {"a.scale", "f32", "an integer"}));
  CHECK(holds(error_of([&] { file.get<int>("a.flag"); }), {"a.flag", "bool", "an integer"}));
  CHECK(holds(error_of([&] { file.get<bool>("a.count"); }), {"a.count", "u32", "a bool"}));
  CHECK(holds(error_of([&] { file.get<std::string>("a.words"); }), {"a.words", "array", "a string"}));
  CHECK(holds(error_of([&] { file.get<std::vector<int>>("a.words"); }), {"a.words", "string", "an integer"}));
  CHECK(holds(error_of([&] { file.get<std::vector<int>>("a.count"); }), {"a.count", "u32", "an array"}));
  CHECK(holds(error_of([&] { file.tensor("n"); }), {"a.gguf", "a tensor \"n\""}));
  const gguf_file large(folder.file("b.gguf", head(0, 1) + key("k", 10, u64(~0ULL))));
  CHECK(holds(error_of([&] { large.get<std::int64_t>("k"); }), {"k", "18446744073709551615", "-92233"}));
  CHECK(large.get<std::uint64_t>("k") == ~0ULL);
  const gguf_file negative(folder.file("c.gguf", head(0, 1) + key("k", 1, "\xFF")));
  CHECK(negative.get<int>("k") == -1);
  CHECK(holds(error_of([&] { negative.get<std::uint32_t>("k"); }), {"k", "-1"}));
}

TEST_CASE("gguf reader: every truncation is refused") {
  const std::string whole = sample();
  CHECK(verdict(whole).empty());
  for (std::size_t n = 0; n < whole.size(); ++n) {
    INFO(n);
    REQUIRE_FALSE(verdict(std::string_view(whole).substr(0, n)).empty());
  }
}

TEST_CASE("gguf reader: magic and version") {
  CHECK(holds(verdict(replaced(sample(), "GGUF", "GGUE")), {"begins with \"GGUF\""}));
  CHECK(verdict(head(0, 0)).empty());
  CHECK(verdict(head(0, 0, 2)).empty());
  CHECK(holds(verdict(head(0, 0, 0)), {"version", "byte order"}));
  CHECK(holds(verdict(head(0, 0, 1)), {"version", "1", "2 or 3"}));
  CHECK(holds(verdict(head(0, 0, 4)), {"version", "4", "2 or 3"}));
  CHECK(holds(verdict(head(0, 0, 3U << 24)), {"version", "big-endian"}));
}

TEST_CASE("gguf reader: counts and lengths are checked before memory is taken") {
  CHECK(holds(verdict(head(~0ULL, 0)), {"number of tensors", "-1"}));
  CHECK(holds(verdict(head(0, ~0ULL)), {"number of keys", "-1"}));
  CHECK(holds(verdict(head(1ULL << 62, 0)), {"number of tensors", "at most"}));
  CHECK(holds(verdict(head(0, 1ULL << 62)), {"number of keys", "at most"}));
  CHECK(holds(verdict(head(0, 1) + u64(1ULL << 63) + std::string(30, 'a')), {"name of key 0", "cut off"}));
  const auto array = [](std::uint64_t element, std::uint64_t count) {
    return head(0, 1) + key("k", type_array, u32(element) + u64(count) + std::string(64, '\0'));
  };
  CHECK(verdict(array(type_u32, 16)).empty());
  CHECK(holds(verdict(array(type_u32, 17)), {"case.gguf: k", "17", "at most 16"}));
  CHECK(holds(verdict(array(type_string, 1ULL << 60)), {"case.gguf: k", "at most 8"}));
  CHECK(holds(verdict(array(type_u32, 1ULL << 63)), {"case.gguf: k", "at least 0"}));
  CHECK(holds(verdict(array(type_array, 1)), {"case.gguf: k", "array of arrays"}));
  CHECK(holds(verdict(array(13, 1)), {"k: type", "13"}));
  CHECK(holds(verdict(head(0, 1) + key("k", 13, u64(0))), {"k: type", "13", "0 (u8) to 12 (f64)"}));
}

TEST_CASE("gguf reader: names of keys and tensors") {
  CHECK(holds(verdict(head(0, 2) + key("k", type_u32, u32(1)) + key("k", type_u32, u32(1))),
              {"case.gguf: k", "each key once"}));
  CHECK(holds(verdict(head(0, 1) + key("", type_u32, u32(1))), {"name of key 0", "1 to 65535"}));
  CHECK(verdict(head(0, 1) + key(std::string(65535, 'k'), type_u32, u32(1))).empty());
  CHECK(holds(verdict(head(0, 1) + key(std::string(65536, 'k'), type_u32, u32(1))), {"65536 bytes"}));
  CHECK(holds(verdict(head(0, 1) + key("k", type_bool, "\2")), {"case.gguf: k", "2", "0 or 1"}));
  CHECK(holds(verdict(head(0, 1) + key("k", type_array, u32(type_bool) + u64(2) + "\1\3")),
              {"case.gguf: k", "3", "0 or 1"}));
  const std::string two = tensor("t", {1}, 0, 0) + tensor("t", {1}, 0, 32);
  CHECK(holds(verdict(padded(head(2, 0) + two) + std::string(64, '\0')), {"case.gguf: t", "each tensor"}));
  CHECK(verdict(one_tensor(tensor(std::string(63, 't'), {1}, 0, 0), 32)).empty());
  CHECK(holds(verdict(one_tensor(tensor(std::string(64, 't'), {1}, 0, 0), 32)), {"64 bytes", "at most 63"}));
}

TEST_CASE("gguf reader: types, shapes and offsets of tensors") {
  CHECK(verdict(one_tensor(tensor("t", {}, 0, 0), 32)).empty());  // one value
  CHECK(verdict(one_tensor(tensor("t", {2, 1, 2, 2}, 0, 0), 32)).empty());
  CHECK(verdict(one_tensor(tensor("t", {0, 5}, 0, 0), 0)).empty());
  CHECK(holds(verdict(one_tensor(tensor("t", {1, 1, 1, 1, 1}, 0, 0), 32)), {"t: rank", "5", "at most 4"}));
  CHECK(holds(verdict(one_tensor(tensor("t", {~0ULL}, 0, 0), 32)), {"case.gguf: t", "-1", "at least 0"}));
  for (const std::uint64_t retired : {4U, 5U, 31U, 32U, 33U, 36U, 37U, 38U})
    CHECK(holds(verdict(one_tensor(tensor("t", {1}, retired, 0), 32)), {"t: type", "retired"}));
  CHECK(holds(verdict(one_tensor(tensor("t", {1}, 43, 0), 32)), {"t: type", "43", "known ggml type"}));
  CHECK(holds(verdict(one_tensor(tensor("t", {33}, 8, 0), 64)), {"case.gguf: t", "33", "32", "Q8_0"}));
  CHECK(holds(verdict(one_tensor(tensor("t", {1ULL << 32, 1ULL << 32}, 0, 0), 32)), {"2^63 values"}));
  CHECK(holds(verdict(one_tensor(tensor("t", {1ULL << 40, 1ULL << 21}, 0, 0), 32)), {"2^60 bytes"}));
  CHECK(holds(verdict(one_tensor(tensor("t", {1ULL << 40, 1ULL << 16}, 0, 0), 32)), {"cut off"}));
  CHECK(holds(verdict(one_tensor(tensor("t", {1}, 0, 32), 64)), {"t: offset", "32", "expected 0"}));
  // each block type: one block
  for (const auto& t : ggml_types) {
    const auto block = static_cast<std::uint64_t>(t.block);
    const auto bytes = padded(std::string(static_cast<std::size_t>(t.bytes), '\0')).size();
    const auto s = one_tensor(tensor("t", {block}, static_cast<std::uint64_t>(t.type), 0), bytes);
    CHECK(verdict(s).empty());
    CHECK(holds(verdict(s.substr(0, s.size() - 1)), {"cut off"}));
  }
  CHECK(verdict(one_tensor(tensor("t", {1}, 0, 0), 32) + "more").empty());  // as the reference reads it
}

TEST_CASE("gguf reader: alignment") {
  const auto with = [](std::uint64_t type, const std::string& value, std::size_t alignment) {
    const std::string s = head(2, 1) + key("general.alignment", type, value) + tensor("a", {1}, 0, 0) +
                          tensor("b", {1}, 0, alignment);
    return padded(s, alignment) + padded("1234", alignment) + padded("5678", alignment);
  };
  for (const std::size_t alignment : {8U, 16U, 64U, 4096U}) {
    const temporary_folder folder;
    const gguf_file file(folder.file("a.gguf", with(type_u32, u32(alignment), alignment)));
    CHECK(file.alignment() == alignment);
    CHECK(file.bytes("b")[0] == std::byte{'5'});
  }
  for (const std::size_t alignment : {0U, 1U, 4U, 24U, 33U})
    CHECK(holds(verdict(with(type_u32, u32(alignment), 32)), {"general.alignment", "power of two"}));
  CHECK(holds(verdict(with(10, u64(32), 32)), {"general.alignment", "u64", "u32"}));
}

TEST_CASE("gguf reader: a million strings") {
  std::string s = head(0, 1) + text("words") + u32(type_array) + u32(type_string) + u64(1000000);
  for (int i = 0; i < 1000000; ++i) s += text(std::to_string(i));
  const temporary_folder folder;
  const gguf_file file(folder.file("a.gguf", s));
  const auto words = file.get<std::vector<std::string_view>>("words");
  REQUIRE(words.size() == 1000000);
  CHECK(words.back() == "999999");
}

}  // namespace gguf_tests
