// tersor - N:M sparse operator: n of every m consecutive inputs of a row are stored
// SPDX-License-Identifier: MIT
#pragma once

#include <bit>  // std::bit_width

#include <tersor/op/element_store.hpp>
#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] with at most n non-zeros in each run of m columns; a last run of cols mod m columns keeps
/// at most min(n, cols mod m). Values are stored in column order; positions as n indices of ceil(log2 m)
/// bits, or as an m-bit mask where that is smaller, in one dense little-endian stream, row-major. For 2:4 a
/// group's code is i0 | i1 << 2, two groups a byte. Bits per weight for b-bit values: (n b + position bits) /
/// m; 2:4 with 16-bit values 9.0, with 4-bit codes 3.0 plus the grid.
class sparse_nm : public decoded_operator<sparse_nm> {
 public:
  sparse_nm() = default;
  /// @param kept [rows, cols], non-zero where stored: exactly n per full group (min(n, rest) in a last short
  /// one).
  /// @param values in row-major order of the kept entries.
  sparse_nm(int n, int m, const matrix<std::uint8_t>& kept, element_store values)
      : n_(n), m_(m), rows_(kept.rows()), cols_(kept.cols()), values_(std::move(values)) {
    check_pattern("sparse_nm");
    std::vector<std::uint8_t> bits;
    for (index_t r = 0; r < rows_; ++r)
      for (index_t j0 = 0; j0 < cols_; j0 += m_) {
        const index_t width = std::min<index_t>(m_, cols_ - j0);
        index_t count = 0;
        for (index_t j = 0; j < width; ++j) count += kept(r, j0 + j) != 0;
        require(count == std::min<index_t>(n_, width),
                concat("sparse_nm: kept entries of row ", r, ", group ", j0 / m_), count,
                std::min<index_t>(n_, width));
        if (uses_mask()) {
          for (index_t j = 0; j < m_; ++j) bits.push_back(j < width && kept(r, j0 + j) != 0);
        } else {
          index_t stored = 0;
          for (index_t j = 0; j < width; ++j)
            if (kept(r, j0 + j) != 0) stored += push_index(bits, j);
          for (; stored < n_; ++stored) push_index(bits, 0);  // a short last group: padding, never read
        }
      }
    require(values_.size() == rows_ * kept_per_row(), "sparse_nm: number of values", values_.size(),
            rows_ * kept_per_row());
    positions_ = pack_bits(1, bits);
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  int n() const { return n_; }
  int m() const { return m_; }
  const element_store& values() const { return values_; }
  static constexpr std::string_view kind() { return "sparse_nm"; }
  /// Stored entries in each row.
  index_t kept_per_row() const { return cols_ / m_ * n_ + std::min<index_t>(n_, cols_ % m_); }

  /// The columns of row r's stored entries, ascending.
  std::vector<std::int32_t> columns(index_t r) const {
    std::vector<std::int32_t> result;
    result.reserve(static_cast<std::size_t>(kept_per_row()));
    const index_t groups = (cols_ + m_ - 1) / m_;
    const auto width = static_cast<std::size_t>(group_bits());
    std::vector<std::uint8_t> bits(static_cast<std::size_t>(groups) * width);
    unpack_bits(1, positions_, static_cast<std::size_t>(r * groups) * width, bits);
    for (index_t g = 0; g < groups; ++g) {
      const std::uint8_t* b = bits.data() + static_cast<std::size_t>(g) * width;
      const index_t kept = std::min<index_t>(n_, std::min<index_t>(m_, cols_ - g * m_));
      if (uses_mask()) {
        for (int j = 0; j < m_; ++j)
          if (b[j]) result.push_back(static_cast<std::int32_t>(g * m_ + j));
      } else {
        for (index_t k = 0; k < kept; ++k) {
          int j = 0;
          for (int bit = 0; bit < index_bits(); ++bit) j |= b[k * index_bits() + bit] << bit;
          result.push_back(static_cast<std::int32_t>(g * m_ + j));
        }
      }
    }
    return result;
  }
  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    std::vector<float> v(static_cast<std::size_t>(kept_per_row()));
    for (index_t r = r0; r < r1; ++r) {
      float* out = w.data + (r - r0) * w.strides[0];
      std::fill(out, out + cols_, 0.0F);
      const auto c = columns(r);
      values_.read(r * kept_per_row(), r, c, v);
      for (std::size_t k = 0; k < c.size(); ++k) out[c[k]] = v[k];
    }
  }

 private:
  friend class described_operator<sparse_nm>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.attribute("n", self.n_);
    a.attribute("m", self.m_);
    if constexpr (Archive::loading) self.check_pattern(a.in.where());
    const index_t groups = self.rows_ * ((self.cols_ + self.m_ - 1) / self.m_);
    a.tensor("positions", self.positions_, {(groups * self.group_bits() + 7) / 8});
    if constexpr (Archive::loading) self.check_positions(a.in.where());
    element_store::describe(self.values_, a, self.rows_, self.cols_, self.rows_ * self.kept_per_row());
  }
  void check_pattern(std::string_view where) const {
    require(m_ >= 1 && m_ <= 256 && n_ >= 1 && n_ <= m_, concat(where, ": pattern"), concat(n_, ":", m_),
            "1 <= n <= m <= 256");
  }
  void check_positions(const std::string& where) const {
    for (index_t r = 0; r < rows_; ++r) {
      const auto c = columns(r);
      bool sound = static_cast<index_t>(c.size()) == kept_per_row();
      for (std::size_t k = 0; k < c.size(); ++k)  // stored entry k belongs to group k / n
        sound = sound && c[k] < cols_ && c[k] / m_ == static_cast<std::int32_t>(k) / n_ &&
                (k == 0 || c[k - 1] < c[k]);
      require(sound, concat(where, ".positions, row ", r), "damaged",
              "ascending positions of n entries in each group");
    }
  }
  int index_bits() const { return static_cast<int>(std::bit_width(static_cast<unsigned>(m_ - 1))); }
  bool uses_mask() const { return m_ < n_ * index_bits(); }
  int group_bits() const { return uses_mask() ? m_ : n_ * index_bits(); }
  int push_index(std::vector<std::uint8_t>& bits, index_t j) const {
    for (int bit = 0; bit < index_bits(); ++bit) bits.push_back(static_cast<std::uint8_t>((j >> bit) & 1));
    return 1;
  }

  int n_ = 2, m_ = 4;
  index_t rows_ = 0, cols_ = 0;
  std::vector<std::uint8_t> positions_;
  element_store values_;
};

}  // namespace tersor::op
