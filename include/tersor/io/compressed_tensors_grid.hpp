// tersor - grids of compressed-tensors: packed words, scales and zero points of linears
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional

#include <tersor/core/bits.hpp>
#include <tersor/io/compressed_tensors_scheme.hpp>
#include <tersor/io/linear_layout.hpp>

namespace tersor::io::detail {

/// The words of a row of n codes: dense, and with floor(32 / bits) codes in each.
inline index_t dense_words(int bits, index_t n) { return n / 32 * bits + (n % 32 * bits + 31) / 32; }
inline index_t padded_words(int bits, index_t n) { return (n + 32 / bits - 1) / (32 / bits); }

/// Does a row of n codes in `words` words leave room between words? Where the width does not tell, `known`
/// does; without it that is an error that names `where`.
inline bool words_are_padded(int bits, index_t n, index_t words, std::optional<bool> known,
                             const std::string& where) {
  const index_t dense = dense_words(bits, n), padded = padded_words(bits, n);
  require(words == dense || words == padded, where, words, dense, " words for ", n, " codes of ", bits,
          " bits, or ", padded, " as before version 0.17");
  if (dense != padded) return words == padded;
  if (32 % bits == 0 || dense <= 1) return false;
  require(known.has_value(), where, words, "a width that tells its packing: ", n, " codes of ", bits,
          " bits have as many words dense as padded, and the settings give no version");
  return *known;
}

/// Unpacks codes.size() codes from `words`.
inline void unpack_int32(int bits, bool padded, std::span<const std::uint32_t> words,
                         std::span<std::uint8_t> codes) {
  with_width(bits, [&](auto w) {
    if (padded)
      bit_packing<w(), std::uint32_t, bit_order::low_first, straddle::no>::unpack(words, codes, codes.size());
    else
      bit_packing<w(), std::uint32_t>::unpack(words, codes, codes.size());
  });
}
inline void pack_int32(int bits, std::span<const std::uint8_t> codes, std::span<std::uint32_t> words) {
  with_width(bits, [&](auto w) { bit_packing<w(), std::uint32_t>::pack(codes, words); });
}

/// Groups of a linear, and their scales in the type of the file.
struct grid_scales {
  index_t group_size, groups, units;
  dtype type;
  matrix<float> values;  ///< [units, groups]
};
inline grid_scales read_grid_scales(const checkpoint& files, const std::string& tensor,
                                    const compressed_tensors_scheme& s, index_t out, index_t in) {
  grid_scales g{};
  g.group_size = s.unit == scale_extent::group ? s.group_size : in;
  g.groups = in / g.group_size + (in % g.group_size != 0);
  g.units = s.unit == scale_extent::tensor ? 1 : out;
  const auto reals = read_reals(files, tensor);
  g.type = reals.type();
  require_wide_real(g.type, place_of(files, tensor));
  const auto& shape = files.entry(tensor).shape;
  const bool fits = s.unit == scale_extent::tensor
                        ? reals.size() == 1
                        : shape == std::vector<index_t>{out, g.groups} ||
                              (g.groups == 1 && shape == std::vector<index_t>{out});
  require(fits, place_of(files, tensor), shape_text(shape),
          s.unit == scale_extent::tensor ? std::string("one value")
                                         : shape_text(std::vector<index_t>{out, g.groups}));
  g.values = matrix<float>(g.units, g.groups);
  reals.read(0, g.values.values());
  return g;
}
/// The stored zero points plus `offset`: packed along out, or plain. @param known are words padded?
inline matrix<float> read_zero_points(const checkpoint& files, const std::string& tensor,
                                      const compressed_tensors_scheme& s, const grid_scales& g, int offset,
                                      std::optional<bool> known) {
  matrix<float> zero(g.units, g.groups);
  for (float& z : zero.values()) z = static_cast<float>(offset);
  if (s.symmetric) return zero;
  const auto& e = files.entry(tensor);
  if (e.dtype == dtype::i32 && s.unit != scale_extent::tensor) {
    require(e.shape.size() == 2 && e.shape[1] == g.groups, place_of(files, tensor), shape_text(e.shape),
            g.groups, " columns");
    const bool padded = words_are_padded(s.bits, g.units, e.shape[0], known, place_of(files, tensor));
    const auto words = files.read_matrix<std::int32_t>(tensor);
    std::vector<std::uint32_t> column(static_cast<std::size_t>(words.rows()));
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(g.units));
    for (index_t k = 0; k < g.groups; ++k) {
      for (index_t w = 0; w < words.rows(); ++w)
        column[static_cast<std::size_t>(w)] = static_cast<std::uint32_t>(words(w, k));
      unpack_int32(s.bits, padded, column, codes);
      for (index_t r = 0; r < g.units; ++r)
        zero(r, k) = static_cast<float>(codes[static_cast<std::size_t>(r)] + offset - (1 << (s.bits - 1)));
    }
    return zero;
  }
  const auto values = files.read_tensor<std::int32_t>(tensor);
  require(static_cast<index_t>(values.size()) == zero.size(), place_of(files, tensor), shape_text(e.shape),
          zero.size(), " zero points");
  for (std::size_t i = 0; i < values.size(); ++i)
    zero.values()[i] = static_cast<float>(values[i]) + static_cast<float>(offset);
  return zero;
}
/// The group of each column; empty where groups are runs of columns.
inline std::vector<std::int32_t> read_g_idx(const checkpoint& files, const std::string& tensor,
                                            const compressed_tensors_scheme& s, index_t group_size,
                                            index_t in) {
  require(!s.act_order || files.contains(tensor), s.where + ": weights: actorder", "group", tensor,
          ", the group of each input, in the files");
  if (!files.contains(tensor)) return {};
  auto g_idx = files.read_vector<std::int32_t>(tensor);
  require(static_cast<index_t>(g_idx.size()) == in, place_of(files, tensor), g_idx.size(), in, " values");
  // -1 in all places stands for groups in order
  if (std::ranges::all_of(g_idx, [](std::int32_t g) { return g == -1; })) return {};
  bool in_order = true;
  const index_t last = (in - 1) / group_size;
  for (index_t j = 0; j < in; ++j) {
    const index_t g = g_idx[static_cast<std::size_t>(j)];
    require(g >= 0 && g <= last, concat(place_of(files, tensor), "[", j, "]"), g, "0 .. ", last);
    in_order = in_order && g == j / group_size;
  }
  if (in_order) g_idx.clear();
  return g_idx;
}
/// The extents of a linear, where packing hides them.
inline std::array<index_t, 2> read_stored_shape(const checkpoint& files, const std::string& tensor) {
  const auto shape = files.read_tensor<index_t>(tensor);
  constexpr index_t most = index_t{1} << 31;
  require(shape.size() == 2 && shape[0] >= 1 && shape[1] >= 1 && shape[0] <= most && shape[1] <= most,
          place_of(files, tensor), json_text(json(shape)), "two extents from 1 to 2^31");
  return {shape[0], shape[1]};
}
inline void add_reals(tensor_sink& out, std::string name, std::vector<index_t> shape, const real_array& r) {
  const auto bytes = r.bytes();
  out.add(std::move(name), r.type(), std::move(shape), std::vector<std::byte>(bytes.begin(), bytes.end()));
}

}  // namespace tersor::io::detail
