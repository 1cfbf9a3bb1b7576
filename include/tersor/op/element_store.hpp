// tersor - the kept values of a sparse operator: reals, or codes on an affine grid
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional

#include <tersor/op/affine_grid.hpp>
#include <tersor/op/archive.hpp>

namespace tersor::op {

/// A run of `size` stored values in row-major order of the entries they belong to. With a grid, the value of
/// a code depends on its row and column; the grid's groups are groups of the dense matrix's columns.
class element_store {
 public:
  element_store() = default;
  explicit element_store(real_array values) : size_(values.size()), values_(std::move(values)) {
    require_wide_real(values_.type(), "element_store: type");
  }
  element_store(std::span<const std::uint8_t> codes, affine_grid grid)
      : size_(static_cast<index_t>(codes.size())),
        grid_(std::move(grid)),
        codes_(pack_bits(grid_->bits(), codes)) {}

  index_t size() const { return size_; }
  bool is_quantized() const { return grid_.has_value(); }
  const affine_grid& grid() const { return *grid_; }
  const real_array& reals() const { return values_; }
  /// Of a grid, one in each byte.
  std::vector<std::uint8_t> codes() const {
    std::vector<std::uint8_t> q(static_cast<std::size_t>(size_));
    unpack_bits(grid_->bits(), codes_, 0, q);
    return q;
  }

  /// out[k] = value of stored element first + k, which sits in `row` at columns[k].
  void read(index_t first, index_t row, std::span<const std::int32_t> columns, std::span<float> out) const {
    if (!grid_) {
      values_.read(first, out);
      return;
    }
    std::vector<std::uint8_t> q(out.size());
    unpack_bits(grid_->bits(), codes_, static_cast<std::size_t>(first), q);
    const auto groups = static_cast<std::size_t>(grid_->groups());
    std::vector<float> scale(groups), zero(groups);
    grid_->row(row, scale, zero);
    for (std::size_t k = 0; k < out.size(); ++k) {
      const auto g = static_cast<std::size_t>(grid_->group_of(columns[k]));
      out[k] = scale[g] * (static_cast<float>(q[k]) - zero[g]);
    }
  }

  /// Part of the owner's description: the owner knows how many values there are.
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a, index_t rows, index_t cols, index_t size) {
    bool is_quantized = self.grid_.has_value();
    a.attribute("quantized", is_quantized);
    if (is_quantized) {
      if constexpr (Archive::loading) self.grid_.emplace();
      affine_grid::describe(*self.grid_, a, rows, cols);
      a.tensor("codes", self.codes_,
               {static_cast<index_t>(packed_bytes(self.grid_->bits(), static_cast<std::size_t>(size)))});
    } else {
      a.tensor("values", self.values_, {size});
    }
    if constexpr (Archive::loading) self.size_ = size;
  }

 private:
  index_t size_ = 0;
  real_array values_;
  std::optional<affine_grid> grid_;
  std::vector<std::uint8_t> codes_;
};

/// Collects the entries of w where `kept` (row-major), as reals of type `type`.
template <class Kept>
real_array gather_kept(matrix_view<const float> w, dtype type, Kept&& kept) {
  std::vector<float> values;
  for (index_t r = 0; r < w.rows(); ++r)
    for (index_t j = 0; j < w.cols(); ++j)
      if (kept(r, j)) values.push_back(w(r, j));
  return store_as(type, values);
}

}  // namespace tersor::op
