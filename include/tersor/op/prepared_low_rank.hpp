// tersor - low-rank operators laid out for fast products of few tokens
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>  // std::atomic
#include <thread>  // std::this_thread

#include <tersor/op/low_rank.hpp>
#include <tersor/op/tiled_operator.hpp>

namespace tersor::op {

/// A `low_rank` with both factors in tiles of 16 rows, which a product reads as they are stored: f16 and
/// bf16 factors are half the traffic. The product with B is cut in runs of columns, so that thin factors
/// give work to all threads; runs are added up in order, and the bits are the same for any number of them.
class prepared_low_rank : public tiled_operator<prepared_low_rank> {
 public:
  explicit prepared_low_rank(const low_rank& w, const prepare_options& options = {})
      : tiled_operator(w.rows(), w.cols(), options), rank_(w.rank()), type_(w.type()) {
    options_.activations = activation_type::f32;
    a_ = tiled(w.a());
    b_ = tiled(w.b());
  }
  static constexpr std::string_view kind() { return low_rank::kind(); }
  index_t rank() const { return rank_; }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return static_cast<index_t>(a_.size() + b_.size()); }

  template <class Next>
  void with_product(matrix_view<const float> x, const context&, const Next& next) const {
    inner_product z(*this, x);
    const auto w = operand(a_, rows_, rank_);
    next([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
      z.finish();
      kernel::sparse_product(options_.target, w, z.activations(), first, last, y, y_stride, add);
    });
  }
  /// The operator that it was made of.
  low_rank restore() const {
    return {untiled(a_, rows_, rank_).view(), untiled(b_, rank_, cols_).view(), type_};
  }

 private:
  static constexpr index_t run_columns = 1024;

  kernel::aligned_bytes tiled(const matrix<float>& m) const {
    const index_t tiles = (m.rows() + tile_rows - 1) / tile_rows;
    kernel::aligned_bytes bytes(static_cast<std::size_t>(tiles * tile_rows * m.cols() * real_bytes()));
    std::array<float, tile_rows> column{};
    std::uint8_t* p = bytes.data();
    for (index_t row = 0; row < m.rows(); row += tile_rows)
      for (index_t c = 0; c < m.cols(); ++c, p += tile_rows * real_bytes()) {
        for (index_t r = 0; r < tile_rows; ++r)
          column[static_cast<std::size_t>(r)] = row + r < m.rows() ? m(row + r, c) : 0.0F;
        const auto stored = store_as(type_, std::span<const float>(column));
        std::memcpy(p, stored.bytes().data(), stored.bytes().size());
      }
    return bytes;
  }
  matrix<float> untiled(const kernel::aligned_bytes& bytes, index_t rows, index_t cols) const {
    const auto size = bytes.size();
    const real_array all(type_, {reinterpret_cast<const std::byte*>(bytes.data()), size}, nullptr);
    matrix<float> m(rows, cols);
    for (index_t r = 0; r < rows; ++r)
      for (index_t c = 0; c < cols; ++c)
        m(r, c) = all[(r / tile_rows * cols + c) * tile_rows + r % tile_rows];
    return m;
  }
  kernel::real_operand operand(const kernel::aligned_bytes& bytes, index_t rows, index_t cols) const {
    return {.stream = bytes.data(),
            .tile_bytes = tile_rows * cols * real_bytes(),
            .rows = rows,
            .first = 0,
            .columns = cols,
            .value_type = type_};
  }
  /// z [tokens, rank] = x Bᵀ, by the threads that come to need it: each takes runs of columns until none is
  /// left and then waits for those that others have taken. So no thread waits before it has work, as between
  /// two loops, and in a sum all have begun with other parts.
  class inner_product {
   public:
    inner_product(const prepared_low_rank& w, matrix_view<const float> x)
        : w_(w),
          x_(x),
          tiles_((w.rank_ + tile_rows - 1) / tile_rows),
          count_(tiles_ * ((w.cols_ + run_columns - 1) / run_columns)),
          parts_(count_ == 0 ? 0 : count_ / tiles_ * x.rows(), w.rank_),
          z_(x.rows(), w.rank_),
          ready_(count_ == 0) {}

    void finish() {
      if (ready_.load(std::memory_order_acquire)) return;
      for (index_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) {
        multiply(i);
        if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) add_up();
      }
      for (int spins = 0; !ready_.load(std::memory_order_acquire); ++spins)
        spins < patience ? tersor::detail::spin_pause() : std::this_thread::yield();
    }
    kernel::float_activations activations() const {
      return {.values = z_.data(), .stride = z_.cols(), .sums = nullptr, .tokens = z_.rows(), .groups = 0};
    }

   private:
    static constexpr int patience = 1000;

    void multiply(index_t i) {
      const index_t run = i / tiles_, tile = i % tiles_;
      auto w = w_.operand(w_.b_, w_.rank_, w_.cols_);
      w.first = run * run_columns;
      w.columns = std::min(run_columns, w_.cols_ - w.first);
      const kernel::float_activations a{.values = x_.data + w.first,
                                        .stride = x_.strides[0],
                                        .sums = nullptr,
                                        .tokens = x_.rows(),
                                        .groups = 0};
      kernel::sparse_product(w_.options_.target, w, a, tile, tile + 1,
                             parts_.data() + run * x_.rows() * w_.rank_, w_.rank_, false);
    }
    void add_up() {
      for (index_t i = 0; i < parts_.rows(); ++i)
        for (index_t k = 0; k < w_.rank_; ++k) z_(i % x_.rows(), k) += parts_(i, k);
      ready_.store(true, std::memory_order_release);
    }

    const prepared_low_rank& w_;
    matrix_view<const float> x_;
    index_t tiles_, count_;
    matrix<float> parts_, z_;  // [runs * tokens, rank], [tokens, rank]
    std::atomic<index_t> next_{0}, done_{0};
    std::atomic<bool> ready_;
  };
  index_t real_bytes() const { return bits_of(type_) / 8; }

  index_t rank_;
  dtype type_;
  kernel::aligned_bytes a_, b_;
};

}  // namespace tersor::op
