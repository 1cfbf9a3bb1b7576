// tersor - tests of core/dlpack.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <string>
#include <vector>

#if __has_include(<dlpack/dlpack.h>)
#include <dlpack/dlpack.h>
static_assert(tersor::dlpack_like<DLTensor>);
#endif

#include <tersor/core/dlpack.hpp>

namespace tersor::dlpack_tests {

namespace {

/// The layout of DLPack's public header, written down a second time: an enum for the device, as there.
struct foreign_tensor {
  enum device_type : std::int32_t { cpu = 1, cuda = 2 };
  void* data;
  struct {
    foreign_tensor::device_type device_type;
    std::int32_t device_id;
  } device;
  std::int32_t ndim;
  struct {
    std::uint8_t code, bits;
    std::uint16_t lanes;
  } dtype;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};
static_assert(dlpack_like<foreign_tensor> && dlpack_like<dlpack_tensor>);
static_assert(!dlpack_like<std::vector<float>>);
static_assert(sizeof(foreign_tensor) == sizeof(dlpack_tensor));
static_assert(offsetof(foreign_tensor, dtype) == offsetof(dlpack_tensor, dtype));
static_assert(offsetof(foreign_tensor, byte_offset) == offsetof(dlpack_tensor, byte_offset));

struct fixture {
  std::vector<float> values{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  std::vector<std::int64_t> shape{3, 4}, strides{1, 3};
  dlpack_tensor x{values.data(), {1, 0}, 2, {2, 32, 1}, shape.data(), nullptr, 0};

  template <class T = const float, std::size_t Rank = 2>
  std::string message(std::string_view name = "weight") const {
    try {
      (void)as_view<T, Rank>(x, name);
      return "accepted";
    } catch (const error& e) {
      return e.what();
    }
  }
};

}  // namespace

TEST_CASE("a DLPack tensor is viewed in place") {
  fixture f;
  const auto v = as_view<float, 2>(f.x);
  static_assert(std::is_same_v<std::remove_const_t<decltype(v)>, matrix_view<float>>);
  CHECK(v.data == f.values.data());
  CHECK(v.extents == std::array<index_t, 2>{3, 4});
  CHECK(v.strides == std::array<index_t, 2>{4, 1});
  CHECK(v(2, 1) == 9.0F);

  f.x.strides = f.strides.data();
  CHECK((as_view<const float, 2>(f.x)(2, 1)) == 5.0F);

  f.x.strides = nullptr;
  f.x.byte_offset = 8;
  f.shape = {2, 4};
  f.x.shape = f.shape.data();
  CHECK((as_view<const float, 2>(f.x)(1, 3)) == 9.0F);

  std::int64_t n = 12;
  const foreign_tensor other{f.values.data(), {foreign_tensor::cpu, 0}, 1, {2, 32, 1}, &n, nullptr, 0};
  CHECK((as_view<const float, 1>(other)(11)) == 11.0F);
}

TEST_CASE("each element type has its DLPack code") {
  fixture f;
  const auto accepts = [&]<class T>(T, std::uint8_t code, std::uint8_t bits) {
    alignas(16) unsigned char memory[16 * 12] = {};
    f.x.data = memory;
    f.x.dtype = {code, bits, 1};
    return as_view<T, 2>(f.x).size() == 12;
  };
  CHECK(accepts(float{}, 2, 32));
  CHECK(accepts(double{}, 2, 64));
  CHECK(accepts(f16{}, 2, 16));
  CHECK(accepts(bf16{}, 4, 16));
  CHECK(accepts(std::int8_t{}, 0, 8));
  CHECK(accepts(std::int16_t{}, 0, 16));
  CHECK(accepts(std::int32_t{}, 0, 32));
  CHECK(accepts(std::int64_t{}, 0, 64));
  CHECK(accepts(std::uint8_t{}, 1, 8));
  CHECK(accepts(std::uint16_t{}, 1, 16));
  CHECK(accepts(std::uint32_t{}, 1, 32));
  CHECK(accepts(std::uint64_t{}, 1, 64));
  CHECK(accepts(bool{}, 6, 8));
}

TEST_CASE("a DLPack tensor that does not fit is an error that says why") {
  fixture f;
  REQUIRE(f.message() == "accepted");
  SECTION("device") {
    f.x.device.device_type = 2;
    CHECK(f.message() == "device type of weight = 2: expected 1 (CPU)");
  }
  SECTION("element type") {
    CHECK(f.message<const double>() == "element type of weight = float32: expected float64");
    CHECK(f.message<const std::int32_t>() == "element type of weight = float32: expected int32");
    f.x.dtype = {4, 16, 1};
    CHECK(f.message<const f16>() == "element type of weight = bfloat16: expected float16");
    f.x.dtype = {2, 32, 4};
    CHECK(f.message() == "element type of weight = float32x4: expected float32");
    f.x.dtype = {12, 8, 1};
    CHECK(f.message() == "element type of weight = code 12 of 8: expected float32");
  }
  SECTION("rank") {
    CHECK(f.message<const float, 3>() == "rank of weight = 2: expected 3");
    CHECK(f.message<const float, 1>("tensor") == "rank of tensor = 2: expected 1");
  }
  SECTION("extents") {
    f.shape[1] = -4;
    CHECK(f.message() == "extent 1 of weight = -4: expected 0 or more");
    f.x.shape = nullptr;
    CHECK(f.message() == "shape of weight = null: expected 2 extents");
  }
  SECTION("memory") {
    f.x.byte_offset = 2;
    CHECK(f.message() == "byte offset of weight = 2: expected an address aligned to 4 bytes");
    f.x.data = nullptr;
    CHECK(f.message() == "data of weight = null: expected 12 elements");
    f.shape[0] = 0;
    CHECK(f.message() == "accepted");  // nothing is read from an empty tensor
  }
}

}  // namespace tersor::dlpack_tests
