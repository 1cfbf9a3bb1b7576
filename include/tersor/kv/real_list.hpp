// tersor - a growing list of reals stored as f32, f16, bf16 or FP8
// SPDX-License-Identifier: MIT
#pragma once

#include <cstring>  // std::memcpy
#include <span>     // std::span
#include <vector>   // std::vector

#include <tersor/core/real_array.hpp>
#include <tersor/kernel/aligned_bytes.hpp>
#include <tersor/kernel/row_products.hpp>

namespace tersor::kv {

/// Reals in their stored type, appended at the end and read as float (no paper: the memory of dense segments,
/// scales and factors). Rounded to nearest, ties to even; a finite number out of the range of f16 or bf16 is
/// an error, FP8 saturates.
class real_list {
 public:
  real_list() = default;
  explicit real_list(dtype type) : type_(type) { width(); }

  dtype type() const { return type_; }
  index_t size() const { return static_cast<index_t>(bytes_.size() / width()); }
  std::size_t bytes() const { return bytes_.size(); }

  void append(float value) { append(std::span<const float>(&value, 1)); }
  void append(std::span<const float> values) {
    const std::size_t at = bytes_.size(), w = width();
    bytes_.resize(at + values.size() * w);  // grows geometrically, which a reserve for each call would not
    std::byte* p = bytes_.data() + at;
    if (type_ == dtype::f32) {
      if (!values.empty()) std::memcpy(p, values.data(), values.size() * w);
      return;
    }
    for (const float v : values) {
      store(p, v);
      p += w;
    }
  }
  /// out[i] = element first + i.
  void read(index_t first, std::span<float> out) const {
    assert(first >= 0 && first + static_cast<index_t>(out.size()) <= size());
    if (out.empty()) return;
    kernel::read_reals(kernel::best_target(), type_, data(first), static_cast<index_t>(out.size()),
                       out.data());
  }
  /// The bytes from element `first` on.
  const std::uint8_t* data(index_t first = 0) const {
    return reinterpret_cast<const std::uint8_t*>(bytes_.data()) + first * static_cast<index_t>(width());
  }
  float operator[](index_t i) const {
    float x = 0;
    read(i, std::span(&x, 1));
    return x;
  }
  void erase(index_t first, index_t count) {
    assert(first >= 0 && count >= 0 && first + count <= size());
    const auto w = static_cast<index_t>(width());
    bytes_.erase(bytes_.begin() + first * w, bytes_.begin() + (first + count) * w);
  }

 private:
  std::size_t width() const {
    switch (type_) {
      case dtype::f32:
        return 4;
      case dtype::f16:
      case dtype::bf16:
        return 2;
      case dtype::f8_e4m3:
      case dtype::f8_e5m2:
        return 1;
      default:
        fail("storage type", name(type_), "F32, F16, BF16, F8_E4M3 or F8_E5M2");
    }
  }
  /// Of a type other than f32.
  void store(std::byte* p, float value) const {
    if (type_ == dtype::f8_e4m3) {
      *p = std::byte{f8_e4m3(value).bits};
    } else if (type_ == dtype::f8_e5m2) {
      *p = std::byte{f8_e5m2(value).bits};
    } else {
      const float rounded = round_to(type_, value);
      const std::uint16_t bits = type_ == dtype::f16 ? f16(rounded).bits : bf16(rounded).bits;
      std::memcpy(p, &bits, 2);
    }
  }
  dtype type_ = dtype::f32;
  std::vector<std::byte, kernel::stream_allocator<std::byte>> bytes_;
};

/// The largest number of `type` (f32, f16, bf16) that is not above x; error if there is none.
inline float round_down_to(dtype type, float x, std::string_view what) {
  const float nearest = round_to(type, x, what);
  if (nearest <= x) return nearest;
  // the next smaller one: towards zero for positive numbers, away from it for negative ones
  const auto below = [nearest](std::uint16_t bits) {
    return static_cast<std::uint16_t>(nearest > 0 ? bits - 1 : (nearest == 0 ? 0x8001 : bits + 1));
  };
  const float lower = type == dtype::f16 ? static_cast<float>(f16::from_bits(below(f16(nearest).bits)))
                                         : static_cast<float>(bf16::from_bits(below(bf16(nearest).bits)));
  require(!std::isinf(lower), what, x, "a number in the range of ", name(type));
  return lower;
}
/// The smallest number of `type` that is not below x.
inline float round_up_to(dtype type, float x, std::string_view what) {
  return -round_down_to(type, -x, what);
}

}  // namespace tersor::kv
