// tersor - DLPack tensors (NumPy, PyTorch, JAX, TVM ... memory) as views, checked
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>  // std::convertible_to
#include <cstdint>   // std::int64_t

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>

namespace tersor {

/// The part of DLPack's `DLTensor` that a reader needs: any struct with these members qualifies, be it from
/// <dlpack/dlpack.h>, from the copy that a framework carries, or `dlpack_tensor` below.
template <class X>
concept dlpack_like = requires(const X& x) {
  { x.data } -> std::convertible_to<const void*>;
  { x.ndim } -> std::convertible_to<index_t>;
  { *x.shape } -> std::convertible_to<std::int64_t>;
  { *x.strides } -> std::convertible_to<std::int64_t>;
  { x.byte_offset } -> std::convertible_to<std::uint64_t>;
  static_cast<int>(x.device.device_type);
  { x.dtype.code } -> std::convertible_to<int>;
  { x.dtype.bits } -> std::convertible_to<int>;
  { x.dtype.lanes } -> std::convertible_to<int>;
};

/// A struct with the memory layout of `DLTensor` (unchanged from DLPack 0.6 to 1.x), for programs that
/// receive one by pointer and have no dlpack.h.
struct dlpack_tensor {
  struct device_info {
    std::int32_t device_type;  ///< 1: CPU
    std::int32_t device_id;
  };
  struct type_info {
    std::uint8_t code;    ///< 0 int, 1 uint, 2 float, 4 bfloat, 6 bool
    std::uint8_t bits;    ///< per lane
    std::uint16_t lanes;  ///< 1 unless the elements are short vectors
  };
  void* data;
  device_info device;
  std::int32_t ndim;
  type_info dtype;
  std::int64_t* shape;    ///< [ndim]
  std::int64_t* strides;  ///< [ndim] in elements, or null: row-major
  std::uint64_t byte_offset;
};
static_assert(sizeof(dlpack_tensor::type_info) == 4 && sizeof(dlpack_tensor::device_info) == 8);
static_assert(sizeof(void*) != 8 || sizeof(dlpack_tensor) == 48);

namespace detail {

constexpr int dlpack_code(dtype t) {
  switch (t) {
    case dtype::i8:
    case dtype::i16:
    case dtype::i32:
    case dtype::i64:
      return 0;
    case dtype::u8:
    case dtype::u16:
    case dtype::u32:
    case dtype::u64:
      return 1;
    case dtype::f16:
    case dtype::f32:
    case dtype::f64:
      return 2;
    case dtype::bf16:
      return 4;
    default:
      return 6;  // boolean, the last of the types that dtype_of knows
  }
}

inline std::string dlpack_type_text(int code, int bits, int lanes) {
  constexpr std::string_view names[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  std::string text = code >= 0 && code < 7 ? std::string(names[code]) : concat("code ", code, " of ");
  text += to_text(bits);
  return lanes == 1 ? text : concat(text, "x", lanes);
}

}  // namespace detail

/// A view of a DLPack tensor: `as_view<const float, 2>(managed->dl_tensor)`. No copy; the tensor's owner must
/// outlive the view. Errors name what differs: device (CPU only), element type, rank, extents, a null
/// pointer, alignment. Null strides mean row-major; the byte offset is applied.
/// @param name what an error calls the tensor.
template <class T, std::size_t Rank>
tensor_view<T, Rank> as_view(const dlpack_like auto& x, std::string_view name = "tensor") {
  using value = std::remove_cv_t<T>;
  constexpr dtype type = dtype_of<value>;
  constexpr int code = detail::dlpack_code(type);
  const int device = static_cast<int>(x.device.device_type);
  require(device == 1, concat("device type of ", name), device, "1 (CPU)");
  if (x.dtype.code != code || x.dtype.bits != bits_of(type) || x.dtype.lanes != 1)
    fail(concat("element type of ", name),
         detail::dlpack_type_text(x.dtype.code, x.dtype.bits, x.dtype.lanes),
         detail::dlpack_type_text(code, bits_of(type), 1));
  require(x.ndim == static_cast<index_t>(Rank), concat("rank of ", name), static_cast<index_t>(x.ndim), Rank);
  require(x.shape != nullptr || Rank == 0, concat("shape of ", name), "null", Rank, " extents");

  std::array<index_t, Rank> extents{};
  for (std::size_t k = 0; k < Rank; ++k) {
    require(x.shape[k] >= 0, concat("extent ", k, " of ", name), static_cast<index_t>(x.shape[k]),
            "0 or more");
    extents[k] = static_cast<index_t>(x.shape[k]);
  }
  tensor_view<T, Rank> v(nullptr, extents);
  if (x.strides != nullptr)
    for (std::size_t k = 0; k < Rank; ++k) v.strides[k] = static_cast<index_t>(x.strides[k]);
  if (v.empty()) return v;

  require(x.data != nullptr, concat("data of ", name), "null", v.size(), " elements");
  auto* const bytes = static_cast<unsigned char*>(x.data) + x.byte_offset;
  require(reinterpret_cast<std::uintptr_t>(bytes) % alignof(value) == 0, concat("byte offset of ", name),
          static_cast<std::uint64_t>(x.byte_offset), "an address aligned to ", alignof(value), " bytes");
  v.data = reinterpret_cast<T*>(bytes);
  return v;
}

}  // namespace tersor
