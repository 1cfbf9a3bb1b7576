// tersor - example: the first program of docs/getting_started.md
// SPDX-License-Identifier: MIT
//
// Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/first.cpp && ./a.out
#include <Eigen/Core>
#include <iostream>

#include <tersor/quant/gptq.hpp>

int main() {
  const Eigen::MatrixXf w = Eigen::MatrixXf::Random(256, 512);   // a weight, [out, in]
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(2048, 512);  // inputs of that layer, [tokens, in]

  tersor::calib::statistics inputs(512);
  inputs.add(x);  // once per sequence
  const auto result = tersor::quant::gptq{.bits = 4, .group_size = 128}(w, inputs);

  Eigen::MatrixXf y(x.rows(), w.rows());
  result.op.apply(x, y);  // y = x Wᵀ from the packed weight
  std::cout << result.report.bits_per_weight << " bits per weight, output error "
            << *result.report.weighted_error << '\n';
}
