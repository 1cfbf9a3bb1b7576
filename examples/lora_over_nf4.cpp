// tersor - example: LoRA trained over a frozen NF4 layer (QLoRA), in a training loop of your own
// SPDX-License-Identifier: MIT
//
// Shows: a weight in 4.14 bits with double quantization; A and B as parameters on a tape, through which
// gradients flow past the packed operator; AdamW with a schedule; the trained adapter beside the base. Alone:
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/lora_over_nf4.cpp && ./a.out
#include <cstdio>

#include <tersor/adapters/lora.hpp>
#include <tersor/grad/elementwise.hpp>
#include <tersor/grad/optimizer.hpp>
#include <tersor/grad/product.hpp>
#include <tersor/grad/schedule.hpp>
#include <tersor/grad/shape.hpp>
#include <tersor/quant/nf4.hpp>

namespace {

using tersor::index_t;

tersor::matrix<float> normal(index_t rows, index_t cols, float deviation, tersor::random_generator& random) {
  tersor::matrix<float> m(rows, cols);
  for (float& v : m.values()) v = deviation * static_cast<float>(random.normal());
  return m;
}

}  // namespace

int main() {
  namespace grad = tersor::grad;
  constexpr index_t out = 128, in = 256, tokens = 64, steps = 300;
  tersor::random_generator random(1);
  const auto w = normal(out, in, 0.1F, random);
  // The layer that is to be learned differs from W by a matrix of rank 4.
  auto target = w;
  const auto left = normal(out, 4, 0.1F, random), right = normal(4, in, 0.3F, random);
  tersor::linalg::gemm<float>(1.0F, left, right, 1.0F, target);

  const auto base = tersor::quant::nf4{}(w);
  const auto frozen = base.op.to_dense();
  auto adapter = tersor::adapters::lora{.rank = 8, .alpha = 16}.init(base.op, random);
  const auto error = [&] {  // of the outputs on inputs that were not trained on
    auto held_back = tersor::random_generator(2);
    const auto x = normal(512, in, 1.0F, held_back);
    tersor::matrix<float> y(x.rows(), out);
    adapter.forward(base.op, x, y);
    tersor::error_statistics e;
    e.add(tersor::linalg::multiply(x, target.view().transposed()), y);
    return e.relative_frobenius();
  };
  const double before = error();

  grad::parameter<float> a("A", adapter.a()), b("B", adapter.b());
  grad::optimizer<float> optimizer(grad::adamw{}, {{.parameters = {&a, &b}, .learning_rate = 1e-2}});
  const grad::schedule rate{.form = grad::decay_form::linear, .warmup = 20, .total = steps};
  grad::tape<float> tape;
  for (index_t step = 1; step <= steps; ++step) {
    const auto inputs = normal(tokens, in, 1.0F, random);
    const auto x = tape.constant(inputs);
    const auto change = grad::linear(grad::linear(x, tape.use(a)), tape.use(b));
    const auto y = grad::linear(x, base.op) + static_cast<float>(adapter.scale()) * change;
    const auto wanted = tape.constant(tersor::linalg::multiply(inputs, target.view().transposed()));
    tape.backward(mean(square(y - wanted)));
    tape.clear();
    optimizer.step(rate(step));
    optimizer.clear_gradients();
  }
  adapter.tensors()[0].value = a.value;
  adapter.tensors()[1].value = b.value;

  std::printf("base: %zu bytes, %.3f bits per weight; adapter: %td trainable values, %td bytes\n",
              base.report.bytes, base.report.bits_per_weight, adapter.trainable_count(),
              adapter.stored_bytes());
  std::printf("error of the outputs %.4f -> %.4f, the base is %s\n", before, error(),
              base.op.to_dense() == frozen ? "the same" : "ANOTHER ONE");
}
