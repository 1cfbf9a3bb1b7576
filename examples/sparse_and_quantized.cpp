// tersor - example: two methods in a row, of which the second stores only what the first one kept
// SPDX-License-Identifier: MIT
//
// Shows: a 2:4 layer and its bytes; SparseGPT to 2:4 and then GPTQ to 4 bits on the kept weights, as one
// call; bits per weight with everything counted, next to plain 3-bit GPTQ of nearly the same size. Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/sparse_and_quantized.cpp &&
//   ./a.out
#include <cstdio>

#include <tersor/prune/sparsegpt.hpp>
#include <tersor/quant/gptq.hpp>

namespace {

template <class Result>
void print(const char* name, const Result& result) {
  std::printf("%-36s %.4f bits per weight, error %.3f\n", name, result.report.bits_per_weight,
              *result.report.weighted_error);
  for (const auto& part : result.op.storage().parts)
    std::printf("    %-10s %6zu bytes\n", part.name.c_str(), part.bytes);
}

}  // namespace

int main() {
  using tersor::index_t;
  constexpr index_t out = 128, in = 256;
  tersor::random_generator random(1);
  tersor::matrix<float> w(out, in), x(2048, in);
  // Weights of heavy tails: many are nearly zero.
  for (float& v : w.values()) v = static_cast<float>(random.normal() * random.normal() * random.normal());
  for (index_t t = 0; t < x.rows(); ++t)
    for (index_t j = 0; j < in; ++j)
      x(t, j) = (j > 0 ? 0.8F * x(t, j - 1) : 0.0F) + static_cast<float>(random.normal());
  tersor::calib::statistics inputs(in);
  inputs.add(x);

  // 2 of 4 weights in bf16, and 2 bits for the place of each; with GPTQ, codes of 4 bits in the place of
  // bf16, and 16 + 4 bits of scale and zero point for each 128 inputs.
  const tersor::prune::sparsegpt two_of_four{.pattern = {2, 4}};
  const auto pruned = two_of_four(w, inputs);
  print("sparsegpt(pattern=2:4)", pruned);
  const auto both = (two_of_four | tersor::quant::gptq{.bits = 4})(w, inputs);
  print("sparsegpt(pattern=2:4)|gptq(bits=4)", both);
  print("gptq(bits=3)", tersor::quant::gptq{.bits = 3}(w, inputs));

  // The kept positions are stored exactly, whatever a kept weight was rounded to.
  const auto* sparse = both.op.as<tersor::op::sparse_nm>();
  const auto dense = both.op.to_dense();
  index_t zeros = 0, kept = 0;
  for (index_t r = 0; r < out; ++r) kept += static_cast<index_t>(sparse->columns(r).size());
  for (const float v : dense.values()) zeros += v == 0.0F;
  std::printf("first row keeps columns %d %d | %d %d | ...; %td of %td weights kept, %td are zero\n",
              sparse->columns(0)[0], sparse->columns(0)[1], sparse->columns(0)[2], sparse->columns(0)[3],
              kept, dense.size(), zeros);
}
