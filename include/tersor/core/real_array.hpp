// tersor - an owned array of reals stored in 32, 16 or 8 bits
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::ranges::equal
#include <array>      // std::array
#include <cmath>      // std::isinf
#include <cstring>    // std::memcpy
#include <memory>     // std::shared_ptr
#include <span>       // std::span
#include <vector>     // std::vector

#include <tersor/core/dtype.hpp>
#include <tersor/core/view.hpp>

namespace tersor {

/// Rounds a float to what `type` (f32, f16, bf16, f8_e4m3, f8_e5m2) stores; an error that names `what` where
/// the value is finite but out of the type's range, or infinite and the type has no infinity. f8_e8m0 rounds
/// nothing: whatever is not one of its powers of two, or NaN, is an error.
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
    case dtype::f8_e4m3: {
      const float rounded = f8_e4m3(value, float_overflow::ieee);
      require(std::isnan(rounded) == std::isnan(value), what, value,
              "at most 448 in magnitude, the range of F8_E4M3");
      return rounded;
    }
    case dtype::f8_e5m2: {
      const float rounded = f8_e5m2(value, float_overflow::ieee);
      require(std::isinf(rounded) == std::isinf(value), what, value,
              "at most 57344 in magnitude, the range of F8_E5M2");
      return rounded;
    }
    case dtype::f8_e8m0: {
      const float rounded = f8_e8m0(value);
      require(rounded == value || std::isnan(value), what, value,
              "a power of two from 2^-127 to 2^127, as F8_E8M0 holds");
      return rounded;
    }
    default:
      fail(concat(what, " storage type"), name(type), "F32, F16, BF16, F8_E4M3, F8_E5M2 or F8_E8M0");
  }
  return value;
}

namespace detail {

/// The numbers of an 8-bit type by their codes.
template <class Real>
inline constexpr std::array<float, 256> float8_table = [] {
  std::array<float, 256> t{};
  for (std::size_t i = 0; i < 256; ++i) t[i] = Real::from_bits(static_cast<std::uint8_t>(i));
  return t;
}();
inline const std::array<float, 256>& float8_values(dtype type) {
  return type == dtype::f8_e4m3   ? float8_table<f8_e4m3>
         : type == dtype::f8_e5m2 ? float8_table<f8_e5m2>
                                  : float8_table<f8_e8m0>;
}

}  // namespace detail

/// Reals in their stored type, read as float. The bytes are what a file holds: the array's own, or memory of
/// somebody else (a mapped file), which is then only read.
class real_array {
 public:
  real_array() = default;
  real_array(dtype type, index_t size)
      : type_(type), own_(static_cast<std::size_t>(size) * element_bytes(type)) {}

  /// Gives memory of `owner` back that can be read again: the pages of a mapped file.
  using release_function = void (*)(const void* owner, std::span<const std::byte> bytes);
  /// `bytes`, which `owner` keeps alive; copied where the elements are not aligned.
  real_array(dtype type, std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
             release_function let_go = nullptr)
      : type_(type) {
    const std::size_t width = element_bytes(type);
    require(bytes.size() % width == 0, "real_array: bytes", bytes.size(), "a multiple of ", width);
    if (owner && reinterpret_cast<std::uintptr_t>(bytes.data()) % width == 0) {
      foreign_ = bytes;
      owner_ = std::move(owner);
      release_ = let_go;
    } else {
      own_.assign(bytes.begin(), bytes.end());
    }
  }

  /// Lets foreign memory leave until it is read again, where its owner can do so. For what is worked through
  /// once.
  void release() const {
    if (release_ != nullptr) release_(owner_.get(), foreign_);
  }

  dtype type() const { return type_; }
  index_t size() const { return static_cast<index_t>(bytes().size() / element_bytes(type_)); }
  bool empty() const { return bytes().empty(); }
  std::span<const std::byte> bytes() const { return owner_ ? foreign_ : std::span<const std::byte>(own_); }
  /// To be filled; not of foreign memory.
  std::span<std::byte> bytes() {
    assert(!owner_);
    return own_;
  }

  float operator[](index_t i) const {
    const std::byte* p = bytes().data() + static_cast<std::size_t>(i) * element_bytes(type_);
    if (type_ == dtype::f32) {
      float v;
      std::memcpy(&v, p, sizeof v);
      return v;
    }
    if (is_float8(type_)) return detail::float8_values(type_)[std::to_integer<std::size_t>(*p)];
    std::uint16_t b;
    std::memcpy(&b, p, sizeof b);
    return type_ == dtype::f16 ? detail::float_from_f16(b) : detail::float_from_bf16(b);
  }
  /// Stores value rounded to the type; a finite value out of range is an error.
  void set(index_t i, float value) {
    std::byte* p = bytes().data() + static_cast<std::size_t>(i) * element_bytes(type_);
    if (type_ == dtype::f32) {
      std::memcpy(p, &value, sizeof value);
      return;
    }
    const float rounded = round_to(type_, value);
    if (is_float8(type_)) {
      *p = std::byte{type_ == dtype::f8_e4m3   ? f8_e4m3(rounded).bits
                     : type_ == dtype::f8_e5m2 ? f8_e5m2(rounded, float_overflow::ieee).bits
                                               : f8_e8m0(rounded).bits};
      return;
    }
    const std::uint16_t b = type_ == dtype::f16 ? f16(rounded).bits : bf16(rounded).bits;
    std::memcpy(p, &b, sizeof b);
  }
  /// out[i] = element first + i.
  void read(index_t first, std::span<float> out) const {
    const auto n = out.size();
    if (n == 0) return;
    const std::byte* p = bytes().data() + static_cast<std::size_t>(first) * element_bytes(type_);
    const auto half_bits = [p](std::size_t i) {
      std::uint16_t b;
      std::memcpy(&b, p + 2 * i, 2);
      return b;
    };
    if (type_ == dtype::f32) {
      std::memcpy(out.data(), p, n * 4);
    } else if (is_float8(type_)) {
      const auto& values = detail::float8_values(type_);
      for (std::size_t i = 0; i < n; ++i) out[i] = values[std::to_integer<std::size_t>(p[i])];
    } else if (type_ == dtype::bf16) {
      for (std::size_t i = 0; i < n; ++i) out[i] = detail::float_from_bf16(half_bits(i));
    } else {
      for (std::size_t i = 0; i < n; ++i) out[i] = detail::float_from_f16(half_bits(i));
    }
  }

  /// The same type and the same bytes, wherever they lie.
  friend bool operator==(const real_array& a, const real_array& b) {
    return a.type_ == b.type_ && std::ranges::equal(a.bytes(), b.bytes());
  }

 private:
  static std::size_t element_bytes(dtype type) {
    require(is_wide_real(type) || is_float8(type), "storage type", name(type),
            "F32, F16, BF16, F8_E4M3, F8_E5M2 or F8_E8M0");
    return static_cast<std::size_t>(bits_of(type)) / 8;
  }
  dtype type_ = dtype::f32;
  std::vector<std::byte> own_;
  std::span<const std::byte> foreign_;
  std::shared_ptr<const void> owner_;  // of foreign_; null: the bytes are own_
  release_function release_ = nullptr;
};

/// x stored as `type`, row-major.
template <class T>
real_array store_as(dtype type, matrix_view<T> x) {
  real_array a(type, x.size());
  index_t k = 0;
  for (index_t i = 0; i < x.rows(); ++i)
    for (index_t j = 0; j < x.cols(); ++j) a.set(k++, static_cast<float>(x(i, j)));
  return a;
}
inline real_array store_as(dtype type, std::span<const float> x) {
  real_array a(type, static_cast<index_t>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) a.set(static_cast<index_t>(i), x[i]);
  return a;
}

}  // namespace tersor
