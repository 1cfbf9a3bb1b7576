// tersor - sums of prepared operators as one product: quantized + low-rank + sparse in one parallel loop
// SPDX-License-Identifier: MIT
#pragma once

#include <functional>  // std::function

#include <tersor/op/sum.hpp>
#include <tersor/op/tile_stream.hpp>

namespace tersor::op {

/// One operator of a sum. Where it has products by tiles of 16 rows (`with_product`), they are tasks of the
/// sum's loop; any other operator is multiplied by itself and added.
class sum_part {
 public:
  /// Tiles [first, last) of y [tokens, rows] := x Wᵀ, or += if `add`.
  using tile_product = std::function<void(index_t first, index_t last, float* y, index_t y_stride, bool add)>;

  /// `op`, by tiles if what it holds is one of Ops.
  template <class... Ops>
  static sum_part of(any_operator op) {
    sum_part part(std::move(op));
    (part.take<Ops>(), ...);
    return part;
  }
  const any_operator& op() const { return op_; }
  /// The operator that it was made of.
  any_operator restore() const { return restore_ ? restore_(op_) : op_; }
  bool has_tiles() const { return start_ != nullptr; }
  /// A product that can only write, which is cheapest as the first of a sum.
  bool only_writes() const { return only_writes_; }
  /// Tiles of a task of more than `tile_tokens` tokens.
  index_t tiles_of_many() const { return tiles_of_many_; }
  /// Bytes that a product by tiles reads.
  index_t stream_bytes() const { return stream_bytes_; }
  /// Appends the product with x [tokens, cols], rows contiguous, which is valid until next() returns.
  void with_product(matrix_view<const float> x, const context& ctx, std::vector<tile_product>& products,
                    const std::function<void()>& next) const {
    start_(op_, x, ctx, products, next);
  }

 private:
  using starter = void (*)(const any_operator&, matrix_view<const float>, const context&,
                           std::vector<tile_product>&, const std::function<void()>&);
  using restorer = any_operator (*)(const any_operator&);

  explicit sum_part(any_operator op) : op_(std::move(op)) {}
  template <class Op>
  void take() {
    const Op* op = op_.as<Op>();
    if (!op) return;
    stream_bytes_ = op->stream_bytes();
    only_writes_ = Op::only_writes;
    if constexpr (requires { Op::tiles_of_many; }) tiles_of_many_ = Op::tiles_of_many;
    restore_ = [](const any_operator& held) -> any_operator { return held.as<Op>()->restore(); };
    start_ = [](const any_operator& held, matrix_view<const float> x, const context& ctx,
                std::vector<tile_product>& products, const std::function<void()>& next) {
      held.as<Op>()->with_product(x, ctx, [&](const auto& product) {
        if constexpr (!Op::only_writes) {
          products.emplace_back(std::cref(product));
          next();
        } else {
          matrix<float> apart;
          if (!products.empty()) apart = matrix<float>(x.rows(), held.rows());
          products.emplace_back([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
            if (!add) return product(first, last, y, y_stride);
            product(first, last, apart.data(), apart.cols());
            const index_t end = std::min(last * tile_stream::tile_rows, apart.cols());
            for (index_t t = 0; t < apart.rows(); ++t)
              for (index_t r = first * tile_stream::tile_rows; r < end; ++r)
                y[t * y_stride + r] += apart(t, r);
          });
          next();
        }
      });
    };
  }

  any_operator op_;
  starter start_ = nullptr;
  restorer restore_ = nullptr;
  bool only_writes_ = false;
  index_t stream_bytes_ = 0, tiles_of_many_ = 8;
};

/// W = W_1 + W_2 + ...: what a part needs of x (its 8-bit codes, the product with a thin factor) is made
/// once. Of few tokens, one parallel loop has the tasks of all parts, so that threads that are done with a
/// large part go on with a small one; of many, each part has a loop of its own.
class prepared_sum {
 public:
  /// At least one part, all of one shape.
  explicit prepared_sum(std::vector<sum_part> parts) : parts_(std::move(parts)) {
    require(!parts_.empty(), "prepare: parts of a sum", parts_.size(), "at least 1");
    for (const auto& part : parts_) {
      require(part.op().rows() == rows() && part.op().cols() == cols(), "prepare: shape of a part",
              concat(part.op().rows(), " x ", part.op().cols()), rows(), " x ", cols());
      if (part.has_tiles()) by_tiles_.push_back(&part - parts_.data());
    }
    std::stable_partition(by_tiles_.begin(), by_tiles_.end(),
                          [&](index_t i) { return part(i).only_writes(); });
  }

  index_t rows() const { return parts_.front().op().rows(); }
  index_t cols() const { return parts_.front().op().cols(); }
  const std::vector<sum_part>& parts() const { return parts_; }
  static constexpr std::string_view kind() { return sum<>::kind(); }
  /// Bytes that a product reads of the parts by tiles.
  index_t stream_bytes() const {
    index_t n = 0;
    for (const auto& part : parts_) n += part.stream_bytes();
    return n;
  }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols(), y, rows());
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      std::vector<sum_part::tile_product> products;
      if (!by_tiles_.empty()) start(0, input, output, ctx, products);
      add_others(input, output, ctx);
    });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    restore().apply_transposed(x, y, ctx);
  }
  matrix<float> to_dense() const { return restore().to_dense(); }
  void save(archive_writer& out) const { restore().save(out); }
  /// The operator that it was made of.
  sum<> restore() const {
    std::vector<any_operator> ops;
    for (const auto& part : parts_) ops.push_back(part.restore());
    return sum<>(operator_parts<>(std::move(ops)));
  }

 private:
  static constexpr index_t part_tasks =
      8;  ///< of a small part: each begins to read anew, which costs some microseconds

  const sum_part& part(index_t i) const { return parts_[static_cast<std::size_t>(i)]; }
  /// Part number i of those by tiles and all behind it.
  void start(std::size_t i, matrix_view<const float> x, matrix_view<float> y, const context& ctx,
             std::vector<sum_part::tile_product>& products) const {
    if (i < by_tiles_.size())
      return part(by_tiles_[i]).with_product(x, ctx, products, [&] { start(i + 1, x, y, ctx, products); });
    if (x.rows() > kernel::tile_tokens)
      in_turn(y, ctx, products);
    else
      one_by_one(y, ctx, products);
  }
  index_t tiles() const { return (rows() + tile_stream::tile_rows - 1) / tile_stream::tile_rows; }
  /// One part after the other: what their tasks keep in a cache differs.
  void in_turn(matrix_view<float> y, const context& ctx,
               const std::vector<sum_part::tile_product>& products) const {
    for (std::size_t i = 0; i < products.size(); ++i)
      parallel_chunks(tiles(), part(by_tiles_[i]).tiles_of_many(), ctx, [&](index_t first, index_t last) {
        products[i](first, last, y.data, y.strides[0], i > 0);
      });
  }
  /// Each task has one part, of which it reads a piece that is worth beginning to read: a few tiles of a
  /// large part, many of a small one. The parts' results are added up at the end.
  void one_by_one(matrix_view<float> y, const context& ctx,
                  const std::vector<sum_part::tile_product>& products) const {
    std::vector<index_t> grains, ends;  // tiles of a task; tasks up to the end of each part
    std::vector<matrix<float>> apart;
    for (const index_t i : by_tiles_) {
      const index_t tile_bytes = part(i).stream_bytes() / std::max<index_t>(tiles(), 1);
      grains.push_back(
          std::min(tiles_of_task(y.rows(), tile_bytes), (tiles() + part_tasks - 1) / part_tasks));
      ends.push_back((ends.empty() ? 0 : ends.back()) +
                     (tiles() + grains.back() - 1) / std::max<index_t>(grains.back(), 1));
      if (ends.size() > 1) apart.emplace_back(y.rows(), y.cols());
    }
    parallel_for(ends.back(), ctx, [&](index_t task) {
      const auto i = static_cast<std::size_t>(std::ranges::upper_bound(ends, task) - ends.begin());
      const index_t first = (task - (i == 0 ? 0 : ends[i - 1])) * grains[i];
      const index_t last = std::min(first + grains[i], tiles());
      if (i == 0)
        products[i](first, last, y.data, y.strides[0], false);
      else
        products[i](first, last, apart[i - 1].data(), apart[i - 1].cols(), false);
    });
    for (const auto& addend : apart)
      for (index_t t = 0; t < y.rows(); ++t)
        for (index_t r = 0; r < y.cols(); ++r) y.data[t * y.strides[0] + r] += addend(t, r);
  }
  void add_others(matrix_view<const float> x, matrix_view<float> y, const context& ctx) const {
    bool written = !by_tiles_.empty();
    matrix<float> buffer;
    for (const auto& p : parts_) {
      if (p.has_tiles()) continue;
      if (!written) {
        p.op().apply(x, y, ctx);
        written = true;
        continue;
      }
      if (buffer.empty()) buffer = matrix<float>(y.rows(), y.cols());
      p.op().apply(x, buffer.view(), ctx);
      for (index_t t = 0; t < y.rows(); ++t)
        for (index_t r = 0; r < y.cols(); ++r) y(t, r) += buffer(t, r);
    }
  }

  std::vector<sum_part> parts_;
  std::vector<index_t> by_tiles_;  // numbers of the parts that have tiles, in the order of their products
};

}  // namespace tersor::op
