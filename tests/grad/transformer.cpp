// tersor - a transformer of two blocks trained on the tape, from end to end
// SPDX-License-Identifier: MIT
#include "grad/differences.hpp"

#include <tersor/grad/attention.hpp>
#include <tersor/grad/checkpoint.hpp>
#include <tersor/grad/cross_entropy.hpp>
#include <tersor/grad/optimizer.hpp>
#include <tersor/grad/product.hpp>
#include <tersor/grad/schedule.hpp>

namespace tersor {
namespace transformer_tests {

using namespace tersor_test;
using grad::parameter;
using grad::tape;
using grad::variable;

constexpr index_t vocabulary = 11, hidden = 16, heads = 4, kv_heads = 2, head_dim = 4, inner = 24,
                  length = 12;

template <class T>
struct transformer {
  std::vector<std::unique_ptr<parameter<T>>> all;
  parameter<T>*table, *norm, *head;
  struct layer {
    parameter<T>*norm1, *q, *k, *v, *o, *norm2, *gate, *up, *down;
  };
  std::vector<layer> layers;
  grad::rotary_table positions{std::vector<double>{1.0, 0.1}, length};

  transformer() {
    table = weight("table", vocabulary, hidden);
    for (int l = 0; l < 2; ++l) {
      const auto name = [&](const char* part) { return concat("layer ", l, " ", part); };
      layers.push_back({ones(name("norm1")), weight(name("q"), heads * head_dim, hidden),
                        weight(name("k"), kv_heads * head_dim, hidden),
                        weight(name("v"), kv_heads * head_dim, hidden),
                        weight(name("o"), hidden, heads * head_dim), ones(name("norm2")),
                        weight(name("gate"), inner, hidden), weight(name("up"), inner, hidden),
                        weight(name("down"), hidden, inner)});
    }
    norm = ones("norm");
    head = weight("head", vocabulary, hidden);
  }
  parameter<T>* weight(std::string name, index_t rows, index_t cols) {
    auto w = normal_matrix(rows, cols, 500 + all.size());
    for (double& v : w.values()) v *= 0.3;
    return all.emplace_back(std::make_unique<parameter<T>>(std::move(name), converted<T>(w))).get();
  }
  parameter<T>* ones(std::string name) {
    return all.emplace_back(std::make_unique<parameter<T>>(std::move(name), matrix<T>(1, hidden, T(1))))
        .get();
  }
  std::vector<parameter<T>*> parameters() const {
    std::vector<parameter<T>*> p;
    for (const auto& x : all) p.push_back(x.get());
    return p;
  }

  variable<T> block(tape<T>& t, const variable<T>& x, const layer& l) const {
    const auto n = rms_norm(x, t.use(*l.norm1), 1e-5);
    const auto q = rotary(linear(n, t.use(*l.q)), positions, length),
               k = rotary(linear(n, t.use(*l.k)), positions, length);
    const auto h =
        x + linear(attention(q, k, linear(n, t.use(*l.v)), {heads, kv_heads, length, true}), t.use(*l.o));
    const auto m = rms_norm(h, t.use(*l.norm2), 1e-5);
    return h + linear(swiglu(linear(m, t.use(*l.gate)), linear(m, t.use(*l.up))), t.use(*l.down));
  }
  variable<T> loss(tape<T>& t, std::span<const std::int32_t> ids, std::span<const std::int32_t> targets,
                   bool checkpointed) const {
    auto x = embedding(t.use(*table), ids);
    for (const auto& l : layers)
      x = checkpointed
              ? checkpoint(t, [this, &l](tape<T>& again, const auto& in) { return block(again, in[0], l); },
                           {x})
              : block(t, x, l);
    return linear_cross_entropy(rms_norm(x, t.use(*norm), 1e-5), t.use(*head), targets);
  }
};

/// Sequences that a model can learn: each token is the one before it times 2 plus 1, modulo the vocabulary.
struct batch {
  std::vector<std::int32_t> ids, targets;
};
batch make_batch(std::uint64_t seed) {
  random_generator random(seed);
  batch b;
  for (int s = 0; s < 4; ++s) {
    auto token = static_cast<std::int32_t>(random.uniform_index(vocabulary));
    for (index_t i = 0; i < length; ++i) {
      b.ids.push_back(token);
      token = (2 * token + 1) % static_cast<std::int32_t>(vocabulary);
      b.targets.push_back(token);
    }
  }
  return b;
}

struct training {
  std::vector<double> losses;
  std::vector<matrix<float>> weights;
  index_t peak = 0;
};
training train(int steps, bool checkpointed, int thread_count) {
  const transformer<float> model;
  grad::optimizer<float> o(grad::adamw{}, {{.parameters = model.parameters(), .learning_rate = 1e-2}},
                           threads(thread_count));
  const grad::schedule rate{.form = grad::decay_form::cosine, .warmup = 5, .total = 200, .final = 0.1};
  tape<float> t(threads(thread_count));
  training r;
  for (int i = 0; i < steps; ++i) {
    const auto b = make_batch(static_cast<std::uint64_t>(i));
    const auto loss = model.loss(t, b.ids, b.targets, checkpointed);
    grad::require_finite(loss, "loss");
    r.losses.push_back(static_cast<double>(loss.item()));
    t.backward(loss);
    grad::clip_gradients<float>(o.parameters(), 1.0, threads(thread_count));
    o.step(rate(o.steps() + 1));
    o.clear_gradients();
    t.clear();
  }
  for (const auto* p : model.parameters()) r.weights.push_back(p->value);
  r.peak = t.memory().peak();
  return r;
}

TEST_CASE("transformer: learns a rule, from the loss of a guess to nearly none") {
  const auto r = train(120, false, 1);
  CHECK(r.losses.front() > 0.8 * std::log(static_cast<double>(vocabulary)));
  CHECK(r.losses.back() < 0.1);
}

TEST_CASE("transformer: checkpoints and threads change no bit of the weights") {
  const auto plain = train(6, false, 1), kept = train(6, true, 1), parallel = train(6, true, 3);
  CHECK(kept.losses == plain.losses);
  CHECK(kept.weights == plain.weights);
  CHECK(parallel.weights == plain.weights);
  CHECK(kept.peak < plain.peak);
}

TEST_CASE("transformer: every parameter's gradient along a direction is that of a central difference") {
  const transformer<double> model;
  const auto b = make_batch(3);
  tape<double> t;
  t.backward(model.loss(t, b.ids, b.targets, true));
  const auto loss = [&] {
    tape<double> u;
    u.set_recording(false);
    return model.loss(u, b.ids, b.targets, false).item();
  };
  for (auto* p : model.parameters()) {
    const auto direction = normal_matrix(p->rows(), p->cols(), 9);
    const auto before = p->value;
    double along = 0, sides[2] = {};
    for (index_t i = 0; i < p->size(); ++i) along += p->gradient().data()[i] * direction.data()[i];
    const double h = 1e-5;
    for (const int side : {0, 1}) {
      for (index_t i = 0; i < p->size(); ++i)
        p->value.data()[i] = before.data()[i] + (side == 0 ? -h : h) * direction.data()[i];
      sides[side] = loss();
    }
    p->value = before;
    INFO(p->name);
    CHECK(std::abs(along - (sides[1] - sides[0]) / (2 * h)) < 1e-7 * (1 + std::abs(along)));
  }
}

TEST_CASE(
    "transformer: frozen layers get no gradient, and what runs before the first trained one keeps nothing") {
  const transformer<float> model;
  for (auto* p : model.parameters())
    if (p->name.starts_with("table") || p->name.starts_with("layer 0")) p->frozen.freeze_all();
  const auto b = make_batch(1);
  tape<float> t;
  const auto x = embedding(t.use(*model.table), std::span<const std::int32_t>(b.ids));
  const auto y = model.block(t, x, model.layers[0]);
  CHECK_FALSE(y.needs_gradient());
  CHECK(t.memory().current() == 2 * 4 * length * hidden * 4);  // x and y, held by their variables
  t.clear();
  t.backward(model.loss(t, b.ids, b.targets, false));
  for (const auto* p : model.parameters()) CHECK(p->has_gradient() == !p->frozen.all());
}

}  // namespace transformer_tests
}  // namespace tersor
