// tersor - the tensors of a GPTQ checkpoint: packed from a quantized operator and unpacked into one
// SPDX-License-Identifier: MIT
#pragma once

#include <array>        // std::array
#include <string_view>  // std::string_view
#include <utility>      // std::pair

#include <tersor/core/float16.hpp>
#include <tersor/op/quantized.hpp>

namespace tersor::quant {

/// What `qzeros` holds. Files do not say it reliably, and either reading of the same words is possible: it is
/// always named.
enum class gptq_variant {
  v1,  ///< zero point - 1 (`checkpoint_format` "gptq")
  v2   ///< the zero point itself ("gptq_v2")
};
constexpr auto option_names(gptq_variant) {
  using row = std::pair<std::string_view, gptq_variant>;
  return std::array<row, 2>{{{"v1", gptq_variant::v1}, {"v2", gptq_variant::v2}}};
}

/// One linear layer of a GPTQ checkpoint (arXiv:2210.17323; layout of AutoGPTQ/AutoGPTQ,
/// nn_modules/qlinear/qlinear_cuda.py). All tensors row-major, little-endian. A word of 32 bits holds codes
/// of 2, 4 or 8 bits with the first in its lowest bits; with 3 bits, 32 codes are one dense stream of 96 bits
/// in three words. Weights are packed down the input axis, zero points along the output axis, so in and out
/// must be multiples of 32 / bits (of 32 for 3 bits).
///
/// Bits per weight: bits + (16 + bits) / group_size + 32 / out.
///
///     auto packed = tersor::quant::gptq{.bits = 4}(W, inputs).op;
///     auto tensors = tersor::quant::gptq_pack(packed, tersor::quant::gptq_variant::v1);
///     // each matrix as a tensor of the file: "<layer>.qweight", ".qzeros", ".scales", ".g_idx"
///     auto back = tersor::quant::gptq_unpack(tensors, 4, 128, tersor::quant::gptq_variant::v1);
struct gptq_tensors {
  matrix<std::int32_t> qweight;     ///< [in * bits / 32, out], I32
  matrix<std::int32_t> qzeros;      ///< [groups, out * bits / 32], I32
  matrix<f16> scales;               ///< [groups, out], F16
  std::vector<std::int32_t> g_idx;  ///< [in], I32: group of each input; some exporters leave it out
};

namespace detail {

inline void require_gptq_shape(int bits, index_t in, index_t out) {
  require(bits == 2 || bits == 3 || bits == 4 || bits == 8, "gptq layout: bits", bits, "2, 3, 4 or 8");
  const int step = bits == 3 ? 32 : 32 / bits;
  require(in > 0 && in % step == 0, "gptq layout: in_features", in, "a positive multiple of ", step);
  require(out > 0 && out % step == 0, "gptq layout: out_features", out, "a positive multiple of ", step);
}

/// Packs codes(k), k = 0 .. n - 1, and hands word w to store(w, word).
template <class Codes, class Store>
void pack_words(int bits, index_t n, const Codes& codes, const Store& store) {
  std::vector<std::uint8_t> q(static_cast<std::size_t>(n));
  for (index_t k = 0; k < n; ++k) q[static_cast<std::size_t>(k)] = codes(k);
  with_width(bits, [&](auto width) {
    using packing = bit_packing<width(), std::uint32_t>;
    std::vector<std::uint32_t> words(packing::words(q.size()));
    packing::pack(q, words);
    for (std::size_t w = 0; w < words.size(); ++w)
      store(static_cast<index_t>(w), static_cast<std::int32_t>(words[w]));
  });
}

/// Unpacks n codes from load(w), w = 0, 1 ..., and hands code k to store(k, code).
template <class Load, class Store>
void unpack_words(int bits, index_t n, const Load& load, const Store& store) {
  std::vector<std::uint8_t> q(static_cast<std::size_t>(n));
  with_width(bits, [&](auto width) {
    using packing = bit_packing<width(), std::uint32_t>;
    std::vector<std::uint32_t> words(packing::words(q.size()));
    for (std::size_t w = 0; w < words.size(); ++w)
      words[w] = static_cast<std::uint32_t>(load(static_cast<index_t>(w)));
    packing::unpack(words, q, q.size());
  });
  for (index_t k = 0; k < n; ++k) store(k, q[static_cast<std::size_t>(k)]);
}

/// The grid's scale in the F16 of a checkpoint; an error unless it is that number exactly, because the codes
/// were chosen for it.
inline f16 checkpoint_scale(const op::affine_grid& grid, index_t row, index_t group) {
  const float s = grid.scale(row, group);
  const f16 half(s);
  require(static_cast<float>(half) == s, concat("checkpoint layout: scale of row ", row, ", group ", group),
          s, "a number that F16 holds: quantize with scale_type = F16");
  return half;
}

}  // namespace detail

/// The checkpoint tensors of a quantized operator. Errors: bits other than 2, 3, 4, 8; extents that fill no
/// whole words; a scale that F16 does not hold; with v1 a zero point of 0, which becomes -1 there and which
/// readers unpack differently.
inline gptq_tensors gptq_pack(const op::quantized& op, gptq_variant variant) {
  const auto& grid = op.grid();
  const int bits = grid.bits();
  const index_t in = op.cols(), out = op.rows(), groups = grid.groups();
  detail::require_gptq_shape(bits, in, out);
  const auto codes = op.codes();
  gptq_tensors t{matrix<std::int32_t>(in * bits / 32, out),
                 matrix<std::int32_t>(groups, out * bits / 32),
                 matrix<f16>(groups, out),
                 {}};
  for (index_t r = 0; r < out; ++r)
    detail::pack_words(
        bits, in, [&](index_t j) { return codes(r, j); },
        [&](index_t w, std::int32_t word) { t.qweight(w, r) = word; });
  for (index_t g = 0; g < groups; ++g) {
    const auto stored_zero = [&](index_t r) {
      const int z = grid.zero_point(r, g);
      require(z > 0 || variant == gptq_variant::v2,
              concat("gptq layout v1: zero point of row ", r, ", group ", g), z,
              "at least 1: readers of v1 do not agree on 0; write v2 or quantize with sym_unsigned");
      return static_cast<std::uint8_t>(variant == gptq_variant::v1 ? z - 1 : z);
    };
    detail::pack_words(bits, out, stored_zero, [&](index_t w, std::int32_t word) { t.qzeros(g, w) = word; });
    for (index_t r = 0; r < out; ++r) t.scales(g, r) = detail::checkpoint_scale(grid, r, g);
  }
  for (index_t j = 0; j < in; ++j) t.g_idx.push_back(static_cast<std::int32_t>(grid.group_of(j)));
  return t;
}

/// The operator of checkpoint tensors. @param bits, group_size (-1: the whole row) and variant as the
/// checkpoint's configuration says; they must fit the tensors' shapes. A g_idx that is j / group_size, or
/// empty, is not stored in the operator.
inline op::quantized gptq_unpack(const gptq_tensors& t, int bits, index_t group_size, gptq_variant variant) {
  require(bits == 2 || bits == 3 || bits == 4 || bits == 8, "gptq layout: bits", bits, "2, 3, 4 or 8");
  require(group_size == -1 || group_size >= 1, "gptq layout: group_size", group_size, "-1 or at least 1");
  require(!t.qweight.empty(), "gptq layout: qweight", concat(t.qweight.rows(), " x ", t.qweight.cols()),
          "at least one word");
  const index_t in = t.qweight.rows() * 32 / bits, out = t.qweight.cols(), groups = t.scales.rows();
  detail::require_gptq_shape(bits, in, out);
  if (group_size == -1) group_size = in;
  const index_t expected = in / group_size + (in % group_size != 0);
  require_shape(t.scales.view(), expected, out, "gptq layout: scales");
  require_shape(t.qzeros.view(), expected, out * bits / 32, "gptq layout: qzeros");
  require_finite(t.scales.view(), "gptq layout: scales");
  require(t.g_idx.empty() || static_cast<index_t>(t.g_idx.size()) == in, "gptq layout: length of g_idx",
          t.g_idx.size(), in);

  matrix<std::uint8_t> codes(out, in);
  for (index_t r = 0; r < out; ++r)
    detail::unpack_words(
        bits, in, [&](index_t w) { return t.qweight(w, r); },
        [&](index_t j, std::uint8_t q) { codes(r, j) = q; });
  matrix<float> scale(out, groups), zero(out, groups);
  const int mask = (1 << bits) - 1, shift = variant == gptq_variant::v1 ? 1 : 0;
  for (index_t g = 0; g < groups; ++g) {
    detail::unpack_words(
        bits, out, [&](index_t w) { return t.qzeros(g, w); },
        [&](index_t r, std::uint8_t z) { zero(r, g) = static_cast<float>((z + shift) & mask); });
    for (index_t r = 0; r < out; ++r) scale(r, g) = t.scales(g, r);
  }
  bool in_order = true;
  for (std::size_t j = 0; j < t.g_idx.size(); ++j)
    in_order = in_order && t.g_idx[j] == static_cast<index_t>(j) / group_size;
  return {codes, op::affine_grid(bits, out, in, group_size, scale.view(), zero.view(), dtype::f16,
                                 in_order ? std::vector<std::int32_t>{} : t.g_idx)};
}

}  // namespace tersor::quant
