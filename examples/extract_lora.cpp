// tersor - example: a fine-tuned weight becomes its base and a LoRA
// SPDX-License-Identifier: MIT
//
// Shows: how large a rank a difference needs; that a rank, a share of the energy or an error can be asked
// for. Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/extract_lora.cpp && ./a.out
#include <cstdio>

#include <tersor/adapters/extract.hpp>
#include <tersor/core/random.hpp>

int main() {
  using tersor::index_t;
  constexpr index_t out = 96, in = 128, rank = 3;
  tersor::random_generator random(1);
  const auto normal = [&](index_t rows, index_t cols, float size) {
    tersor::matrix<float> m(rows, cols);
    for (float& v : m.values()) v = size * static_cast<float>(random.normal());
    return m;
  };
  const auto base = normal(out, in, 1.0F), b = normal(out, rank, 0.2F), a = normal(rank, in, 0.2F);
  auto tuned = base;  // training changed it by a matrix of rank 3, and a little everywhere
  for (index_t i = 0; i < out; ++i)
    for (index_t j = 0; j < in; ++j) {
      for (index_t k = 0; k < rank; ++k) tuned(i, j) += b(i, k) * a(k, j);
      tuned(i, j) += 0.004F * static_cast<float>(random.normal());
    }

  const auto print = [&](const char* asked, const tersor::adapters::extract& method) {
    const auto found = method(base, tuned);
    const auto merged = found.state.effective({base, {}}).weight;
    double off = 0;
    for (index_t i = 0; i < merged.size(); ++i)
      off = std::max(off, std::abs(static_cast<double>(merged.data()[i] - tuned.data()[i])));
    std::printf(
        "%-12s rank %2td, %.4f of the energy, error %.4f; base + adapter within %.3f of the tuned weight\n",
        asked, found.state.a().rows(), found.energy, found.relative_error, off);
  };
  print("rank=1", {.rank = 1});
  print("energy=0.99", {.energy = 0.99});
  print("error=0.05", {.error = 0.05});
}
