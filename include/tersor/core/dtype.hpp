// tersor - run-time names of element types
// SPDX-License-Identifier: MIT
#pragma once

#include <array>        // std::array
#include <cstdint>      // fixed-width integers
#include <string_view>  // std::string_view
#include <type_traits>  // std::integral_constant
#include <utility>      // std::forward, std::pair

#include <tersor/core/error.hpp>
#include <tersor/core/float16.hpp>
#include <tersor/core/float8.hpp>

namespace tersor {

/// Element types that are stored, in the spelling of safetensors. The sub-byte floats and complex numbers of
/// that format are known by name and size; this library does not compute with them.
enum class dtype : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64,
  c64,
  f4,
  f6_e2m3,
  f6_e3m2
};

struct dtype_info {
  dtype type;
  std::string_view name;  ///< as safetensors spells it
  int bits;               ///< bits per element
};

inline constexpr std::array<dtype_info, 20> dtypes{
    {{dtype::boolean, "BOOL", 8},    {dtype::u8, "U8", 8},           {dtype::i8, "I8", 8},
     {dtype::f8_e5m2, "F8_E5M2", 8}, {dtype::f8_e4m3, "F8_E4M3", 8}, {dtype::f8_e8m0, "F8_E8M0", 8},
     {dtype::i16, "I16", 16},        {dtype::u16, "U16", 16},        {dtype::f16, "F16", 16},
     {dtype::bf16, "BF16", 16},      {dtype::i32, "I32", 32},        {dtype::u32, "U32", 32},
     {dtype::f32, "F32", 32},        {dtype::f64, "F64", 64},        {dtype::i64, "I64", 64},
     {dtype::u64, "U64", 64},        {dtype::c64, "C64", 64},        {dtype::f4, "F4", 4},
     {dtype::f6_e2m3, "F6_E2M3", 6}, {dtype::f6_e3m2, "F6_E3M2", 6}}};

constexpr const dtype_info& info(dtype t) { return dtypes[static_cast<std::size_t>(t)]; }
constexpr std::string_view name(dtype t) { return info(t).name; }
constexpr int bits_of(dtype t) { return info(t).bits; }

/// The dtype whose C++ representation is T.
template <class T>
struct dtype_of_type;
template <>
struct dtype_of_type<bool> : std::integral_constant<dtype, dtype::boolean> {};
template <>
struct dtype_of_type<std::uint8_t> : std::integral_constant<dtype, dtype::u8> {};
template <>
struct dtype_of_type<std::int8_t> : std::integral_constant<dtype, dtype::i8> {};
template <>
struct dtype_of_type<std::int16_t> : std::integral_constant<dtype, dtype::i16> {};
template <>
struct dtype_of_type<std::uint16_t> : std::integral_constant<dtype, dtype::u16> {};
template <>
struct dtype_of_type<f16> : std::integral_constant<dtype, dtype::f16> {};
template <>
struct dtype_of_type<bf16> : std::integral_constant<dtype, dtype::bf16> {};
template <>
struct dtype_of_type<f8_e4m3> : std::integral_constant<dtype, dtype::f8_e4m3> {};
template <>
struct dtype_of_type<f8_e5m2> : std::integral_constant<dtype, dtype::f8_e5m2> {};
template <>
struct dtype_of_type<f8_e8m0> : std::integral_constant<dtype, dtype::f8_e8m0> {};
template <>
struct dtype_of_type<std::int32_t> : std::integral_constant<dtype, dtype::i32> {};
template <>
struct dtype_of_type<std::uint32_t> : std::integral_constant<dtype, dtype::u32> {};
template <>
struct dtype_of_type<float> : std::integral_constant<dtype, dtype::f32> {};
template <>
struct dtype_of_type<double> : std::integral_constant<dtype, dtype::f64> {};
template <>
struct dtype_of_type<std::int64_t> : std::integral_constant<dtype, dtype::i64> {};
template <>
struct dtype_of_type<std::uint64_t> : std::integral_constant<dtype, dtype::u64> {};
template <class T>
inline constexpr dtype dtype_of = dtype_of_type<T>::value;

/// The types in which every operator can hold reals. Those of 8 bits are for values and scales that were made
/// for their range.
constexpr bool is_wide_real(dtype t) { return t == dtype::f32 || t == dtype::f16 || t == dtype::bf16; }
constexpr bool is_float8(dtype t) {
  return t == dtype::f8_e4m3 || t == dtype::f8_e5m2 || t == dtype::f8_e8m0;
}
/// Error unless `is_wide_real(t)`.
inline void require_wide_real(dtype t, std::string_view what) {
  if (!is_wide_real(t)) fail(what, name(t), "F32, F16 or BF16");
}
/// The largest finite number of a real type that ends far below f32's: f16, f8_e4m3 or f8_e5m2.
constexpr float largest_of(dtype t) {
  return t == dtype::f8_e4m3 ? 448.0F : t == dtype::f8_e5m2 ? 57344.0F : 65504.0F;
}

/// The types in which techniques store reals, as options spell them.
constexpr auto option_names(dtype) {
  using row = std::pair<std::string_view, dtype>;
  return std::array<row, 3>{{{"f32", dtype::f32}, {"f16", dtype::f16}, {"bf16", dtype::bf16}}};
}

/// Calls f(T{}) with the C++ type of a floating-point dtype (f32, f64, f16, bf16); anything else is an error
/// that names `what`.
template <class F>
decltype(auto) with_float_type(dtype t, std::string_view what, F&& f) {
  switch (t) {
    case dtype::f32:
      return std::forward<F>(f)(float{});
    case dtype::f64:
      return std::forward<F>(f)(double{});
    case dtype::f16:
      return std::forward<F>(f)(f16{});
    case dtype::bf16:
      return std::forward<F>(f)(bf16{});
    default:
      fail(what, name(t), "a floating-point type: F32, F64, F16 or BF16");
  }
}

}  // namespace tersor
