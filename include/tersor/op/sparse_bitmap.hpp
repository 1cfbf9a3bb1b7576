// tersor - unstructured sparse operator: one bit per weight says whether it is stored
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/element_store.hpp>
#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols]; bit (r * cols + j) of a dense little-endian bitmap is 1 where a value is stored. Bits per
/// weight for density d and b-bit values: 1 + d b. Smaller than CSR with 32-bit indices above a density of
/// 1/32.
class sparse_bitmap : public decoded_operator<sparse_bitmap> {
 public:
  sparse_bitmap() = default;
  /// @param kept [rows, cols], non-zero where stored; @param values row-major.
  sparse_bitmap(const matrix<std::uint8_t>& kept, element_store values)
      : rows_(kept.rows()), cols_(kept.cols()), values_(std::move(values)) {
    std::vector<std::uint8_t> bits(static_cast<std::size_t>(kept.size()));
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = kept.values()[i] != 0;
    bitmap_ = pack_bits(1, bits);
    count_rows();
    require(values_.size() == first_.back(), "sparse_bitmap: number of values", values_.size(),
            first_.back());
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const element_store& values() const { return values_; }
  index_t kept() const { return first_.back(); }
  static constexpr std::string_view kind() { return "sparse_bitmap"; }

  /// The columns of row r's stored entries, ascending.
  std::vector<std::int32_t> columns(index_t r) const {
    std::vector<std::uint8_t> bits(static_cast<std::size_t>(cols_));
    unpack_bits(1, bitmap_, static_cast<std::size_t>(r * cols_), bits);
    std::vector<std::int32_t> result;
    for (std::size_t j = 0; j < bits.size(); ++j)
      if (bits[j]) result.push_back(static_cast<std::int32_t>(j));
    return result;
  }
  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    std::vector<float> v;
    for (index_t r = r0; r < r1; ++r) {
      float* out = w.data + (r - r0) * w.strides[0];
      std::fill(out, out + cols_, 0.0F);
      const auto c = columns(r);
      v.resize(c.size());
      values_.read(first_[static_cast<std::size_t>(r)], r, c, v);
      for (std::size_t k = 0; k < c.size(); ++k) out[c[k]] = v[k];
    }
  }

 private:
  friend class described_operator<sparse_bitmap>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
    a.tensor("bitmap", self.bitmap_, {(self.rows_ * self.cols_ + 7) / 8});
    if constexpr (Archive::loading) self.count_rows();
    element_store::describe(self.values_, a, self.rows_, self.cols_, self.first_.back());
  }
  void count_rows() {
    first_.assign(1, 0);
    std::vector<std::uint8_t> bits(static_cast<std::size_t>(cols_));
    for (index_t r = 0; r < rows_; ++r) {
      unpack_bits(1, bitmap_, static_cast<std::size_t>(r * cols_), bits);
      index_t n = 0;
      for (const auto b : bits) n += b;
      first_.push_back(first_.back() + n);
    }
  }

  index_t rows_ = 0, cols_ = 0;
  std::vector<std::uint8_t> bitmap_;
  element_store values_;
  std::vector<index_t> first_{0};  // index of each row's first stored value; derived, not stored
};

}  // namespace tersor::op
