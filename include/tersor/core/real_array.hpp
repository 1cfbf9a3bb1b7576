// tersor - an owned array of reals stored as f32, f16 or bf16
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>    // std::isinf
#include <cstring>  // std::memcpy
#include <span>     // std::span
#include <vector>   // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>

namespace tersor {

/// Rounds a float to what `type` (f32, f16, bf16) stores; an error that names `what` where the value is
/// finite but out of the type's range.
inline float round_to(dtype type, float value, std::string_view what = "value") {
  switch (type) {
    case dtype::f32:
      return value;
    case dtype::bf16:
      value = bf16(value);
      break;
    case dtype::f16: {
      const float rounded = f16(value);
      require(std::isinf(rounded) == std::isinf(value), what, value,
              "at most 65504 in magnitude, the range of F16");
      return rounded;
    }
    default:
      fail(concat(what, " storage type"), name(type), "F32, F16 or BF16");
  }
  return value;
}

/// Reals in their stored type, read as float. The bytes are what a file holds.
class real_array {
 public:
  real_array() = default;
  real_array(dtype type, index size)
      : type_(type), bytes_(static_cast<std::size_t>(size) * element_bytes(type)) {}

  dtype type() const { return type_; }
  index size() const { return static_cast<index>(bytes_.size() / element_bytes(type_)); }
  bool empty() const { return bytes_.empty(); }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::span<std::byte> bytes() { return bytes_; }

  float operator[](index i) const {
    const std::byte* p = bytes_.data() + static_cast<std::size_t>(i) * element_bytes(type_);
    if (type_ == dtype::f32) {
      float v;
      std::memcpy(&v, p, sizeof v);
      return v;
    }
    std::uint16_t b;
    std::memcpy(&b, p, sizeof b);
    return type_ == dtype::f16 ? detail::float_from_f16(b) : detail::float_from_bf16(b);
  }
  /// Stores value rounded to the type; a finite value out of range is an error.
  void set(index i, float value) {
    std::byte* p = bytes_.data() + static_cast<std::size_t>(i) * element_bytes(type_);
    if (type_ == dtype::f32) {
      std::memcpy(p, &value, sizeof value);
      return;
    }
    const float rounded = round_to(type_, value);
    const std::uint16_t b = type_ == dtype::f16 ? f16(rounded).bits : bf16(rounded).bits;
    std::memcpy(p, &b, sizeof b);
  }
  /// out[i] = element first + i.
  void read(index first, std::span<float> out) const {
    const auto n = out.size();
    if (type_ == dtype::f32) {
      if (n != 0) std::memcpy(out.data(), bytes_.data() + static_cast<std::size_t>(first) * 4, n * 4);
    } else if (type_ == dtype::bf16) {
      for (std::size_t i = 0; i < n; ++i) out[i] = detail::float_from_bf16(half_bits(first, i));
    } else {
      for (std::size_t i = 0; i < n; ++i) out[i] = detail::float_from_f16(half_bits(first, i));
    }
  }

  friend bool operator==(const real_array&, const real_array&) = default;

 private:
  static std::size_t element_bytes(dtype type) {
    require(type == dtype::f32 || type == dtype::f16 || type == dtype::bf16, "storage type", name(type),
            "F32, F16 or BF16");
    return type == dtype::f32 ? 4 : 2;
  }
  std::uint16_t half_bits(index first, std::size_t i) const {
    std::uint16_t b;
    std::memcpy(&b, bytes_.data() + (static_cast<std::size_t>(first) + i) * 2, 2);
    return b;
  }
  dtype type_ = dtype::f32;
  std::vector<std::byte> bytes_;
};

/// x stored as `type`, row-major.
template <class T>
real_array store_as(dtype type, matrix_view<T> x) {
  real_array a(type, x.size());
  index k = 0;
  for (index i = 0; i < x.rows(); ++i)
    for (index j = 0; j < x.cols(); ++j) a.set(k++, static_cast<float>(x(i, j)));
  return a;
}
inline real_array store_as(dtype type, std::span<const float> x) {
  real_array a(type, static_cast<index>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) a.set(static_cast<index>(i), x[i]);
  return a;
}

}  // namespace tersor
