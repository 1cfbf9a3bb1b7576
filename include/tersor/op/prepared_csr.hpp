// tersor - compressed sparse rows laid out for fast products
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/deal.hpp>
#include <tersor/op/sparse_csr.hpp>
#include <tersor/op/tiled_operator.hpp>

namespace tersor::op {

/// A `sparse_csr` with the entries of 16 rows dealt to sixteen lanes (kernel/sparse_tile_operand.hpp): a
/// product takes sixteen at a time, whatever the rows' lengths, or sixteen tokens. Columns are cut in blocks
/// whose activations stay in the nearest cache. Padding of 16 rows in a block: 144 bytes, fewer than 16
/// entries, and some more where they can't be dealt evenly.
class prepared_csr : public tiled_operator<prepared_csr> {
 public:
  explicit prepared_csr(const sparse_csr& w, const prepare_options& options = {})
      : tiled_operator(w.rows(), w.cols(), options), value_type_(w.values().type()) {
    options_.activations = activation_type::f32;
    // blocks of few entries would be headers for the most part
    const index_t worth = w.kept() / std::max<index_t>(1, rows_ * least_entries);
    blocks_ = std::clamp(worth, pieces(cols_, most_columns), pieces(cols_, cached_columns));
    block_columns_ = pieces(cols_, blocks_);
    fill(w);
  }
  static constexpr std::string_view kind() { return sparse_csr::kind(); }
  /// So many that a task finds most activations in a cache which its other rows have brought there.
  static constexpr index_t tiles_of_many = 64;
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const {
    return static_cast<index_t>(stream_.size() + tiles_.size() * sizeof(kernel::dealt_tile));
  }

  template <class Next>
  void with_product(matrix_view<const float> x, const context& ctx, const Next& next) const {
    const kernel::dealt_operand w{.stream = stream_.data(),
                                  .tiles = tiles_.data(),
                                  .rows = rows_,
                                  .blocks = blocks_,
                                  .block_columns = block_columns_,
                                  .value_type = value_type_};
    const auto run = [&](const auto& activations) {
      next([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
        kernel::sparse_product(options_.target, w, activations, first, last, y, y_stride, add);
      });
    };
    if (x.rows() <= kernel::dealt_tokens)
      return run(kernel::float_activations{
          .values = x.data, .stride = x.strides[0], .sums = nullptr, .tokens = x.rows(), .groups = 0});
    const index_t token_blocks = pieces(x.rows(), 16);
    std::vector<float> values(static_cast<std::size_t>(token_blocks * cols_ * 16));
    parallel_for(token_blocks, ctx, [&](index_t b) {
      for (index_t c0 = 0; c0 < cols_; c0 += 256)  // what is written to stays in the nearest cache
        for (index_t t = 16 * b; t < std::min(x.rows(), 16 * (b + 1)); ++t)
          for (index_t c = c0; c < std::min(c0 + 256, cols_); ++c)
            values[static_cast<std::size_t>((b * cols_ + c) * 16 + t % 16)] = x(t, c);
    });
    run(kernel::block_activations{.values = values.data(), .columns = cols_, .tokens = x.rows()});
  }
  /// The operator that it was made of.
  sparse_csr restore() const {
    std::vector<std::int32_t> offsets{0}, columns;
    std::vector<std::byte> values;
    for (index_t row = 0; row < rows_; ++row) {
      for (index_t b = 0; b < blocks_; ++b) {
        const std::uint8_t* p = stream_.data() + tiles_[tile_number(b, row / tile_rows)].offset;
        each_entry(dealt(p), row % tile_rows, [&](index_t column_at, index_t value_at) {
          std::uint16_t c;
          std::memcpy(&c, p + column_at, sizeof c);
          columns.push_back(static_cast<std::int32_t>(b * block_columns_ + c));
          const auto* value = reinterpret_cast<const std::byte*>(p + value_at);
          values.insert(values.end(), value, value + real_bytes());
        });
      }
      offsets.push_back(static_cast<std::int32_t>(columns.size()));
    }
    return {rows_, cols_, std::move(offsets), columns, real_array(value_type_, values, nullptr)};
  }

 private:
  static constexpr index_t cached_columns = 8192, most_columns = 65536, least_entries = 24;

  static index_t pieces(index_t n, index_t size) {
    return std::max<index_t>(1, (n + size - 1) / std::max<index_t>(size, 1));
  }
  index_t tiles() const { return (rows_ + tile_rows - 1) / tile_rows; }
  std::size_t tile_number(index_t block, index_t tile) const {
    return static_cast<std::size_t>(block * tiles() + tile);
  }
  void fill(const sparse_csr& w) {
    const auto column = [&](std::int32_t k) {
      const auto at = static_cast<std::size_t>(k);
      return w.narrow_columns().empty() ? index_t{w.wide_columns()[at]} : index_t{w.narrow_columns()[at]};
    };
    std::vector<std::int32_t> next(w.offsets().begin(), w.offsets().end() - 1);  // of each row
    std::vector<std::int32_t> firsts;                                            // of each block and row
    std::vector<kernel::deal> deals;
    index_t size = 0;
    for (index_t b = 0; b < blocks_; ++b)
      for (index_t row = 0; row < rows_; row += tile_rows) {
        std::array<std::uint32_t, tile_rows> lengths{};
        for (index_t r = row; r < std::min(row + tile_rows, rows_); ++r) {
          auto& k = next[static_cast<std::size_t>(r)];
          const std::int32_t first = k;
          while (k < w.offsets()[static_cast<std::size_t>(r) + 1] && column(k) < (b + 1) * block_columns_)
            ++k;
          firsts.push_back(first);
          lengths[static_cast<std::size_t>(r - row)] = static_cast<std::uint32_t>(k - first);
        }
        const auto& d = deals.emplace_back(kernel::deal_rows(lengths));
        tiles_.push_back({size, static_cast<std::int32_t>(d.steps()), static_cast<std::int32_t>(d.even())});
        size += kernel::dealt_operand::header_bytes + d.steps() * step_bytes();
      }
    stream_ = kernel::aligned_bytes(static_cast<std::size_t>(size));
    for (index_t b = 0; b < blocks_; ++b)
      for (index_t row = 0; row < rows_; ++row) {
        const std::size_t tile = tile_number(b, row / tile_rows);
        std::uint8_t* p = stream_.data() + tiles_[tile].offset;
        if (row % tile_rows == 0) write_header(deals[tile], p);
        std::int32_t k = firsts[static_cast<std::size_t>(b * rows_ + row)];
        each_entry(deals[tile], row % tile_rows, [&](index_t column_at, index_t value_at) {
          const auto c = static_cast<std::uint16_t>(column(k) - b * block_columns_);
          std::memcpy(p + column_at, &c, sizeof c);
          std::memcpy(p + value_at, w.values().bytes().data() + k++ * real_bytes(),
                      static_cast<std::size_t>(real_bytes()));
        });
      }
  }
  /// entry(where in the tile its column is, where its value) for those of a row, in order.
  template <class Entry>
  void each_entry(const kernel::deal& d, index_t row, const Entry& entry) const {
    const auto share = [&](std::size_t lane, index_t first, index_t last) {
      const auto l = static_cast<index_t>(lane);
      for (index_t k = first; k < last; ++k) {
        const index_t step = kernel::dealt_operand::header_bytes + k * step_bytes();
        entry(step + 2 * l, step + 2 * tile_rows + l * real_bytes());
      }
    };
    const auto own = static_cast<std::size_t>(row);
    share(own, 0, d.own[own]);
    for (std::size_t l = 0; l < d.helped.size(); ++l)
      if (d.helped[l] == row && d.end[l] > d.own[l]) share(l, d.own[l], d.end[l]);
  }
  static void write_header(const kernel::deal& d, std::uint8_t* p) {
    for (std::size_t l = 0; l < d.own.size(); ++l) {
      const std::uint32_t own = d.own[l] << 4U | d.helped[l];
      std::memcpy(p + 4 * l, &own, sizeof own);
      std::memcpy(p + 64 + 4 * l, &d.end[l], sizeof own);
    }
  }
  static kernel::deal dealt(const std::uint8_t* p) {
    kernel::deal d;
    for (std::size_t l = 0; l < d.own.size(); ++l) {
      std::memcpy(&d.own[l], p + 4 * l, 4);
      std::memcpy(&d.end[l], p + 64 + 4 * l, 4);
      d.helped[l] = static_cast<std::uint8_t>(d.own[l] & 15U);
      d.own[l] >>= 4U;
    }
    return d;
  }
  index_t real_bytes() const { return bits_of(value_type_) / 8; }
  index_t step_bytes() const { return tile_rows * (2 + real_bytes()); }

  dtype value_type_;
  index_t blocks_ = 1, block_columns_ = 1;
  std::vector<kernel::dealt_tile> tiles_;  // [blocks][tiles of 16 rows]
  kernel::aligned_bytes stream_;
};

}  // namespace tersor::op
