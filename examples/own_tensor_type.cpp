// tersor - example: a tensor type that tersor has never heard of
// SPDX-License-Identifier: MIT
//
// Shows: one specialisation of tersor::view_traits makes an engine's struct (extents from the fastest axis,
// strides in bytes, a type tag, padded rows) an argument of everything: statistics, techniques, operators.
// Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/own_tensor_type.cpp && ./a.out
#include <cstdio>
#include <vector>

#include <tersor/prune/wanda.hpp>
#include <tersor/quant/rtn.hpp>

namespace engine {

enum class type { f32, f16 };
/// ne[0] runs fastest; element (i, j) is nb[1] * i + nb[0] * j bytes from `data`.
struct tensor {
  engine::type type;
  std::int64_t ne[2];
  std::size_t nb[2];
  void* data;
};

}  // namespace engine

// Everything that tersor asks for: where the elements are. The element type is part of a view's type, so this
// one is for f32 and says so to whoever passes another.
template <>
struct tersor::view_traits<engine::tensor> {
  static matrix_view<float> view(const engine::tensor& t) {
    require(t.type == engine::type::f32, "engine::tensor: type", "f16", "f32");
    const auto stride = [](std::size_t bytes) { return static_cast<index_t>(bytes / sizeof(float)); };
    return {static_cast<float*>(t.data), {t.ne[1], t.ne[0]}, {stride(t.nb[1]), stride(t.nb[0])}};
  }
};

int main() {
  constexpr std::int64_t in = 100, out = 8, tokens = 32;
  constexpr std::int64_t row = 128;  // elements from row to row: rows are padded
  tersor::random_generator random(1);
  std::vector<float> w_memory(row * out), x_memory(row * tokens), y_memory(row * tokens, -1.0F);
  for (float& v : w_memory) v = static_cast<float>(random.normal());
  for (float& v : x_memory) v = static_cast<float>(random.normal());
  const auto tensor = [&](std::vector<float>& memory, std::int64_t cols, std::int64_t rows) {
    return engine::tensor{
        engine::type::f32, {cols, rows}, {sizeof(float), row * sizeof(float)}, memory.data()};
  };
  const engine::tensor w = tensor(w_memory, in, out), x = tensor(x_memory, in, tokens);
  engine::tensor y = tensor(y_memory, out, tokens);

  const auto packed = tersor::quant::rtn{.bits = 8, .group_size = 32}(w);
  packed.op.apply(x, y);  // the padding of y stays as it is
  float exact = 0;
  for (std::int64_t j = 0; j < in; ++j)
    exact += w_memory[static_cast<std::size_t>(j)] * x_memory[static_cast<std::size_t>(j)];
  std::printf("8 bit: y[0, 0] = %.2f, exact %.2f, padding %.0f, %zu bytes\n",
              static_cast<double>(y_memory[0]), static_cast<double>(exact),
              static_cast<double>(y_memory[out]), packed.report.bytes);

  tersor::calib::statistics inputs(in, {.gram = false});
  inputs.add(x, "x");
  const auto pruned = tersor::prune::wanda{.pattern = {2, 4}}(w, inputs);
  std::printf("2:4 by wanda: %s, %.1f bits per weight\n", pruned.op.kind().data(),
              pruned.report.bits_per_weight);

  y.type = engine::type::f16;  // refused
  try {
    packed.op.apply(x, y);
  } catch (const tersor::error& e) {
    std::printf("error: %s\n", e.what());
  }
}
