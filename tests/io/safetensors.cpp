// tersor - tests of the safetensors reader
// SPDX-License-Identifier: MIT
#include <tersor/io/safetensors.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace safetensors_tests {

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
    std::string zeros_of_rank_65 = "0";
    for (int k = 1; k < 65; ++k) zeros_of_rank_65 += ",0";
    CHECK(holds(verdict(with_header(concat(R"({"x":{"dtype":"U8","shape":[)", zeros_of_rank_65,
                                           R"(],"data_offsets":[0,0]}})"))),
                {"x", "65 extents", "at most 64"}));
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
  // 2^-9, 1, -448, a NaN and 2^-16, 1, -57344, an infinity
  const std::string e4m3("\x01\x38\xfe\x7f"), e5m2("\x01\x3c\xfb\x7c");
  const auto small = open("F8_E4M3", 4, e4m3).read_vector<float>("x");
  CHECK(std::vector(small.begin(), small.begin() + 3) == std::vector<float>{0x1p-9F, 1, -448});
  CHECK(std::isnan(small[3]));
  CHECK(open("F8_E5M2", 4, e5m2).read_vector<double>("x") ==
        std::vector<double>{0x1p-16, 1, -57344, std::numeric_limits<double>::infinity()});
  CHECK(open("F8_E5M2", 4, e5m2).read_vector<bf16>("x")[2].bits == bf16(-57344.0F).bits);
  CHECK(open("F8_E4M3", 4, e4m3).read_vector<f8_e4m3>("x")[2].bits == 0xfe);
  CHECK(holds(error_of([&] { open("F8_E4M3", 4, e4m3).read_vector<int>("x"); }), {"x", "F8_E4M3"}));
  CHECK(open("F8_E8M0", 2, "\x7f\x82").read_vector<float>("x") == std::vector<float>{1, 8});
  CHECK(holds(error_of([&] { open("F8_E8M0", 2, "12").read_vector<int>("x"); }), {"x", "F8_E8M0"}));
  CHECK(open("F8_E8M0", 2, "12").bytes("x").size() == 2);
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

}  // namespace safetensors_tests
