// tersor - the random streams of PyTorch's CPU generator
// SPDX-License-Identifier: MIT
#pragma once

// No paper: for adapters whose files leave out what a seed determines.

#include <cstdint>  // std::uint32_t
#include <random>   // std::mt19937
#include <span>     // std::span
#include <utility>  // std::swap
#include <vector>   // std::vector

#include <tersor/core/view.hpp>

namespace tersor::adapters {

/// Mersenne twister 19937 with PyTorch's conversions (torch.Generator(device="cpu").manual_seed(seed)). Not
/// for anything but reading such files: elsewhere use `tersor::random_generator`.
class torch_generator {
 public:
  explicit torch_generator(std::uint64_t seed) : engine_(static_cast<std::uint32_t>(seed)) {}

  std::uint32_t bits32() { return static_cast<std::uint32_t>(engine_()); }
  /// The first word is the high one.
  std::uint64_t bits64() {
    const std::uint64_t high = bits32();
    return high << 32 | bits32();
  }

  /// Tensor.uniform_(low, high) in float32, in row-major order.
  void uniform(std::span<float> x, float low, float high) {
    for (float& v : x) v = static_cast<float>(bits32() & 0xffffffU) * 0x1p-24F * (high - low) + low;
  }
  /// torch.randperm(n).
  std::vector<index_t> permutation(index_t n) {
    std::vector<index_t> order(static_cast<std::size_t>(n));
    for (index_t i = 0; i < n; ++i) order[static_cast<std::size_t>(i)] = i;
    const bool wide = static_cast<std::uint64_t>(n) >= 0xffffffffU / 20;
    for (index_t i = 0; i + 1 < n; ++i) {
      const auto left = static_cast<std::uint64_t>(n - i);
      const auto z = static_cast<index_t>((wide ? bits64() : bits32()) % left);
      std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(i + z)]);
    }
    return order;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace tersor::adapters
