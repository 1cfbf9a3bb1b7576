// tersor - tests of core/real_array.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/real_array.hpp>

#include <limits>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

#include <tersor/core/matrix.hpp>

namespace tersor {
namespace real_array_tests {

TEST_CASE("real_array: stores in each type, reads back rounded") {
  const float values[] = {0.0F, 1.0F, -2.5F, 0.1F, 60000.0F, 1e-4F};
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
    real_array a(type, 6);
    for (index_t i = 0; i < 6; ++i) a.set(i, values[i]);
    CHECK(a.size() == 6);
    CHECK(a.bytes().size() == (type == dtype::f32 ? 24 : 12));
    std::vector<float> read(4);
    a.read(2, read);
    for (index_t i = 0; i < 6; ++i) {
      CHECK(a[i] == round_to(type, values[i]));
      CHECK(std::abs(a[i] - values[i]) <= std::abs(values[i]) / (type == dtype::bf16 ? 256 : 1024));
      if (i >= 2) CHECK(read[static_cast<std::size_t>(i - 2)] == a[i]);
    }
  }
}

TEST_CASE("real_array: values out of range and types that are not real are errors") {
  real_array a(dtype::f16, 1);
  CHECK_THROWS_AS(a.set(0, 1e6F), error);
  CHECK_THROWS_AS(real_array(dtype::i8, 1), error);
  CHECK_THROWS_AS(round_to(dtype::i8, 1.0F), error);
  a.set(0, std::numeric_limits<float>::infinity());
  CHECK(std::isinf(a[0]));
}

TEST_CASE("real_array: reals of 8 bits are their codes, all of which come back") {
  for (const dtype type : {dtype::f8_e4m3, dtype::f8_e5m2, dtype::f8_e8m0}) {
    real_array all(type, 256), again(type, 256);
    for (index_t i = 0; i < 256; ++i) all.bytes()[static_cast<std::size_t>(i)] = static_cast<std::byte>(i);
    std::vector<float> values(256);
    all.read(0, values);
    for (index_t i = 0; i < 256; ++i) {
      const float v = values[static_cast<std::size_t>(i)];
      if (std::isnan(v)) {
        CHECK(std::isnan(all[i]));
        continue;
      }
      CHECK(all[i] == v);
      again.set(i, v);
      CHECK(again.bytes()[static_cast<std::size_t>(i)] == static_cast<std::byte>(i));
    }
  }
  CHECK(real_array(dtype::f8_e8m0, 1)[0] == std::ldexp(1.0F, -127));
}

TEST_CASE("real_array: the ranges of reals of 8 bits") {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  CHECK(round_to(dtype::f8_e4m3, 464.0F) == 448);  // a tie, to even
  CHECK(test::holds(test::error_of([&] { round_to(dtype::f8_e4m3, 465.0F, "scale"); }), {"448"}));
  CHECK_THROWS_AS(round_to(dtype::f8_e4m3, -infinity), error);
  CHECK(round_to(dtype::f8_e4m3, 0x1p-9F) == 0x1p-9F);
  CHECK(round_to(dtype::f8_e4m3, 0x1p-10F) == 0);
  CHECK(round_to(dtype::f8_e5m2, 61439.0F) == 57344);
  CHECK(test::holds(test::error_of([&] { round_to(dtype::f8_e5m2, 61440.0F); }), {"57344"}));
  CHECK(round_to(dtype::f8_e5m2, -infinity) == -infinity);
  CHECK(round_to(dtype::f8_e8m0, 0x1p127F) == 0x1p127F);
  for (const float bad : {0.0F, -1.0F, 3.0F, 0x1p-128F, infinity})
    CHECK(test::holds(test::error_of([&] { round_to(dtype::f8_e8m0, bad, "scale"); }), {"scale"}));
  for (const dtype type : {dtype::f8_e4m3, dtype::f8_e5m2, dtype::f8_e8m0}) {
    CHECK(std::isnan(round_to(type, nan)));
    real_array a(type, 1);
    a.set(0, nan);
    CHECK(std::isnan(a[0]));
  }
}

TEST_CASE("real_array: from views of any layout") {
  matrix<float> m(2, 3);
  for (index_t i = 0; i < 6; ++i) m.data()[i] = static_cast<float>(i);
  const auto rows = store_as(dtype::f32, m.view());
  const auto columns = store_as(dtype::f32, m.view().transposed());
  CHECK(rows[1] == 1.0F);
  CHECK(columns[1] == 3.0F);
}

TEST_CASE("real_array: foreign memory is read in place and kept alive, or copied where it is not aligned") {
  auto memory = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  const std::weak_ptr<std::vector<float>> alive = memory;
  const auto bytes = std::as_bytes(std::span(*memory));
  {
    const real_array all(dtype::f32, bytes, memory), shifted(dtype::bf16, bytes.subspan(1, 4), memory);
    CHECK(all.bytes().data() == bytes.data());
    CHECK(shifted.bytes().data() != bytes.data() + 1);
    memory.reset();
    CHECK(all.size() == 4);
    CHECK(all[2] == 3.0F);
    CHECK(shifted.size() == 2);
    const real_array same = store_as(dtype::f32, std::vector<float>{1, 2, 3, 4});
    CHECK(all == same);
    CHECK(!(all == store_as(dtype::f32, std::vector<float>{1, 2, 3, 5})));
    const real_array copy = all;
    CHECK(copy.bytes().data() == all.bytes().data());
    CHECK(!alive.expired());
  }
  CHECK(alive.expired());
  const float x[2] = {};
  CHECK_THROWS_AS(real_array(dtype::f32, std::as_bytes(std::span(x)).first(6), nullptr), error);
}

}  // namespace real_array_tests
}  // namespace tersor
