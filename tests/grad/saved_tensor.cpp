// tersor - tests of grad/saved_tensor.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/saved_tensor.hpp>

#include "grad/differences.hpp"

#include <map>

#include <tersor/core/float16.hpp>
#include <tersor/grad/attention.hpp>
#include <tersor/grad/checkpoint.hpp>
#include <tersor/grad/product.hpp>

namespace tersor {
namespace saved_tensor_tests {

using namespace tersor_test;
using grad::encoded_tensor;
using grad::parameter;
using grad::tape;
using grad::tensor_codec;
using grad::tensor_use;

/// Stores every tensor as bf16.
class bf16_codec : public tensor_codec<float> {
  struct encoded : encoded_tensor<float> {
    index_t rows, cols;
    std::vector<bf16> values;
    matrix<float> decode() const override {
      matrix<float> x(rows, cols);
      for (index_t i = 0; i < x.size(); ++i) x.data()[i] = values[static_cast<std::size_t>(i)];
      return x;
    }
    index_t bytes() const override { return static_cast<index_t>(2 * values.size()); }
  };

 public:
  std::unique_ptr<encoded_tensor<float>> encode(const matrix<float>& x, const tensor_use&) const override {
    auto e = std::make_unique<encoded>();
    e->rows = x.rows();
    e->cols = x.cols();
    for (const float v : x.values()) e->values.emplace_back(v);
    return e;
  }
};

/// Stores a copy and counts what it is asked.
class counting_codec : public tensor_codec<float> {
 public:
  struct counts {
    int encoded = 0, decoded = 0;
    std::map<std::string, int> uses;
  };
  std::shared_ptr<counts> seen = std::make_shared<counts>();
  bool declines = false;

  std::unique_ptr<encoded_tensor<float>> encode(const matrix<float>& x,
                                                const tensor_use& use) const override {
    ++seen->encoded;
    ++seen->uses[concat(use.owner, "/", use.tensor)];
    if (declines) return nullptr;
    auto e = std::make_unique<copy>();
    e->value = x;
    e->seen = seen;
    return e;
  }

 private:
  struct copy : encoded_tensor<float> {
    matrix<float> value;
    std::shared_ptr<counts> seen;
    matrix<float> decode() const override {
      ++seen->decoded;
      return value;
    }
    index_t bytes() const override { return value.size() * 4; }
  };
};

struct model {
  parameter<float> a{"a", converted<float>(normal_matrix(6, 8, 1))},
      b{"b", converted<float>(normal_matrix(6, 8, 2))}, c{"c", converted<float>(normal_matrix(8, 6, 3))};
  grad::variable<float> loss(tape<float>& t, const matrix<float>& x) {
    const auto h = tanh(t.constant(x));
    return sum(square(linear(swiglu(linear(h, t.use(a)), linear(h, t.use(b))), t.use(c))));
  }
};

TEST_CASE("saved_tensor: a lossless codec changes no bit, and what several save alike is stored once") {
  const auto x = converted<float>(normal_matrix(5, 8, 4));
  model plain, coded;
  tape<float> t;
  t.backward(plain.loss(t, x));
  const auto codec = std::make_shared<counting_codec>();
  tape<float> u({}, codec);
  const auto loss = coded.loss(u, x);
  CHECK(codec->seen->decoded == 0);
  // h for both products; gate and up; the product of them; the square's x. Parameters never.
  CHECK(codec->seen->encoded == 5);
  CHECK(codec->seen->uses["tanh/y"] == 0);  // x is a constant: nothing flows back through tanh
  CHECK(codec->seen->uses["matmul/a"] == 2);
  u.backward(loss);
  CHECK(coded.a.gradient() == plain.a.gradient());
  CHECK(coded.b.gradient() == plain.b.gradient());
  CHECK(coded.c.gradient() == plain.c.gradient());
}

TEST_CASE("saved_tensor: a codec may decline, then the tensor is kept as it is") {
  const auto x = converted<float>(normal_matrix(5, 8, 4));
  model plain, declined;
  const auto codec = std::make_shared<counting_codec>();
  codec->declines = true;
  tape<float> t, u({}, codec);
  t.backward(plain.loss(t, x));
  u.backward(declined.loss(u, x));
  CHECK(codec->seen->encoded > 0);
  CHECK(codec->seen->decoded == 0);
  CHECK(declined.c.gradient() == plain.c.gradient());
}

TEST_CASE("saved_tensor: with bf16 the loss is the same bits, gradients are close, memory is half") {
  const auto x = converted<float>(normal_matrix(64, 8, 4));
  model plain, coded;
  tape<float> t, u({}, std::make_shared<bf16_codec>());
  auto run = [&](model& m, tape<float>& on) {
    const auto loss = m.loss(on, x);
    const index_t kept = on.memory().current();
    on.backward(loss);
    return std::pair(loss.item(), kept);
  };
  const auto exact = run(plain, t), rounded = run(coded, u);
  CHECK(exact.first == rounded.first);
  CHECK(2 * (rounded.second - 4) == exact.second - 4);  // all but the loss
  double difference = 0, size = 0;
  for (index_t i = 0; i < plain.a.size(); ++i) {
    difference +=
        std::pow(static_cast<double>(plain.a.gradient().data()[i] - coded.a.gradient().data()[i]), 2);
    size += std::pow(static_cast<double>(plain.a.gradient().data()[i]), 2);
  }
  // bf16 rounds by at most 2⁻⁹ of a number; three saved tensors enter, and a square doubles its share.
  CHECK(std::sqrt(difference / size) < 4 * 0x1p-9);
  CHECK(difference > 0);
}

TEST_CASE("saved_tensor: bytes that are kept are counted while they are kept") {
  tape<float> t({}, std::make_shared<bf16_codec>());
  const auto x = t.input(matrix<float>(10, 10, 0.5F));
  auto y = exp(x);
  CHECK(t.memory().current() == 400 + 400 + 200);
  y = sum(y);
  CHECK(t.memory().current() == 400 + 4 + 200);
  t.backward(y);
  CHECK(t.memory().current() == 400 + 4 + 400);  // x, the loss and the gradient of x
}

TEST_CASE("saved_tensor: attention and checkpoints hand their tensors to the codec") {
  const auto codec = std::make_shared<counting_codec>();
  tape<float> t({}, codec);
  const auto x = t.input(converted<float>(normal_matrix(6, 8, 1)));
  const auto y = checkpoint(t,
                            [](auto&, const auto& in) {
                              return attention(in[0], in[0], in[0], {2, 2, 3, true});
                            },
                            {x});
  CHECK(codec->seen->uses["checkpoint/input"] == 1);
  CHECK(codec->seen->uses.count("attention/q") == 0);
  t.backward(sum(y));
  CHECK(codec->seen->uses["attention/q"] == 1);
  CHECK(codec->seen->uses["attention/v"] == 1);
}

TEST_CASE("saved_tensor: a codec that cannot be saved says so") {
  const bf16_codec codec;
  const auto e = codec.encode(matrix<float>(1, 1), {"adamw", "first moment"});
  CHECK_THROWS_AS(e->save(), tersor::error);
  CHECK_THROWS_AS(codec.restore({}, 1, 1, {"adamw", "first moment"}), tersor::error);
}

}  // namespace saved_tensor_tests
}  // namespace tersor
