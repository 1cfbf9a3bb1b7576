// tersor - example: a loop of your own, compiled for every instruction set and chosen when the program runs
// SPDX-License-Identifier: MIT
//
// Shows: one source for the portable path, AVX2 and AVX-512 without a machine flag; asking for a path, as
// tests do; how the result stays the same bits on all of them. Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/own_kernel.cpp && ./a.out
#include <cstdio>
#include <vector>

#include <tersor/core/random.hpp>
#include <tersor/core/view.hpp>
#include <tersor/kernel/target.hpp>

namespace {

using tersor::index_t;

/// The largest magnitude of x [n]. All that `run` calls is marked TERSOR_ALWAYS_INLINE too, so that the body
/// is compiled once for each instruction set. A maximum does not depend on the order; a sum would, so it gets
/// a fixed number of partial sums, the same on every path.
struct largest_magnitude {
  static TERSOR_ALWAYS_INLINE float run(const float* x, index_t n) {
    float lanes[16] = {};
    index_t i = 0;
    for (; i + 16 <= n; i += 16)
      for (index_t l = 0; l < 16; ++l) lanes[l] = larger(lanes[l], x[i + l]);
    for (; i < n; ++i) lanes[0] = larger(lanes[0], x[i]);
    float most = 0;
    for (const float lane : lanes) most = larger(most, lane);
    return most;
  }
  static TERSOR_ALWAYS_INLINE float larger(float most, float x) {
    const float size = x < 0 ? -x : x;
    return size > most ? size : most;
  }
};

}  // namespace

int main() {
  using tersor::kernel::target;
  tersor::random_generator random(1);
  std::vector<float> x(1003);  // no multiple of anything
  for (float& v : x) v = static_cast<float>(random.normal());
  const auto n = static_cast<index_t>(x.size());

  const float expected = largest_magnitude::run(x.data(), n);  // the plain code is the oracle
  bool same = true;
  for (const target t : {target::portable, target::avx2, target::avx512, target::neon})
    if (tersor::kernel::is_supported(t))
      same = same && tersor::kernel::run<largest_magnitude>(t, x.data(), n) == expected;
  std::printf(
      "largest magnitude %.4f, %s on every path of this processor\n",
      static_cast<double>(tersor::kernel::run<largest_magnitude>(tersor::kernel::best_target(), x.data(), n)),
      same ? "the same" : "NOT THE SAME");
}
