// tersor - the tensors of AWQ checkpoints, gemm and tinychat v2: packed from a quantized operator and back
// SPDX-License-Identifier: MIT
#pragma once

#include <array>  // std::array

#include <tersor/core/rounding.hpp>
#include <tersor/quant/gptq_layout.hpp>

namespace tersor::quant {

/// One linear layer of an AWQ checkpoint (arXiv:2306.00978) in the "gemm" layout (casper-hansen/AutoAWQ,
/// awq/modules/linear/gemm.py). 4 bits, row-major, little-endian. A word holds eight neighbouring outputs of
/// one input: nibble i (bits 4 i to 4 i + 3) is that of output 8 c + {0, 2, 4, 6, 1, 3, 5, 7}[i]. w = scale
/// (code - zero). in must be a multiple of group_size, out of 8.
///
/// Bits per weight: 4 + 20 / group_size.
///
///     auto packed = tersor::quant::rtn{.group_size = 128}(W).op;          // 4 bits, of the scaled weight
///     auto tensors = tersor::quant::awq_gemm_pack(packed);
///     // each matrix as a tensor of the file: "<layer>.qweight", ".qzeros", ".scales"
///     auto back = tersor::quant::awq_gemm_unpack(tensors, 128);
struct awq_gemm_tensors {
  matrix<std::int32_t> qweight;  ///< [in, out / 8], I32
  matrix<std::int32_t> qzeros;   ///< [in / group_size, out / 8], I32: the zero points, in the same order
  matrix<f16> scales;            ///< [in / group_size, out], F16
};

/// The same layer in the "v2" layout of mit-han-lab/llm-awq (tinychat; awq/quantize/qmodule.py). Four rows of
/// outputs share a row of words; its words come in runs of 64 inputs: 16 words of the first of the four
/// outputs, 16 of the second and so on. The 16 words are two times eight, and word k of eight holds the codes
/// of inputs k, k + 8, k + 16, k + 24 of a run of 32, the first in its lowest bits. w = scale code +
/// scaled_zero. in must be a multiple of 64 and of group_size, which is 32, 64 or at least 128; out of 8.
///
/// Bits per weight: 4 + 32 / group_size, where no groups are padded.
struct awq_v2_tensors {
  matrix<std::int16_t> qweight;  ///< [out / 4, in], I16
  matrix<f16> scales;        ///< [awq_v2_groups(in, group_size), out], F16; rows after in / group_size are 0
  matrix<f16> scaled_zeros;  ///< - scale * zero, the same shape
};

/// Rows of `scales` in the v2 layout: groups rounded up to multiples of 8, or of 16 and 32 where group_size
/// is 64 and 32.
inline index_t awq_v2_groups(index_t in_features, index_t group_size) {
  require(group_size == 32 || group_size == 64 || group_size >= 128, "awq v2 layout: group_size", group_size,
          "32, 64 or at least 128");
  const index_t multiple = group_size >= 128 ? 8 : group_size == 64 ? 16 : 32;
  return (in_features / group_size + multiple - 1) / multiple * multiple;
}

namespace detail {

using awq_gemm_word =
    bit_packing<4, std::uint32_t, bit_order::low_first, straddle::no, 0, 2, 4, 6, 1, 3, 5, 7>;
using awq_v2_word = bit_packing<4, std::uint16_t>;

inline void require_awq_shape(std::string_view layout, index_t in, index_t out, index_t group_size) {
  require(group_size >= 1 && in > 0 && in % group_size == 0, concat(layout, ": in_features"), in,
          "a positive multiple of group_size, ", group_size);
  require(out > 0 && out % 8 == 0, concat(layout, ": out_features"), out, "a positive multiple of 8");
}
/// The group size of an operator that the AWQ layouts can hold.
inline index_t require_awq_grid(std::string_view layout, const op::quantized& op) {
  const auto& grid = op.grid();
  require(grid.bits() == 4, concat(layout, ": bits"), grid.bits(), "4");
  require(grid.g_idx().empty(), concat(layout, ": g_idx"), "present", "groups that are runs of inputs");
  const index_t group_size = std::min(grid.group_size(), op.cols());
  require_awq_shape(layout, op.cols(), op.rows(), group_size);
  return group_size;
}
/// One row of words of the gemm layout: `codes` of all outputs.
inline void pack_awq_row(std::span<const std::uint8_t> codes, std::span<std::int32_t> words) {
  std::vector<std::uint32_t> packed(words.size());
  awq_gemm_word::pack(codes, packed);
  for (std::size_t w = 0; w < words.size(); ++w) words[w] = static_cast<std::int32_t>(packed[w]);
}
inline void unpack_awq_row(std::span<const std::int32_t> words, std::span<std::uint8_t> codes) {
  const std::vector<std::uint32_t> packed(words.begin(), words.end());
  awq_gemm_word::unpack(packed, codes, codes.size());
}
/// The inputs whose codes share word k of a run of 64 inputs in the v2 layout, k in 0 .. 15.
constexpr std::array<index_t, 4> awq_v2_inputs(index_t k) {
  const index_t first = k / 8 * 32 + k % 8;
  return {first, first + 8, first + 16, first + 24};
}

}  // namespace detail

/// The gemm tensors of a quantized operator. Errors: bits other than 4, a g_idx, extents that the layout does
/// not hold, a scale that F16 does not hold.
inline awq_gemm_tensors awq_gemm_pack(const op::quantized& op) {
  const index_t in = op.cols(), out = op.rows(), g = detail::require_awq_grid("awq gemm layout", op);
  const index_t groups = in / g;
  awq_gemm_tensors t{matrix<std::int32_t>(in, out / 8), matrix<std::int32_t>(groups, out / 8),
                     matrix<f16>(groups, out)};
  const auto codes = op.codes();
  std::vector<std::uint8_t> row(static_cast<std::size_t>(out));
  for (index_t j = 0; j < in; ++j) {
    for (index_t r = 0; r < out; ++r) row[static_cast<std::size_t>(r)] = codes(r, j);
    detail::pack_awq_row(row, t.qweight.row(j));
  }
  for (index_t group = 0; group < groups; ++group) {
    for (index_t r = 0; r < out; ++r) {
      row[static_cast<std::size_t>(r)] = static_cast<std::uint8_t>(op.grid().zero_point(r, group));
      t.scales(group, r) = detail::checkpoint_scale(op.grid(), r, group);
    }
    detail::pack_awq_row(row, t.qzeros.row(group));
  }
  return t;
}

/// The operator of gemm tensors; group_size -1 means the whole row. Errors: shapes that do not fit each
/// other.
inline op::quantized awq_gemm_unpack(const awq_gemm_tensors& t, index_t group_size) {
  require(!t.qweight.empty(), "awq gemm layout: qweight", concat(t.qweight.rows(), " x ", t.qweight.cols()),
          "at least one word");
  const index_t in = t.qweight.rows(), out = t.qweight.cols() * 8;
  require(group_size == -1 || group_size >= 1, "awq gemm layout: group_size", group_size, "-1 or at least 1");
  const index_t g = group_size == -1 ? in : group_size;
  detail::require_awq_shape("awq gemm layout", in, out, g);
  const index_t groups = in / g;
  require_shape(t.qzeros.view(), groups, out / 8, "awq gemm layout: qzeros");
  require_shape(t.scales.view(), groups, out, "awq gemm layout: scales");
  require_finite(t.scales.view(), "awq gemm layout: scales");
  matrix<std::uint8_t> codes(out, in);
  std::vector<std::uint8_t> row(static_cast<std::size_t>(out));
  for (index_t j = 0; j < in; ++j) {
    detail::unpack_awq_row(t.qweight.row(j), row);
    for (index_t r = 0; r < out; ++r) codes(r, j) = row[static_cast<std::size_t>(r)];
  }
  matrix<float> scale(out, groups), zero(out, groups);
  for (index_t group = 0; group < groups; ++group) {
    detail::unpack_awq_row(t.qzeros.row(group), row);
    for (index_t r = 0; r < out; ++r) {
      zero(r, group) = static_cast<float>(row[static_cast<std::size_t>(r)]);
      scale(r, group) = t.scales(group, r);
    }
  }
  return {codes, op::affine_grid(4, out, in, g, scale.view(), zero.view(), dtype::f16)};
}

/// The v2 tensors of a quantized operator. Errors as for `awq_gemm_pack`, and - scale * zero beyond F16. That
/// product is rounded to F16, so readers of the file see weights that differ by up to 2⁻¹¹ scale * zero.
inline awq_v2_tensors awq_v2_pack(const op::quantized& op) {
  const index_t in = op.cols(), out = op.rows(), g = detail::require_awq_grid("awq v2 layout", op);
  require(in % 64 == 0, "awq v2 layout: in_features", in, "a multiple of 64");
  const index_t rows = awq_v2_groups(in, g);
  awq_v2_tensors t{matrix<std::int16_t>(out / 4, in), matrix<f16>(rows, out), matrix<f16>(rows, out)};
  const auto codes = op.codes();
  for (index_t r = 0; r < out; ++r)
    for (index_t j0 = 0; j0 < in; j0 += 64)
      for (index_t k = 0; k < 16; ++k) {
        std::array<std::uint8_t, 4> four{};
        for (std::size_t i = 0; i < 4; ++i) four[i] = codes(r, j0 + detail::awq_v2_inputs(k)[i]);
        std::array<std::uint16_t, 1> word{};
        detail::awq_v2_word::pack(four, word);
        t.qweight(r / 4, j0 + r % 4 * 16 + k) = static_cast<std::int16_t>(word[0]);
      }
  for (index_t r = 0; r < out; ++r)
    for (index_t group = 0; group < in / g; ++group) {
      const f16 s = detail::checkpoint_scale(op.grid(), r, group);
      t.scales(group, r) = s;
      const float product = -static_cast<float>(s) * static_cast<float>(op.grid().zero_point(r, group));
      t.scaled_zeros(group, r) = f16(round_to(dtype::f16, product, "awq v2 layout: scaled_zeros"));
    }
  return t;
}

/// The operator of v2 tensors; group_size -1 means the whole row. Zero points are the integers nearest to -
/// scaled_zeros / scales. Errors: shapes that do not fit each other; a scale that is not positive; a scaled
/// zero that is no product of its scale and a code.
inline op::quantized awq_v2_unpack(const awq_v2_tensors& t, index_t group_size) {
  require(!t.qweight.empty(), "awq v2 layout: qweight", concat(t.qweight.rows(), " x ", t.qweight.cols()),
          "at least one word");
  const index_t in = t.qweight.cols(), out = t.qweight.rows() * 4;
  require(group_size == -1 || group_size >= 1, "awq v2 layout: group_size", group_size, "-1 or at least 1");
  const index_t g = group_size == -1 ? in : group_size;
  detail::require_awq_shape("awq v2 layout", in, out, g);
  require(in % 64 == 0, "awq v2 layout: in_features", in, "a multiple of 64");
  const index_t groups = in / g, rows = awq_v2_groups(in, g);
  require_shape(t.scales.view(), rows, out, "awq v2 layout: scales");
  require_shape(t.scaled_zeros.view(), rows, out, "awq v2 layout: scaled_zeros");
  require_finite(t.scales.view(), "awq v2 layout: scales");
  require_finite(t.scaled_zeros.view(), "awq v2 layout: scaled_zeros");
  matrix<std::uint8_t> codes(out, in);
  for (index_t r = 0; r < out; ++r)
    for (index_t j0 = 0; j0 < in; j0 += 64)
      for (index_t k = 0; k < 16; ++k) {
        const std::array word{static_cast<std::uint16_t>(t.qweight(r / 4, j0 + r % 4 * 16 + k))};
        std::array<std::uint8_t, 4> four{};
        detail::awq_v2_word::unpack(word, four, 4);
        for (std::size_t i = 0; i < 4; ++i) codes(r, j0 + detail::awq_v2_inputs(k)[i]) = four[i];
      }
  matrix<float> scale(out, groups), zero(out, groups);
  for (index_t r = 0; r < out; ++r)
    for (index_t group = 0; group < groups; ++group) {
      const float s = t.scales(group, r), product = t.scaled_zeros(group, r);
      require(s > 0.0F, concat("awq v2 layout: scales[", group, ", ", r, "]"), s, "a number > 0");
      const float z = round_half_even(-product / s);
      // the product was rounded to F16: half a unit in its last place, or in that of the smallest number
      require(z >= 0.0F && z <= 15.0F && std::fabs(s * z + product) <= 0x1p-11F * s * z + 0x1p-25F,
              concat("awq v2 layout: scaled_zeros[", group, ", ", r, "]"), product,
              "- scale * zero, scale = ", s, ", zero in 0 .. 15");
      scale(r, group) = s;
      zero(r, group) = z;
    }
  return {codes, op::affine_grid(4, out, in, g, scale.view(), zero.view(), dtype::f16)};
}

}  // namespace tersor::quant
