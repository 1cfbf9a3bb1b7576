// tersor - tests of core/dtype.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <set>
#include <string>
#include <type_traits>

#include <tersor/core/dtype.hpp>

namespace tersor::dtype_tests {

TEST_CASE("the table of dtypes is in the order of the enumerators, without repetition") {
  std::set<std::string_view> names;
  for (std::size_t k = 0; k < dtypes.size(); ++k) {
    CHECK(dtypes[k].type == static_cast<dtype>(k));
    CHECK(dtypes[k].bits > 0);
    names.insert(dtypes[k].name);
  }
  CHECK(names.size() == dtypes.size());
  CHECK(static_cast<std::size_t>(dtype::f6_e3m2) + 1 == dtypes.size());
}

TEST_CASE("names and sizes are those of the safetensors format") {
  CHECK(name(dtype::boolean) == "BOOL");
  CHECK(name(dtype::f8_e4m3) == "F8_E4M3");
  CHECK(name(dtype::bf16) == "BF16");
  CHECK(bits_of(dtype::c64) == 64);
  CHECK(bits_of(dtype::f4) == 4);
  CHECK(bits_of(dtype::f6_e2m3) == 6);
}

TEST_CASE("C++ types have the dtype of their size") {
  const auto check = []<class T>(T, dtype expected) {
    CHECK(dtype_of<T> == expected);
    CHECK(bits_of(dtype_of<T>) == static_cast<int>(8 * sizeof(T)));
  };
  check(bool{}, dtype::boolean);
  check(std::int8_t{}, dtype::i8);
  check(std::uint8_t{}, dtype::u8);
  check(std::int16_t{}, dtype::i16);
  check(std::uint16_t{}, dtype::u16);
  check(f16{}, dtype::f16);
  check(bf16{}, dtype::bf16);
  check(std::int32_t{}, dtype::i32);
  check(std::uint32_t{}, dtype::u32);
  check(float{}, dtype::f32);
  check(std::int64_t{}, dtype::i64);
  check(std::uint64_t{}, dtype::u64);
  check(double{}, dtype::f64);
}

TEST_CASE("the floating-point types are dispatched, others are errors with their name") {
  for (const auto& d : dtypes) {
    const auto call = [&] {
      return with_float_type(d.type, "weight", [](auto x) { return dtype_of<decltype(x)>; });
    };
    const bool known =
        d.type == dtype::f32 || d.type == dtype::f64 || d.type == dtype::f16 || d.type == dtype::bf16;
    if (known) {
      CHECK(call() == d.type);
    } else {
      try {
        call();
        FAIL(std::string(d.name) + " was accepted");
      } catch (const error& e) {
        CHECK(e.argument() == "weight");
        CHECK(e.value() == d.name);
      }
    }
  }
}

}  // namespace tersor::dtype_tests
