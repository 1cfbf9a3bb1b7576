// tersor - sparse operators with masks, laid out for fast products
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/sparse_bitmap.hpp>
#include <tersor/op/sparse_nm.hpp>
#include <tersor/op/tiled_operator.hpp>

namespace tersor::op {

/// A `sparse_bitmap` or `sparse_nm` of reals as masks of 16 rows and values, column after column. For
/// densities above a few per cent: a column costs some ten instructions even where it is empty.
template <class Source>
class prepared_masked : public tiled_operator<prepared_masked<Source>> {
  using base = tiled_operator<prepared_masked>;
  using base::cols_, base::options_, base::rows_, base::tile_rows;

 public:
  /// Error for values on a grid.
  explicit prepared_masked(const Source& w, const prepare_options& options = {})
      : base(w.rows(), w.cols(), options) {
    require(fits(w), concat("prepare: ", kind()), "values on a grid", "reals");
    options_.activations = activation_type::f32;
    value_type_ = w.values().reals().type();
    if constexpr (std::is_same_v<Source, sparse_nm>) {
      n_ = w.n();
      m_ = w.m();
    }
    fill(w);
  }
  static constexpr std::string_view kind() { return Source::kind(); }
  static bool fits(const Source& w) { return !w.values().is_quantized(); }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return offsets_.back(); }

  template <class Next>
  void with_product(matrix_view<const float> x, const context&, const Next& next) const {
    matrix<float> copy;
    const auto activations = base::padded(x, padded_columns(), copy);
    const kernel::masked_operand w{.stream = stream_.data(),
                                   .offsets = offsets_.data(),
                                   .rows = rows_,
                                   .columns = padded_columns(),
                                   .value_type = value_type_};
    next([&](index_t first, index_t last, float* y, index_t y_stride, bool add) {
      kernel::sparse_product(options_.target, w, activations, first, last, y, y_stride, add);
    });
  }
  /// The operator that it was made of.
  Source restore() const {
    matrix<std::uint8_t> kept(rows_, cols_);
    std::vector<std::vector<std::byte>> rows(static_cast<std::size_t>(rows_));
    for (index_t tile = 0; tile + 1 < static_cast<index_t>(offsets_.size()); ++tile) {
      const std::uint8_t* p = stream_.data() + offsets_[static_cast<std::size_t>(tile)];
      for (index_t c = 0; c < padded_columns(); c += block) {
        const std::uint8_t* masks = p;
        p += 2 * block;
        for (index_t i = 0; i < block; ++i)
          for (index_t r = 0; r < tile_rows; ++r) {
            if ((masks[2 * i + r / 8] >> r % 8 & 1) == 0) continue;
            kept(tile * tile_rows + r, c + i) = 1;
            auto& row = rows[static_cast<std::size_t>(tile * tile_rows + r)];
            const auto* value = reinterpret_cast<const std::byte*>(p);
            row.insert(row.end(), value, value + real_bytes());
            p += real_bytes();
          }
      }
    }
    std::vector<std::byte> all;
    for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
    element_store values(real_array(value_type_, all, nullptr));
    if constexpr (std::is_same_v<Source, sparse_nm>)
      return {n_, m_, kept, std::move(values)};
    else
      return {kept, std::move(values)};
  }

 private:
  static constexpr index_t block = 32;  ///< columns whose masks lie together

  void fill(const Source& w) {
    const index_t columns = padded_columns();
    const auto* reals = w.values().reals().bytes().data();
    std::vector<std::uint8_t> bytes;
    for (index_t row = 0; row < rows_; row += tile_rows) {
      std::vector<std::uint16_t> masks(static_cast<std::size_t>(columns));
      std::array<const std::byte*, tile_rows> next{};
      for (index_t r = 0; r < std::min(tile_rows, rows_ - row); ++r) {
        next[static_cast<std::size_t>(r)] = reals;
        const auto kept = w.columns(row + r);
        reals += static_cast<index_t>(kept.size()) * real_bytes();
        for (const auto c : kept) {
          auto& mask = masks[static_cast<std::size_t>(c)];
          mask = static_cast<std::uint16_t>(mask | 1U << r);
        }
      }
      for (std::size_t c = 0; c < masks.size(); ++c) {
        if (c % block == 0)
          for (std::size_t i = c; i < c + block; ++i) {
            bytes.push_back(static_cast<std::uint8_t>(masks[i] & 0xffU));
            bytes.push_back(static_cast<std::uint8_t>(masks[i] >> 8U));
          }
        for (std::size_t r = 0; r < next.size(); ++r) {
          if ((masks[c] >> r & 1U) == 0) continue;
          const auto* value = reinterpret_cast<const std::uint8_t*>(next[r]);
          bytes.insert(bytes.end(), value, value + real_bytes());
          next[r] += real_bytes();
        }
      }
      offsets_.push_back(static_cast<index_t>(bytes.size()));
    }
    stream_ = kernel::aligned_bytes(bytes.size());
    std::copy(bytes.begin(), bytes.end(), stream_.data());
  }
  index_t padded_columns() const { return (cols_ + block - 1) / block * block; }
  index_t real_bytes() const { return bits_of(value_type_) / 8; }

  int n_ = 0, m_ = 0;
  dtype value_type_ = dtype::f32;
  std::vector<index_t> offsets_{0};  // [tiles + 1]
  kernel::aligned_bytes stream_;
};

}  // namespace tersor::op
