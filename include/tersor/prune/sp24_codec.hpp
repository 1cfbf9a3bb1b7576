// tersor - 2:4 codec: half the values, four bits of position per group, and the layouts of GPUs
// SPDX-License-Identifier: MIT
#pragma once

#include <array>     // std::array
#include <bit>       // std::popcount
#include <concepts>  // std::same_as
#include <cstdint>   // fixed-width integers
#include <span>      // std::span
#include <vector>    // std::vector

#include <tersor/core/matrix.hpp>

namespace tersor::prune {

// The stored form of arXiv:2104.08378 and its reorderings for sparse tensor cores, as in pytorch
// torch/sparse/_semi_structured_conversions.py and vllm-project/compressed-tensors.

/// Which entries fill up a group with fewer than two non-zeros, and where metadata elements lie.
enum class sp24_layout {
  a,  ///< CUTLASS / cuSPARSELt, as in PyTorch
  b   ///< Marlin-2:4, as in compressed-tensors
};

/// A 2:4 matrix [rows, cols] in the portable layout. `values` holds two entries per group of four columns in
/// column order; a group's code is i0 | i1 << 2 with the columns i0 < i1 of its values inside the group, two
/// groups a byte, the first in the low half, rows aligned to bytes. T may be any type that converts to
/// double.
template <class T>
struct sp24_matrix {
  index_t rows = 0, cols = 0;
  std::vector<T> values;            ///< [rows, cols / 2]
  std::vector<std::uint8_t> codes;  ///< [rows, row_bytes()]

  index_t groups() const { return cols / 4; }
  index_t row_bytes() const { return (groups() + 1) / 2; }
  int code(index_t r, index_t g) const {
    return (codes[static_cast<std::size_t>(r * row_bytes() + g / 2)] >> (g % 2 * 4)) & 15;
  }
  /// For a group whose bits are still zero.
  void set_code(index_t r, index_t g, int code) {
    auto& byte = codes[static_cast<std::size_t>(r * row_bytes() + g / 2)];
    byte = static_cast<std::uint8_t>(byte | code << (g % 2 * 4));
  }
  friend bool operator==(const sp24_matrix&, const sp24_matrix&) = default;
};

/// Bytes of values and codes of a 2:4 matrix; bits per weight are value_bits / 2 + 1 where cols % 8 = 0.
constexpr std::size_t sp24_bytes(index_t rows, index_t cols, int value_bits) {
  return static_cast<std::size_t>((rows * (cols / 2) * value_bits + 7) / 8 + rows * ((cols / 4 + 1) / 2));
}

namespace detail {

/// The code of a group from its non-zero flags (bit i: entry i); -1 with more than two.
inline int sp24_code(unsigned flags, sp24_layout layout) {
  const auto pair = [](int i0, int i1) { return i0 | i1 << 2; };
  const bool a = layout == sp24_layout::a;
  switch (flags) {
    case 0b0011:
      return pair(0, 1);
    case 0b0101:
      return pair(0, 2);
    case 0b1001:
      return pair(0, 3);
    case 0b0110:
      return pair(1, 2);
    case 0b1010:
      return pair(1, 3);
    case 0b0001:
      return a ? pair(0, 3) : pair(0, 2);
    case 0b0010:
      return a ? pair(1, 3) : pair(1, 2);
    case 0b0000:
    case 0b0100:
    case 0b1000:
    case 0b1100:
      return pair(2, 3);
    default:
      return -1;
  }
}

/// i0 < i1 of a code.
inline bool sp24_valid(int code) { return (code & 3) < (code >> 2) && code < 16; }

}  // namespace detail

/// Encodes w [rows, cols], cols % 4 = 0. The entries that fill up a group keep the zero that they hold; -0
/// counts as zero. Error that names the group if more than two of its entries are non-zero.
template <class T>
sp24_matrix<std::remove_const_t<T>> sp24_encode(matrix_view<T> w, sp24_layout layout = sp24_layout::a) {
  require(w.cols() % 4 == 0, "sp24_encode: columns", w.cols(), "a multiple of 4");
  sp24_matrix<std::remove_const_t<T>> m{w.rows(), w.cols(), {}, {}};
  m.values.reserve(static_cast<std::size_t>(w.size() / 2));
  m.codes.resize(static_cast<std::size_t>(m.rows * m.row_bytes()));
  for (index_t r = 0; r < m.rows; ++r)
    for (index_t g = 0; g < m.groups(); ++g) {
      unsigned flags = 0;
      for (index_t i = 0; i < 4; ++i)
        if (static_cast<double>(w(r, 4 * g + i)) != 0.0) flags |= 1U << i;
      const int code = detail::sp24_code(flags, layout);
      require(code >= 0, concat("sp24_encode: non-zeros of row ", r, ", group ", g), std::popcount(flags),
              "at most 2");
      m.values.push_back(w(r, 4 * g + (code & 3)));
      m.values.push_back(w(r, 4 * g + (code >> 2)));
      m.set_code(r, g, code);
    }
  return m;
}

/// The dense matrix [rows, cols]; entries that are not stored are T(0). Error if a code or a size is damaged.
template <class T>
matrix<T> sp24_decode(const sp24_matrix<T>& m) {
  require(m.cols % 4 == 0 && static_cast<index_t>(m.values.size()) == m.rows * m.cols / 2 &&
              static_cast<index_t>(m.codes.size()) == m.rows * m.row_bytes(),
          "sp24_decode: values and codes", concat(m.values.size(), " and ", m.codes.size()),
          m.rows * m.cols / 2, " and ", m.rows * m.row_bytes(), " for ", m.rows, " x ", m.cols);
  matrix<T> w(m.rows, m.cols);
  for (index_t r = 0; r < m.rows; ++r)
    for (index_t g = 0; g < m.groups(); ++g) {
      const int code = m.code(r, g);
      require(detail::sp24_valid(code), concat("sp24_decode: code of row ", r, ", group ", g), code,
              "i0 | i1 << 2 with i0 < i1");
      const auto v = static_cast<std::size_t>((r * m.groups() + g) * 2);
      w(r, 4 * g + (code & 3)) = m.values[v];
      w(r, 4 * g + (code >> 2)) = m.values[v + 1];
    }
  return w;
}

/// Metadata of the GPU: elements of 16 bits (four groups; 16-bit values) or 32 bits (eight groups; 8-bit
/// values), group g of an element in bits 4 g .. 4 g + 3.
template <class M>
concept sp24_metadata = std::same_as<M, std::uint16_t> || std::same_as<M, std::uint32_t>;

/// Where metadata element (r, c) of [rows, columns] lies in the reordered array.
template <sp24_metadata M>
index_t sp24_offset(index_t r, index_t c, index_t rows, sp24_layout layout) {
  index_t d = 0;
  if (layout == sp24_layout::a) {
    constexpr index_t tile = sizeof(M) == 2 ? 32 : 16, interleave = sizeof(M) == 2 ? 4 : 2;
    d = r / tile * tile + r % 8 * interleave + r % tile / 8;
  } else {
    d = r / 64 * 64 + r % 2 * 2 + r % 8 / 4 + r % 4 / 2 * 32 + r % 64 / 8 * 4;
  }
  // 2 x 2 blocks exchange the corners off their diagonal
  const index_t shift = (d % 2 == 0 && c % 2 == 1) - (d % 2 == 1 && c % 2 == 0);
  d += shift;
  c -= shift;
  return c / 2 * 2 * rows + 2 * d + c % 2;
}

namespace detail {

/// The number of metadata columns; error where the layout has no place for the shape.
template <sp24_metadata M>
index_t sp24_metadata_columns(index_t rows, index_t cols, sp24_layout layout) {
  constexpr index_t groups = sizeof(M) * 2;
  const index_t tile = layout == sp24_layout::a ? 32 : 64;
  require(rows % tile == 0, "sp24 metadata: rows", rows, "a multiple of ", tile);
  require(cols % (8 * groups) == 0, "sp24 metadata: columns", cols, "a multiple of ", 8 * groups);
  return cols / (4 * groups);
}

}  // namespace detail

/// The reordered metadata of m, rows * cols / (4 groups) elements. Needs rows divisible by 32 (layout a) or
/// 64 (layout b) and cols by 32 (16 bits) or 64 (32 bits). Encode with the same layout, whose fillers differ.
template <sp24_metadata M, class T>
std::vector<M> sp24_gpu_metadata(const sp24_matrix<T>& m, sp24_layout layout = sp24_layout::a) {
  constexpr index_t groups = sizeof(M) * 2;
  const index_t columns = detail::sp24_metadata_columns<M>(m.rows, m.cols, layout);
  std::vector<M> meta(static_cast<std::size_t>(m.rows * columns));
  for (index_t r = 0; r < m.rows; ++r)
    for (index_t c = 0; c < columns; ++c) {
      std::uint32_t element = 0;
      for (index_t g = 0; g < groups; ++g)
        element |= static_cast<std::uint32_t>(m.code(r, c * groups + g)) << (4 * g);
      meta[static_cast<std::size_t>(sp24_offset<M>(r, c, m.rows, layout))] = static_cast<M>(element);
    }
  return meta;
}

/// The portable form of values [rows, cols / 2] and reordered metadata. Errors: sizes, or a code that is
/// none.
template <sp24_metadata M, class T>
sp24_matrix<T> sp24_from_gpu(index_t rows, index_t cols, std::vector<T> values, std::span<const M> meta,
                             sp24_layout layout = sp24_layout::a) {
  constexpr index_t groups = sizeof(M) * 2;
  const index_t columns = detail::sp24_metadata_columns<M>(rows, cols, layout);
  require(static_cast<index_t>(values.size()) == rows * cols / 2, "sp24_from_gpu: values", values.size(),
          rows * cols / 2);
  require(static_cast<index_t>(meta.size()) == rows * columns, "sp24_from_gpu: metadata", meta.size(),
          rows * columns);
  sp24_matrix<T> m{rows, cols, std::move(values), {}};
  m.codes.resize(static_cast<std::size_t>(rows * m.row_bytes()));
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = 0; c < columns; ++c) {
      const M element = meta[static_cast<std::size_t>(sp24_offset<M>(r, c, rows, layout))];
      for (index_t k = 0; k < groups; ++k) {
        const index_t g = c * groups + k;
        const int code = static_cast<int>(element >> (4 * k)) & 15;
        require(detail::sp24_valid(code), concat("sp24_from_gpu: code of row ", r, ", group ", g), code,
                "i0 | i1 << 2 with i0 < i1");
        m.set_code(r, g, code);
      }
    }
  return m;
}

/// Codes, one per group, twelve in each 32-bit word (6¹² < 2³²): 0.667 bits per weight instead of 1. The
/// first code is the lowest digit; a last word is filled up with zeros. Error on a number that is no code.
inline std::vector<std::uint32_t> sp24_pack_dense(std::span<const std::uint8_t> codes) {
  constexpr std::array<int, 16> digit{-1, -1, -1, -1, 0, -1, -1, -1, 1, 3, -1, -1, 2, 4, 5, -1};
  std::vector<std::uint32_t> words((codes.size() + 11) / 12);
  for (std::size_t i = codes.size(); i-- > 0;) {
    const int d = codes[i] < 16 ? digit[codes[i]] : -1;
    require(d >= 0, concat("sp24_pack_dense: codes[", i, "]"), codes[i], "i0 | i1 << 2 with i0 < i1");
    words[i / 12] = words[i / 12] * 6 + static_cast<std::uint32_t>(d);
  }
  return words;
}
inline std::vector<std::uint8_t> sp24_unpack_dense(std::span<const std::uint32_t> words, std::size_t count) {
  constexpr std::array<std::uint8_t, 6> code{4, 8, 12, 9, 13, 14};
  require(words.size() == (count + 11) / 12, "sp24_unpack_dense: words", words.size(), (count + 11) / 12);
  std::vector<std::uint8_t> codes(count);
  for (std::size_t w = 0; w < words.size(); ++w) {
    std::uint32_t rest = words[w];
    for (std::size_t i = 12 * w; i < std::min(count, 12 * w + 12); ++i, rest /= 6) codes[i] = code[rest % 6];
    require(rest == 0, concat("sp24_unpack_dense: words[", w, "]"), words[w],
            "at most twelve digits of base 6");
  }
  return codes;
}

}  // namespace tersor::prune
