// tersor - example: GPTQ, and a low-rank operator for what it leaves
// SPDX-License-Identifier: MIT
//
// Shows: `+`, which fits its second method to the residual of the first; a residual that is cut by the error
// of the weights, and by that of the outputs; what each part takes. Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/gptq_and_low_rank.cpp && ./a.out
#include <cstdio>

#include <tersor/lowrank/svd.hpp>
#include <tersor/quant/gptq.hpp>

namespace {

template <class Result>
void print(const char* name, const Result& result) {
  std::printf("%-38s %.3f bits per weight, error of the weights %.4f, of the outputs %.4f\n", name,
              result.report.bits_per_weight, result.report.relative_error, *result.report.weighted_error);
}

}  // namespace

int main() {
  using tersor::index_t;
  constexpr index_t out = 256, in = 512;
  tersor::random_generator random(1);
  tersor::matrix<float> w(out, in), x(2048, in);
  for (float& v : w.values()) v = static_cast<float>(random.normal());
  // Inputs of which a few directions carry most, as in networks: eight that all channels share, and noise.
  tersor::matrix<float> shared(8, in);
  for (float& v : shared.values()) v = static_cast<float>(random.normal());
  for (index_t t = 0; t < x.rows(); ++t) {
    for (float& v : x.row(t)) v = 0.3F * static_cast<float>(random.normal());
    for (index_t k = 0; k < shared.rows(); ++k) {
      const auto strength = static_cast<float>(random.normal());
      for (index_t j = 0; j < in; ++j) x(t, j) += strength * shared(k, j);
    }
  }
  tersor::calib::statistics inputs(in);
  inputs.add(x);

  const tersor::quant::gptq three_bits{.bits = 3, .group_size = 128};
  const tersor::lowrank::svd plain{.rank = 8};
  const tersor::lowrank::svd whitened{.method = tersor::lowrank::svd_method::whitened, .rank = 8};
  print("gptq(bits=3)", three_bits(w, inputs));
  print("gptq(bits=3)+svd(rank=8)", (three_bits + plain)(w, inputs));
  const auto both = (three_bits + whitened)(w, inputs);
  print("gptq(bits=3)+svd(method=whitened)", both);
  print("gptq(bits=4)", tersor::quant::gptq{.bits = 4, .group_size = 128}(w, inputs));

  // One operator with two parts: packed codes, and two factors in bf16.
  for (const auto& part : both.op.storage().parts)
    std::printf("    %-14s %6zu bytes\n", part.name.c_str(), part.bytes);
  tersor::matrix<float> y(x.rows(), out);
  both.op.apply(x, y);  // y = x (Q + A B)ᵀ, and the sum is never formed
}
