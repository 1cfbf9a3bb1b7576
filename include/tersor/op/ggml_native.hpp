// tersor - GGUF blocks as the library's own operators, which have kernels
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::ranges::all_of
#include <cmath>      // std::isfinite
#include <optional>   // std::optional

#include <tersor/op/any_operator.hpp>
#include <tersor/op/binary_coded.hpp>
#include <tersor/op/codebook.hpp>
#include <tersor/op/ggml_blocks.hpp>
#include <tersor/op/ggml_codes.hpp>
#include <tersor/op/low_rank.hpp>
#include <tersor/op/quantized.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/op/ternary.hpp>

namespace tersor::op {

namespace detail {

/// What the blocks of an operator hold.
struct ggml_content {
  matrix<std::uint8_t> codes;     ///< [rows, cols]
  matrix<float> scales, offsets;  ///< [rows, groups]; offsets are empty where the type has none
  dtype type;                     ///< that holds scales and offsets exactly
};

inline ggml_content read_ggml_content(const ggml_blocks& w, const ggml_coding& coding) {
  const auto& t = info(w.type());
  const index_t groups = w.cols() / coding.group, blocks = w.cols() / t.block;
  const bool one_half = t.block == coding.group && w.type() != ggml_type::q8_k;
  ggml_content content{.codes = matrix<std::uint8_t>(w.rows(), w.cols()),
                       .scales = matrix<float>(w.rows(), groups),
                       .offsets = matrix<float>(coding.offsets ? w.rows() : 0, coding.offsets ? groups : 0),
                       .type = one_half ? dtype::f16 : dtype::f32};
  const std::byte* block = w.bytes().data();
  for (index_t i = 0; i < w.rows() * blocks; ++i, block += t.bytes) {
    const index_t first = i * (t.block / coding.group);
    coding.codes(block, content.codes.data() + i * t.block);
    coding.scales(block, content.scales.data() + first,
                  coding.offsets ? content.offsets.data() + first : nullptr);
  }
  return content;
}

inline codebook ggml_codebook(const ggml_content& content, const ggml_coding& coding, float unit,
                              block_scales scales) {
  std::vector<float> levels(std::size_t{1} << coding.bits);
  for (std::size_t c = 0; c < levels.size(); ++c)
    levels[c] = unit * coding.level(static_cast<std::uint8_t>(c));
  return {content.codes, std::move(levels), coding.group, std::move(scales)};
}
/// MXFP4 or NVFP4 with the scales that stand in the blocks; nothing where one means another number there.
inline std::optional<any_operator> micro_scaled(const ggml_blocks& w, const ggml_coding& coding,
                                                const ggml_content& content) {
  const auto& t = info(w.type());
  const bool nv = w.type() == ggml_type::nvfp4;
  const std::size_t of_block = nv ? 4 : 1;
  std::vector<std::byte> scales;
  for (std::size_t at = 0; at < w.bytes().size(); at += static_cast<std::size_t>(t.bytes))
    for (std::size_t g = 0; g < of_block; ++g) {
      const std::byte code = w.bytes()[at + g];
      if (code == std::byte{0xff}) return std::nullopt;
      const bool zero = nv && code == std::byte{0x7f};
      scales.push_back(zero ? std::byte{0} : nv ? code & std::byte{0x7f} : code);
    }
  real_array stored(nv ? dtype::f8_e4m3 : dtype::f8_e8m0, scales, nullptr);
  return ggml_codebook(
      content, coding, 0.5F,
      nv ? block_scales::factored(std::move(stored), 1.0F) : block_scales::plain(std::move(stored)));
}
/// Offsets [rows, groups] for runs of `group` columns.
inline low_rank offsets_of_groups(const matrix<float>& offsets, index_t group, dtype type) {
  matrix<float> members(offsets.cols(), offsets.cols() * group);
  for (index_t j = 0; j < members.cols(); ++j) members(j / group, j) = 1.0F;
  return {offsets.view(), std::as_const(members).view(), type};
}

}  // namespace detail

/// The same weights in an operator of another kind, every value equal (zeros may differ in sign); nothing
/// where there is none. Rows stay in order.
/// - Q4_0, Q5_0, Q8_0, Q8_1, Q8_K, Q2_0: `quantized`, with the scales of the blocks in their own type;
/// - Q3_K, Q6_K: `quantized` in groups of 16 with scales as f32, 5 and 8 bits a weight; prepared, groups are
///   padded to 32 columns, which takes 8 and 14;
/// - Q4_1, Q5_1, Q2_K, Q4_K, Q5_K: `sum` of a `quantized` and a `low_rank`, the offsets times which group a
///   column is in. Scales and offsets of k-quants are f32: 6, 6 and 7 bits a weight (Q2_K prepared: 8), and
///   cols / rows / group times the bits of an offset more;
/// - IQ4_NL, IQ4_XS (scales as f32: 5 bits), MXFP4, NVFP4: `codebook`;
/// - TQ1_0, TQ2_0: `ternary`; TQ2_0 with weights of 2: `quantized`;
/// - Q1_0: `binary_coded`.
/// Not for points of grids, nor where a scale is not finite or is the code 255 of MXFP4 or NVFP4. Memory on
/// the way: a byte a weight, and the scales and offsets as floats.
inline std::optional<any_operator> to_native(const ggml_blocks& w) {
  const auto type = w.type();
  const auto* coding = detail::find_ggml_coding(type);
  if (coding == nullptr || w.rows() == 0 || w.cols() == 0) return std::nullopt;
  const auto content = detail::read_ggml_content(w, *coding);
  const auto finite = [](float v) { return std::isfinite(v); };
  if (!std::ranges::all_of(content.scales.values(), finite) ||
      !std::ranges::all_of(content.offsets.values(), finite))
    return std::nullopt;

  if (type == ggml_type::mxfp4 || type == ggml_type::nvfp4) return detail::micro_scaled(w, *coding, content);
  if (type == ggml_type::q1_0)
    return binary_coded(content.codes, 1, coding->group, store_as(content.type, content.scales.view()));
  if (coding->levels != nullptr)
    return detail::ggml_codebook(content, *coding, 1.0F,
                                 block_scales::plain(store_as(content.type, content.scales.view())));
  const bool digits = type == ggml_type::tq1_0 || type == ggml_type::tq2_0;
  if (digits && std::ranges::all_of(content.codes.values(), [](std::uint8_t d) { return d <= 2; }))
    return ternary(content.codes, coding->group, content.scales.view(), content.type);
  const matrix<float> zero(w.rows(), content.scales.cols(), static_cast<float>(coding->zero));
  quantized integers(content.codes, affine_grid(coding->bits, w.rows(), w.cols(), coding->group,
                                                content.scales.view(), zero.view(), content.type));
  if (!coding->offsets) return integers;
  return sum<>(operator_parts<>(
      {std::move(integers), detail::offsets_of_groups(content.offsets, coding->group, content.type)}));
}

}  // namespace tersor::op
