// tersor - rotary position embedding: both pairings, explicit positions, inverse
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::max
#include <array>        // std::array
#include <cmath>        // std::cos, std::pow
#include <concepts>     // std::integral
#include <span>         // std::span
#include <string_view>  // std::string_view
#include <utility>      // std::pair
#include <vector>       // std::vector

#include <tersor/core/view.hpp>

namespace tersor::kernel {

/// Which two channels of a head are the coordinates of one rotation.
enum class rotary_pairing {
  halves,      ///< i and i + rotated / 2 ("rotate half": Llama in Hugging Face's layout)
  interleaved  ///< 2 i and 2 i + 1 (GPT-J, Llama as released by Meta)
};
constexpr auto option_names(rotary_pairing) {
  using row = std::pair<std::string_view, rotary_pairing>;
  return std::array<row, 2>{
      {{"halves", rotary_pairing::halves}, {"interleaved", rotary_pairing::interleaved}}};
}

/// Rotary position embedding (arXiv:2104.09864): pair i of a head's channels at position p turns by the angle
/// p
/// * frequencies[i]. Rotations compose: turning by p and then by q is turning by p + q, and -p undoes p. Of a
/// head of more than 2 * frequencies channels the first are rotated, the others stay; without frequencies
/// nothing is rotated.
class rotary {
 public:
  rotary() = default;
  /// @param frequencies [rotated channels / 2] radians per position.
  explicit rotary(std::vector<double> frequencies, rotary_pairing pairing = rotary_pairing::halves)
      : frequencies_(std::move(frequencies)), pairing_(pairing) {}

  /// The frequencies theta^(-2i / head_dim).
  static std::vector<double> base_frequencies(index_t head_dim, double theta) {
    std::vector<double> f(static_cast<std::size_t>(head_dim / 2));
    for (std::size_t i = 0; i < f.size(); ++i)
      f[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    return f;
  }
  const std::vector<double>& frequencies() const { return frequencies_; }
  rotary_pairing pairing() const { return pairing_; }
  bool empty() const { return frequencies_.empty(); }

  /// The channels of pair i.
  std::pair<index_t, index_t> channels(index_t i) const {
    const auto half = static_cast<index_t>(frequencies_.size());
    return pairing_ == rotary_pairing::halves ? std::pair{i, i + half} : std::pair{2 * i, 2 * i + 1};
  }

  /// Rotates x [tokens, heads * head_dim] in place, rows contiguous; row t sits at position `first + t`.
  void apply(matrix_view<float> x, index_t heads, index_t first) const {
    rotate(x, heads, [first](index_t t) { return first + t; });
  }
  /// The same with a position for each row; a negative one turns back.
  template <std::integral Position>
  void apply(matrix_view<float> x, index_t heads, std::span<const Position> positions) const {
    require(static_cast<index_t>(positions.size()) == x.rows(), "rotary: positions", positions.size(),
            "one for each of ", x.rows(), " rows");
    rotate(x, heads, [&](index_t t) { return static_cast<index_t>(positions[static_cast<std::size_t>(t)]); });
  }

 private:
  template <class PositionOf>
  void rotate(matrix_view<float> x, index_t heads, const PositionOf& position_of) const {
    if (frequencies_.empty() || x.rows() == 0) return;
    assert(x.strides[1] == 1 || x.cols() <= 1);
    require(heads > 0 && x.cols() % heads == 0, "rotary: columns of x", x.cols(), "a multiple of ", heads,
            " heads");
    const auto pairs = static_cast<index_t>(frequencies_.size());
    const index_t dim = x.cols() / heads;
    require(dim >= 2 * pairs, "rotary: channels of a head", dim, "at least the ", 2 * pairs, " rotated ones");
    // a step along the pairs, and from the first to the second channel of one
    const index_t step = pairing_ == rotary_pairing::halves ? 1 : 2;
    const index_t other = pairing_ == rotary_pairing::halves ? pairs : 1;
    std::vector<float> cosine(frequencies_.size()), sine(frequencies_.size());
    for (index_t t = 0; t < x.rows(); ++t) {
      const auto position = static_cast<double>(position_of(t));
      for (std::size_t i = 0; i < frequencies_.size(); ++i) {
        const double angle = position * frequencies_[i];
        cosine[i] = static_cast<float>(std::cos(angle));
        sine[i] = static_cast<float>(std::sin(angle));
      }
      for (index_t h = 0; h < heads; ++h)
        turn(x.data + t * x.strides[0] + h * dim, cosine.data(), sine.data(), pairs, step, other);
    }
  }
  friend class rotation_table;
  static void turn(float* a, const float* cosine, const float* sine, index_t pairs, index_t step,
                   index_t other) {
    for (index_t i = 0; i < pairs; ++i, a += step) {
      const float c = cosine[i], s = sine[i], u = a[0], v = a[other];
      a[0] = u * c - v * s;
      a[other] = v * c + u * s;
    }
  }

  std::vector<double> frequencies_;
  rotary_pairing pairing_ = rotary_pairing::halves;
};

/// Cosines and sines of the first positions, for loops that rotate the same positions again and again. Memory
/// 8 bytes for each position and pair.
class rotation_table {
 public:
  rotation_table() = default;
  explicit rotation_table(rotary r) : rotary_(std::move(r)) {}

  const rotary& rotation() const { return rotary_; }
  index_t positions() const { return positions_; }
  /// Makes room for positions 0 .. count - 1; what is there stays. Amortised: at least doubles.
  void grow(index_t count) {
    if (count <= positions_) return;
    count = std::max(count, 2 * positions_);
    const auto& f = rotary_.frequencies();
    for (index_t p = positions_; p < count; ++p)
      for (const double frequency : f) {
        cosine_.push_back(static_cast<float>(std::cos(static_cast<double>(p) * frequency)));
        sine_.push_back(static_cast<float>(std::sin(static_cast<double>(p) * frequency)));
      }
    positions_ = count;
  }
  /// Rotates one head's channels x in place to `position`, which the table must have.
  void apply(float* x, index_t position) const {
    assert(position >= 0 && position < positions_);
    const auto pairs = static_cast<index_t>(rotary_.frequencies().size());
    const bool halves = rotary_.pairing() == rotary_pairing::halves;
    rotary::turn(x, cosine_.data() + position * pairs, sine_.data() + position * pairs, pairs, halves ? 1 : 2,
                 halves ? pairs : 1);
  }

 private:
  rotary rotary_;
  index_t positions_ = 0;
  std::vector<float> cosine_, sine_;
};

}  // namespace tersor::kernel
