// tersor - tests of grad/optimizer.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/optimizer.hpp>

#include "grad/differences.hpp"

#include <tersor/core/float16.hpp>
#include <tersor/grad/product.hpp>

namespace tersor {
namespace optimizer_tests {

using namespace tersor_test;
using grad::adamw;
using grad::decay_order;
using grad::encoded_tensor;
using grad::optimizer;
using grad::parameter;
using grad::parameter_group;
using grad::sgd;
using grad::tensor_codec;
using grad::tensor_use;

/// Some gradient that changes with the step and with the weights.
template <class T>
void give_gradient(parameter<T>& p, int step) {
  auto g = converted<T>(normal_matrix(p.rows(), p.cols(), 100 + static_cast<std::uint64_t>(step)));
  for (index_t i = 0; i < g.size(); ++i) g.data()[i] += T(0.5) * p.value.data()[i];
  p.clear_gradient();
  p.accumulate(g);
}

TEST_CASE("optimizer: gradient descent, momentum and Nesterov by their recurrences") {
  for (const double momentum : {0.0, 0.9})
    for (const bool nesterov : {false, true}) {
      parameter<double> p("p", normal_matrix(3, 5, 1));
      optimizer<double> o(sgd{.momentum = momentum, .nesterov = nesterov},
                          {{.parameters = {&p}, .learning_rate = 0.1, .weight_decay = 0.01}});
      auto w = p.value;
      matrix<double> m(3, 5);
      for (int t = 1; t <= 4; ++t) {
        give_gradient(p, t);
        for (index_t i = 0; i < w.size(); ++i) {
          const double g = p.gradient().data()[i];
          m.data()[i] = momentum * m.data()[i] + g;
          const double d = nesterov ? g + momentum * m.data()[i] : m.data()[i];
          w.data()[i] -= 0.1 * (d + 0.01 * w.data()[i]);
        }
        o.step();
        for (index_t i = 0; i < w.size(); ++i) CHECK(std::abs(p.value.data()[i] - w.data()[i]) < 1e-14);
      }
      CHECK(o.state_bytes() == (momentum == 0 ? 0 : 15 * 8));
      CHECK(o.steps() == 4);
    }
}

TEST_CASE("optimizer: AdamW by its equations, and its first step is the learning rate along the signs") {
  parameter<double> p("p", normal_matrix(2, 7, 1));
  const auto before = p.value;
  optimizer<double> o(adamw{}, {{.parameters = {&p}, .learning_rate = 0.01, .weight_decay = 0.1}});
  auto w = p.value;
  matrix<double> m(2, 7), v(2, 7);
  for (int t = 1; t <= 5; ++t) {
    give_gradient(p, t);
    const auto g = p.gradient();
    for (index_t i = 0; i < w.size(); ++i) {
      double& mi = m.data()[i];
      double& vi = v.data()[i];
      mi = 0.9 * mi + 0.1 * g.data()[i];
      vi = 0.999 * vi + 0.001 * g.data()[i] * g.data()[i];
      const double corrected = mi / (1 - std::pow(0.9, t)), root = std::sqrt(vi / (1 - std::pow(0.999, t)));
      w.data()[i] = w.data()[i] * (1 - 0.01 * 0.1) - 0.01 * corrected / (root + 1e-8);
    }
    o.step();
    for (index_t i = 0; i < w.size(); ++i) CHECK(std::abs(p.value.data()[i] - w.data()[i]) < 1e-14);
    if (t == 1)
      for (index_t i = 0; i < w.size(); ++i)
        CHECK(std::abs(p.value.data()[i] - before.data()[i] * 0.999 + (g.data()[i] > 0 ? 0.01 : -0.01)) <
              1e-8);
  }
  CHECK(o.state_bytes() == 2 * 14 * 8);
}

TEST_CASE("optimizer: both find the minimum of a quadratic") {
  for (const bool adaptive : {false, true}) {
    parameter<double> p("p", normal_matrix(1, 10, 1));
    const auto target = normal_matrix(1, 10, 2);
    auto o = adaptive ? optimizer<double>(adamw{}, {{.parameters = {&p}, .learning_rate = 0.02}})
                      : optimizer<double>(sgd{.momentum = 0.5}, {{.parameters = {&p}, .learning_rate = 0.1}});
    grad::tape<double> t;
    for (int i = 0; i < 1500; ++i) {
      t.backward(sum(square(t.use(p) - t.constant(target))));
      o.step(i < 1000 ? 1.0 : 0.01);
      o.clear_gradients();
      t.clear();
    }
    for (index_t i = 0; i < 10; ++i) CHECK(std::abs(p.value.data()[i] - target.data()[i]) < 1e-3);
  }
}

TEST_CASE("optimizer: groups: with LoRA+ one step moves B exactly ratio times as far, A the same") {
  for (const double ratio : {1.0, 16.0}) {
    parameter<double> a("a", normal_matrix(2, 6, 1)), b("b", normal_matrix(5, 2, 2));
    const auto a0 = a.value, b0 = b.value;
    optimizer<double> o(sgd{}, {{.parameters = {&a}, .learning_rate = 0.25},
                                {.parameters = {&b}, .learning_rate = 0.25 * ratio}});
    a.accumulate(matrix<double>(2, 6, 0.5));
    b.accumulate(matrix<double>(5, 2, 0.5));
    o.step();
    for (index_t i = 0; i < a.size(); ++i) CHECK(a.value.data()[i] == a0.data()[i] - 0.125);
    for (index_t i = 0; i < b.size(); ++i) CHECK(b.value.data()[i] == b0.data()[i] - 0.125 * ratio);
  }
}

TEST_CASE("optimizer: the factor of a schedule, a changed group, and decay after the step") {
  parameter<double> p("p", matrix<double>(1, 1, 2.0));
  optimizer<double> o(
      sgd{}, {{.parameters = {&p}, .learning_rate = 0.5, .weight_decay = 0.5, .order = decay_order::after}});
  p.accumulate(matrix<double>(1, 1, 1.0));
  o.step(0.5);  // (2 - 0.25) (1 - 0.125)
  CHECK(p.value(0, 0) == 1.75 * 0.875);
  o.group(0).weight_decay = 0;
  o.group(0).learning_rate = 1;
  o.step();
  CHECK(p.value(0, 0) == 1.75 * 0.875 - 1);
  o.clear_gradients();
  o.step();  // without a gradient nothing is touched
  CHECK(p.value(0, 0) == 1.75 * 0.875 - 1);
}

TEST_CASE("optimizer: weights of a narrower type are rounded after each step, frozen ones stay") {
  for (const auto type : {dtype::bf16, dtype::f16}) {
    parameter<float> wide("wide", matrix<float>(3, 5)), narrow("narrow", matrix<float>(3, 5));
    random_generator random(4);
    for (index_t i = 0; i < 15; ++i)
      wide.value.data()[i] = narrow.value.data()[i] = static_cast<float>(random.normal());
    const auto before = narrow.value;
    narrow.frozen.freeze_rows(1, 1);
    optimizer<float> a(adamw{}, {{.parameters = {&wide}, .learning_rate = 0.01}});
    optimizer<float> b(adamw{}, {{.parameters = {&narrow}, .learning_rate = 0.01, .weight_type = type}});
    give_gradient(wide, 1);
    give_gradient(narrow, 1);
    a.step();
    b.step();
    for (index_t i = 0; i < 3; ++i)
      for (index_t j = 0; j < 5; ++j)
        CHECK(narrow.value(i, j) == (i == 1 ? before(i, j) : round_to(type, wide.value(i, j))));
  }
  // What a type cannot hold is an error that names the tensor.
  parameter<float> far("far", matrix<float>(1, 1, 65504.0F));
  optimizer<float> o(sgd{}, {{.parameters = {&far}, .learning_rate = 100.0, .weight_type = dtype::f16}});
  far.accumulate(matrix<float>(1, 1, -1.0F));
  CHECK(message_of([&] { o.step(); }).starts_with("far = 65604"));
}

TEST_CASE("optimizer: clipping by the norm of all gradients") {
  parameter<float> a("a", matrix<float>(1, 2)), b("b", matrix<float>(2, 1)),
      none("none", matrix<float>(1, 1));
  matrix<float> g(1, 2);
  g(0, 0) = 3;
  a.accumulate(g);
  b.accumulate(matrix<float>(2, 1, std::sqrt(8.0F)));
  const std::vector<parameter<float>*> all{&a, &b, &none};
  CHECK(std::abs(grad::clip_gradients<float>(all, 10.0) - 5.0) < 1e-6);
  CHECK(a.gradient()(0, 0) == 3.0F);
  CHECK(std::abs(grad::clip_gradients<float>(all, 1.0) - 5.0) < 1e-6);
  CHECK(std::abs(a.gradient()(0, 0) - 0.6F) < 1e-6F);
  CHECK(std::abs(grad::gradient_norm<float>(all) - 1.0) < 1e-6);
  b.accumulate(matrix<float>(2, 1, std::numeric_limits<float>::quiet_NaN()));
  CHECK(message_of([&] { grad::clip_gradients<float>(all, 1.0); }) ==
        "gradient of b[0, 0] = nan: expected a finite number");
  CHECK(message_of([&] { grad::clip_gradients<float>(all, 0.0); }) ==
        "clip_gradients: max_norm = 0: expected more than 0");
}

/// A mask of each kind over p.
template <class T>
void freeze_in_way(parameter<T>& p, int way) {
  matrix<std::uint8_t> bits(p.rows(), p.cols());
  for (index_t i = 0; i < bits.size(); ++i) bits.data()[i] = i % 3 == 0 ? 1 : 0;
  if (way == 0) p.frozen.freeze_all();
  if (way == 1) p.frozen.freeze_rows(1, 2);
  if (way == 2) p.frozen.freeze_columns(0, 3);
  if (way == 3) p.frozen.freeze_elements(bits);
  if (way == 4) {
    p.frozen.freeze_rows(0, 1);
    p.frozen.freeze_elements(bits);
  }
}

TEST_CASE("optimizer: not a bit of a frozen element moves, and it has no state") {
  for (int way = 0; way < 5; ++way)
    for (const bool adaptive : {false, true}) {
      parameter<float> p("p", converted<float>(normal_matrix(4, 5, 1))), free("free", p.value);
      freeze_in_way(p, way);
      const auto before = p.value;
      const auto make = [&](parameter<float>& q) {
        const std::vector<parameter_group<float>> groups{
            {.parameters = {&q}, .learning_rate = 0.1, .weight_decay = 0.1}};
        return adaptive ? optimizer<float>(adamw{}, groups) : optimizer<float>(sgd{.momentum = 0.9}, groups);
      };
      auto o = make(p), unfrozen = make(free);
      for (int t = 1; t <= 10; ++t) {
        give_gradient(p, t);
        give_gradient(free, t);
        o.step();
        unfrozen.step();
      }
      for (index_t i = 0; i < 4; ++i)
        for (index_t j = 0; j < 5; ++j) {
          if (p.frozen.is_frozen(i, j))
            CHECK(std::bit_cast<std::uint32_t>(p.value(i, j)) == std::bit_cast<std::uint32_t>(before(i, j)));
          else  // both rules work element by element: the others go where they would have gone
            CHECK(p.value(i, j) == free.value(i, j));
        }
      CHECK(o.state_bytes() == p.frozen.trainable_count() * 4 * (adaptive ? 2 : 1));
    }
}

TEST_CASE("optimizer: freezing more on the way releases state and keeps the others' course") {
  parameter<double> p("p", normal_matrix(4, 5, 1)), reference("p", p.value);
  optimizer<double> o(adamw{}, {{.parameters = {&p}, .weight_decay = 0.1}}),
      r(adamw{}, {{.parameters = {&reference}, .weight_decay = 0.1}});
  matrix<double> at_freeze;
  for (int t = 1; t <= 12; ++t) {
    if (t == 5) {
      p.frozen.freeze_columns(1, 2);
      at_freeze = p.value;
    }
    if (t == 9) {
      matrix<int> bits(4, 5);
      bits(3, 4) = 1;
      p.frozen.freeze_elements(bits);
      at_freeze(3, 4) = p.value(3, 4);
    }
    give_gradient(p, t);
    give_gradient(reference, t);
    o.step();
    r.step();
    CHECK(o.state_bytes() == 16 * p.frozen.trainable_count());
  }
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 5; ++j)
      CHECK(p.value(i, j) == (p.frozen.is_frozen(i, j) ? at_freeze(i, j) : reference.value(i, j)));
  p.frozen.freeze_all();
  o.step();
  CHECK(o.state_bytes() == 0);
  // Freed as a whole, it begins anew: the first step of a new optimizer.
  p.frozen.unfreeze();
  parameter<double> fresh("p", p.value);
  optimizer<double> n(adamw{}, {{.parameters = {&fresh}, .weight_decay = 0.1}});
  give_gradient(p, 20);
  give_gradient(fresh, 20);
  o.step();
  n.step();
  CHECK(p.value == fresh.value);
}

/// Rounds a state to bf16.
class bf16_codec : public tensor_codec<float> {
  struct encoded : encoded_tensor<float> {
    index_t rows, cols;
    std::vector<std::uint16_t> bits;
    matrix<float> decode() const override {
      matrix<float> x(rows, cols);
      for (index_t i = 0; i < x.size(); ++i) x.data()[i] = bf16::from_bits(bits[static_cast<std::size_t>(i)]);
      return x;
    }
    index_t bytes() const override { return static_cast<index_t>(2 * bits.size()); }
    std::vector<std::byte> save() const override {
      std::vector<std::byte> b(2 * bits.size());
      std::memcpy(b.data(), bits.data(), b.size());
      return b;
    }
  };

 public:
  mutable std::vector<std::string> uses;
  std::unique_ptr<encoded_tensor<float>> encode(const matrix<float>& x,
                                                const tensor_use& use) const override {
    uses.push_back(concat(use.owner, "/", use.tensor));
    auto e = std::make_unique<encoded>();
    e->rows = x.rows();
    e->cols = x.cols();
    for (const float v : x.values()) e->bits.push_back(bf16(v).bits);
    return e;
  }
  std::unique_ptr<encoded_tensor<float>> restore(std::span<const std::byte> b, index_t rows, index_t cols,
                                                 const tensor_use&) const override {
    auto e = std::make_unique<encoded>();
    e->rows = rows;
    e->cols = cols;
    e->bits.resize(b.size() / 2);
    std::memcpy(e->bits.data(), b.data(), b.size());
    return e;
  }
};

/// Keeps the columns at even indices, and counts its projections.
class even_columns : public grad::gradient_projection<float> {
 public:
  even_columns(index_t rows, index_t cols) : count_(1, 1), rows_(rows), cols_(cols) {}
  matrix<float> project(const matrix<float>& g, index_t t, const context&) override {
    count_(0, 0) += 1;
    CHECK(count_(0, 0) == static_cast<float>(t));
    matrix<float> x(rows_, (cols_ + 1) / 2);
    for (index_t i = 0; i < x.rows(); ++i)
      for (index_t j = 0; j < x.cols(); ++j) x(i, j) = g(i, 2 * j);
    return x;
  }
  matrix<float> lift(const matrix<float>& d, const context&) const override {
    matrix<float> x(rows_, cols_);
    for (index_t i = 0; i < d.rows(); ++i)
      for (index_t j = 0; j < d.cols(); ++j) x(i, 2 * j) = d(i, j);
    return x;
  }
  std::vector<std::pair<std::string, matrix<float>>> save() const override { return {{"count", count_}}; }
  void load(const std::vector<std::pair<std::string, matrix<float>>>& s) override { count_ = s.at(0).second; }

 private:
  matrix<float> count_;
  index_t rows_, cols_;
};

TEST_CASE("optimizer: a run that was interrupted goes on with the same bits") {
  const auto codec = std::make_shared<bf16_codec>();
  for (int kind = 0; kind < 4; ++kind) {
    const auto groups = [&](parameter<float>& p, parameter<float>& q) {
      std::vector<parameter_group<float>> g{{.parameters = {&p}, .learning_rate = 0.01, .weight_decay = 0.1},
                                            {.parameters = {&q}, .learning_rate = 0.03}};
      if (kind == 1 || kind == 3) g[0].codec = codec;
      if (kind >= 2)
        g[0].projection = [](index_t rows, index_t cols) {
          return std::make_unique<even_columns>(rows, cols);
        };
      return g;
    };
    parameter<float> p("p", converted<float>(normal_matrix(4, 5, 1))),
        q("q", converted<float>(normal_matrix(2, 3, 2)));
    q.frozen.freeze_rows(0, 1);
    optimizer<float> o(adamw{}, groups(p, q));
    const auto steps = [](optimizer<float>& x, parameter<float>& a, parameter<float>& b, int from, int to) {
      for (int t = from; t <= to; ++t) {
        give_gradient(a, t);
        give_gradient(b, t + 50);
        x.step();
      }
    };
    steps(o, p, q, 1, 5);
    const auto saved = o.state();
    parameter<float> p2("p", p.value), q2("q", q.value);
    q2.frozen = q.frozen;
    steps(o, p, q, 6, 9);

    optimizer<float> again(adamw{}, groups(p2, q2));
    again.restore(saved);
    CHECK(again.steps() == 5);
    CHECK(again.state() == saved);
    steps(again, p2, q2, 6, 9);
    CHECK(p2.value == p.value);
    CHECK(q2.value == q.value);
    CHECK(again.state() == o.state());
  }
}

TEST_CASE("optimizer: states behind a codec take its bytes, and it is told which they are") {
  const auto codec = std::make_shared<bf16_codec>();
  parameter<float> p("p", converted<float>(normal_matrix(4, 5, 1)));
  optimizer<float> o(adamw{}, {{.parameters = {&p}, .codec = codec}});
  give_gradient(p, 1);
  o.step();
  CHECK(o.state_bytes() == 2 * 20 * 2);
  CHECK(codec->uses == std::vector<std::string>{"adamw/first moment", "adamw/second moment"});
}

TEST_CASE("optimizer: a projection sees the rule's work in its own space") {
  parameter<float> p("p", converted<float>(normal_matrix(4, 5, 1))), plain("p", p.value);
  optimizer<float> o(adamw{}, {{.parameters = {&p}, .projection = [](index_t m, index_t n) {
                                  return std::make_unique<even_columns>(m, n);
                                }}});
  optimizer<float> reference(adamw{}, {{.parameters = {&plain}}});
  const auto before = p.value;
  for (int t = 1; t <= 3; ++t) {
    give_gradient(p, t);
    give_gradient(plain, t);
    o.step();
    reference.step();
  }
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 5; ++j) CHECK(p.value(i, j) == (j % 2 == 0 ? plain.value(i, j) : before(i, j)));
  CHECK(o.state_bytes() == 2 * 4 * 3 * 4);
}

/// A rule whose state is not the gradient's shape: divides by the root of the mean square of each row.
struct row_normalised {
  static constexpr std::string_view id = "row normalised";
  void validate() const {}
  std::vector<grad::state_slot> slots(index_t m, index_t) const { return {{"rows", m, 1}}; }
  void direction(const matrix<float>& g, std::span<matrix<float>> slots, index_t, matrix<float>& out,
                 const context&) const {
    for (index_t i = 0; i < g.rows(); ++i) {
      float squares = 0;
      for (const float v : g.row(i)) squares += v * v;
      slots[0](i, 0) += squares / static_cast<float>(g.cols());
      for (index_t j = 0; j < g.cols(); ++j) out(i, j) = g(i, j) / std::sqrt(slots[0](i, 0));
    }
  }
};

TEST_CASE("optimizer: a rule of one's own") {
  parameter<float> p("p", matrix<float>(3, 4, 1.0F));
  optimizer<float> o(row_normalised{}, {{.parameters = {&p}, .learning_rate = 0.5}});
  p.accumulate(matrix<float>(3, 4, 2.0F));
  o.step();
  for (const float v : p.value.values()) CHECK(v == 0.5F);
  CHECK(o.state_bytes() == 12);
}

TEST_CASE("optimizer: the same bits for any number of threads") {
  const auto run = [](int n) {
    parameter<float> p("p", converted<float>(normal_matrix(300, 301, 1)));
    optimizer<float> o(adamw{}, {{.parameters = {&p}, .weight_decay = 0.1}}, threads(n));
    for (int t = 1; t <= 3; ++t) {
      give_gradient(p, t);
      grad::clip_gradients<float>(o.parameters(), 1.0, threads(n));
      o.step();
    }
    return p.value;
  };
  CHECK(run(1) == run(4));
}

TEST_CASE("optimizer: errors") {
  parameter<float> p("p", matrix<float>(2, 2)), same("p", matrix<float>(2, 2)),
      other("q", matrix<float>(2, 2));
  const auto make = [](auto rule, std::vector<parameter_group<float>> g) {
    optimizer<float>(rule, std::move(g));
  };
  CHECK(message_of([&] {
          make(adamw{}, {{.parameters = {&p, &same}}});
        }) == "optimizer: parameter = p: expected a name that no other has");
  CHECK(message_of([&] { make(adamw{.beta1 = 1.0}, {}); }) == "adamw: beta1 = 1: expected less than 1");
  CHECK(message_of([&] { make(adamw{.epsilon = -1.0}, {}); }).starts_with("adamw: epsilon = -1"));
  CHECK(message_of([&] { make(sgd{.momentum = 2.0}, {}); }).starts_with("sgd: momentum = 2"));
  CHECK(message_of([&] {
          make(sgd{}, {{.parameters = {&p}, .learning_rate = -1.0}});
        }).starts_with("groups[0].learning_rate = -1"));
  CHECK(message_of([&] {
          make(sgd{}, {{.parameters = {&p}, .weight_decay = -1.0}});
        }).starts_with("groups[0].weight_decay = -1"));
  CHECK(message_of([&] { make(sgd{}, {{.parameters = {&p}, .weight_type = dtype::u8}}); }) ==
        "groups[0].weight_type = U8: expected F32, F16 or BF16");

  optimizer<float> o(adamw{}, {{.parameters = {&p}}}), wrong(adamw{}, {{.parameters = {&other}}});
  give_gradient(p, 1);
  o.step();
  CHECK(message_of([&] { wrong.restore(o.state()); }) ==
        "optimizer state: parameter = q: expected one that was saved");
  auto cut = o.state();
  cut.tensors[1].bytes.pop_back();
  CHECK(message_of([&] { o.restore(cut); }) == "p/second moment: bytes = 15: expected 16");
  cut.tensors.pop_back();
  CHECK(message_of([&] { o.restore(cut); }) ==
        "optimizer state: tensor = p/second moment: expected one that was saved");
  // A state of other masks does not fit.
  parameter<float> frozen("p", matrix<float>(2, 2));
  frozen.frozen.freeze_rows(0, 1);
  optimizer<float> packed(adamw{}, {{.parameters = {&frozen}}});
  packed.restore(o.state());
  give_gradient(frozen, 1);
  CHECK(message_of([&] { packed.step(); }) == "p: shape of first moment = 2 x 2: expected 1 x 2");
}

}  // namespace optimizer_tests
}  // namespace tersor
