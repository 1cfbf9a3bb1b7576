// tersor - example: xtensor containers and views in, xtensor back, without copies on the way
// SPDX-License-Identifier: MIT
//
// Shows: a batch of rank 3 whose sequences are views; a weight that is a part of a fused one, stored
// transposed; outputs written into a view; decoded weights as an xtensor adaptor. Alone (libxtensor-dev):
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/xtensor_views.cpp && ./a.out
#if __has_include(<xtensor/views/xview.hpp>)  // since 0.26
#include <xtensor/core/xmath.hpp>
#include <xtensor/misc/xmanipulation.hpp>
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xmanipulation.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xview.hpp>
#endif

#include <cstdio>

#include <tersor/core/xtensor.hpp>
#include <tersor/quant/gptq.hpp>

int main() {
  constexpr std::size_t batch = 4, tokens = 256, in = 96, out = 64;
  tersor::random_generator random(1);
  xt::xtensor<float, 3> x = xt::zeros<float>({batch, tokens, in});
  xt::xtensor<float, 2> qkv = xt::zeros<float>({in, 3 * out});  // [in, q | k | v], as some frameworks keep it
  for (float& v : x) v = static_cast<float>(random.normal());
  for (float& v : qkv) v = static_cast<float>(random.normal());

  // Every other token of each sequence: strides of two rows.
  tersor::calib::statistics inputs(in);
  for (std::size_t b = 0; b < batch; ++b) inputs.add(xt::view(x, b, xt::range(0, tokens, 2), xt::all()));

  // The keys' weight as tersor wants it, [out, in]: a transposed view of some columns.
  const auto keys = xt::view(qkv, xt::all(), xt::range(out, 2 * out));
  const auto w = xt::transpose(keys);
  const tersor::quant::gptq method{.bits = 4, .group_size = 32};
  const auto packed = method(w, inputs);
  const xt::xtensor<float, 2> copy = w;
  const bool same = packed.op.codes() == method(copy, inputs).op.codes();
  std::printf("the view and a contiguous copy give the %s codes\n", same ? "same" : "OTHER");

  // The outputs of the last sequence, written where they belong.
  xt::xtensor<float, 3> y = xt::zeros<float>({batch, tokens, out});
  auto place = xt::view(y, batch - 1, xt::all(), xt::all());
  packed.op.apply(xt::view(x, batch - 1, xt::all(), xt::all()), place);

  // The decoded weight, seen by xtensor where it lies.
  const tersor::matrix<float> dense = packed.op.to_dense();
  const auto decoded = tersor::adapt(dense);
  const double error = std::sqrt(xt::sum(xt::square(decoded - w))() / xt::sum(xt::square(w))());
  std::printf("decoded weight %zu x %zu %s, relative error %.3f, report says %.3f\n", decoded.shape()[0],
              decoded.shape()[1], decoded.data() == dense.data() ? "in place" : "COPIED", error,
              packed.report.relative_error);
  double expected = 0;
  for (std::size_t j = 0; j < in; ++j) expected += static_cast<double>(x(batch - 1, 0, j) * decoded(0, j));
  std::printf("y[%zu, 0, 0] = %.3f, by hand %.3f\n", batch - 1, static_cast<double>(y(batch - 1, 0, 0)),
              expected);
}
