// tersor - example: one layer of your own, in Eigen matrices, quantized and used without a dense copy
// SPDX-License-Identifier: MIT
//
// Shows: statistics of the inputs, added sequence by sequence; rounding to nearest and GPTQ on the same grid;
// the packed operator applied to new data; error and bytes from the report. Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/quantize_layer.cpp && ./a.out
#include <Eigen/Core>
#include <cstdio>

#include <tersor/quant/gptq.hpp>

namespace {

// Activations whose neighbouring channels resemble each other, as they do in networks.
Eigen::MatrixXf activations(Eigen::Index tokens, Eigen::Index features, tersor::random_generator& random) {
  Eigen::MatrixXf x(tokens, features);
  for (Eigen::Index t = 0; t < tokens; ++t)
    for (Eigen::Index j = 0; j < features; ++j)
      x(t, j) = (j > 0 ? 0.9F * x(t, j - 1) : 0.0F) + static_cast<float>(random.normal());
  return x;
}

void print(const char* name, const tersor::solve::report& r) {
  std::printf("%-8s error of the weights %.4f, of the outputs %.4f; %zu bytes, %.3f bits per weight\n", name,
              r.relative_error, *r.weighted_error, r.bytes, r.bits_per_weight);
}

}  // namespace

int main() {
  constexpr Eigen::Index out = 256, in = 512;
  tersor::random_generator random(1);
  const Eigen::MatrixXf w =
      Eigen::MatrixXf::NullaryExpr(out, in, [&] { return static_cast<float>(random.normal()); });

  tersor::calib::statistics inputs(in);  // sums and X'X: the sequences themselves are not kept
  for (int sequence = 0; sequence < 4; ++sequence) inputs.add(activations(512, in, random));

  const auto nearest = tersor::quant::rtn{.bits = 4, .group_size = 128}(w, &inputs);
  const auto packed = tersor::quant::gptq{.bits = 4, .group_size = 128}(w, inputs);
  print("rtn", nearest.report);
  print("gptq", packed.report);

  // y = x Wᵀ from the packed codes, written into a matrix of ours.
  const Eigen::MatrixXf x = activations(64, in, random);
  Eigen::MatrixXf y(x.rows(), out);
  packed.op.apply(x, y);
  const Eigen::MatrixXf expected = x * w.transpose();
  std::printf("on new inputs: relative error of the outputs %.4f\n", (y - expected).norm() / expected.norm());
}
