// tersor - tests of kernel/rotary.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kernel/rotary.hpp>

#include "catch.hpp"

#include <tersor/core/matrix.hpp>
#include <tersor/core/random.hpp>

namespace tersor {
namespace rotary_tests {

using kernel::rotary;
using kernel::rotary_pairing;

matrix<float> normal(index_t rows, index_t cols, std::uint64_t seed) {
  random_generator random(seed);
  matrix<float> x(rows, cols);
  for (float& v : x.values()) v = static_cast<float>(random.normal());
  return x;
}
double largest_difference(const matrix<float>& a, const matrix<float>& b) {
  double worst = 0;
  for (index_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
  return worst;
}
rotary of(index_t dim, rotary_pairing pairing) {
  return rotary(rotary::base_frequencies(dim, 10000.0), pairing);
}

TEST_CASE("rotary: one pair is a rotation of the plane") {
  for (const auto pairing : {rotary_pairing::halves, rotary_pairing::interleaved}) {
    const rotary r({0.5}, pairing);
    matrix<float> x(1, 2);
    x(0, 0) = 3;
    x(0, 1) = 4;
    r.apply(x.view(), 1, 2);
    CHECK(std::abs(static_cast<double>(x(0, 0)) - (3 * std::cos(1.0) - 4 * std::sin(1.0))) < 1e-6);
    CHECK(std::abs(static_cast<double>(x(0, 1)) - (4 * std::cos(1.0) + 3 * std::sin(1.0))) < 1e-6);
  }
}

TEST_CASE("rotary: the pairing decides which channels turn together") {
  for (const auto pairing : {rotary_pairing::halves, rotary_pairing::interleaved}) {
    const auto r = of(6, pairing);
    for (index_t i = 0; i < 3; ++i) {
      const auto channels = r.channels(i);
      matrix<float> x(1, 6);
      x(0, channels.first) = 1;
      r.apply(x.view(), 1, 1);
      const double angle = r.frequencies()[static_cast<std::size_t>(i)];
      for (index_t c = 0; c < 6; ++c) {
        const double expected =
            c == channels.first ? std::cos(angle) : (c == channels.second ? std::sin(angle) : 0.0);
        CHECK(std::abs(static_cast<double>(x(0, c)) - expected) < 1e-6);
      }
    }
    CHECK(r.channels(1) == (pairing == rotary_pairing::halves ? std::pair<index_t, index_t>{1, 4}
                                                              : std::pair<index_t, index_t>{2, 3}));
  }
}

TEST_CASE("rotary: positions keep lengths, and products depend on their differences only") {
  for (const auto pairing : {rotary_pairing::halves, rotary_pairing::interleaved}) {
    const auto r = of(8, pairing);
    const auto a = normal(1, 16, 4), b = normal(1, 16, 5);
    const auto product = [&](index_t p, index_t q) {
      auto x = a, y = b;
      r.apply(x.view(), 2, p);
      r.apply(y.view(), 2, q);
      double dot = 0, length = 0;
      for (index_t j = 0; j < 8; ++j) {
        dot += static_cast<double>(x(0, j)) * static_cast<double>(y(0, j));
        length += static_cast<double>(x(0, j)) * static_cast<double>(x(0, j)) -
                  static_cast<double>(a(0, j)) * static_cast<double>(a(0, j));
      }
      CHECK(std::abs(length) < 1e-5);
      return dot;
    };
    CHECK(std::abs(product(5, 2) - product(105, 102)) < 1e-4);
    auto still = a;
    r.apply(still.view(), 2, 0);
    CHECK(still == a);
  }
}

TEST_CASE("rotary: rotations compose, and the negative position is the inverse") {
  for (const auto pairing : {rotary_pairing::halves, rotary_pairing::interleaved})
    for (const index_t dim : {2, 6, 64}) {
      const auto r = of(dim, pairing);
      const auto x = normal(9, 3 * dim, 7);
      std::vector<int> positions, back, twice;
      for (int t = 0; t < 9; ++t) {
        positions.push_back(37 * t);
        back.push_back(-37 * t);
        twice.push_back(100);
      }
      auto y = x;
      r.apply(y.view(), 3, std::span<const int>(positions));
      auto z = y;
      r.apply(z.view(), 3, std::span<const int>(back));
      CHECK(largest_difference(x, z) < 1e-5);
      // p and then q is p + q
      auto sum = y;
      r.apply(sum.view(), 3, std::span<const int>(twice));
      for (int& p : positions) p += 100;
      auto direct = x;
      r.apply(direct.view(), 3, std::span<const int>(positions));
      CHECK(largest_difference(sum, direct) < 1e-5);
    }
}

TEST_CASE("rotary: consecutive positions and a table are the same rotation") {
  for (const auto pairing : {rotary_pairing::halves, rotary_pairing::interleaved}) {
    const auto r = of(10, pairing);
    const auto x = normal(20, 10, 1);
    auto a = x, b = x, c = x;
    r.apply(a.view(), 1, 5);
    std::vector<index_t> positions;
    kernel::rotation_table table(r);
    table.grow(10);
    table.grow(25);
    CHECK(table.positions() >= 25);
    for (index_t t = 0; t < 20; ++t) {
      positions.push_back(5 + t);
      table.apply(c.row(t).data(), 5 + t);
    }
    r.apply(b.view(), 1, std::span<const index_t>(positions));
    CHECK(a == b);
    CHECK(a == c);
  }
}

TEST_CASE("rotary: channels beyond the rotated ones stay, without frequencies all do") {
  const rotary r({1.0, 0.1});
  const auto x = normal(3, 2 * 7, 2);
  auto y = x;
  r.apply(y.view(), 2, 4);
  for (index_t t = 0; t < 3; ++t)
    for (index_t h = 0; h < 2; ++h) {
      CHECK(y(t, h * 7) != x(t, h * 7));
      for (index_t c = 4; c < 7; ++c) CHECK(y(t, h * 7 + c) == x(t, h * 7 + c));
    }
  y = x;
  rotary().apply(y.view(), 2, 4);
  CHECK(y == x);
  CHECK(rotary().empty());
}

TEST_CASE("rotary: errors") {
  const rotary r({1.0, 0.1});
  matrix<float> x(3, 6);
  CHECK_THROWS_AS(r.apply(x.view(), 2, 0), error);  // heads of 3 channels, 4 rotated
  CHECK_THROWS_AS(r.apply(x.view(), 4, 0), error);
  const std::vector<int> positions{1, 2};
  CHECK_THROWS_AS(r.apply(x.view(), 1, std::span<const int>(positions)), error);
}

}  // namespace rotary_tests
}  // namespace tersor
