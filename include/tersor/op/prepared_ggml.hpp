// tersor - GGUF blocks with offsets laid out for fast products
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/ggml_native.hpp>
#include <tersor/op/prepared_dense.hpp>
#include <tersor/op/prepared_quantized.hpp>

namespace tersor::op {

/// A `ggml_blocks` of a type with offsets, W = s q + b in groups of columns: Q4_1, Q5_1, Q2_K, Q4_K, Q5_K.
/// Products are those of two operators: the codes around the middle of their range, s (q - z), in tile
/// format, and b + s z [rows, groups] with the inputs' sums over groups. Centred codes keep what 8-bit
/// activations lose small. Scales and offsets are f32 where no block holds them as f16: 6 bits per weight for
/// Q4_K, beside the blocks, which are kept for files (and cost nothing where they lie in one).
class prepared_ggml : public restored_operator<prepared_ggml> {
 public:
  explicit prepared_ggml(const ggml_blocks& w, const prepare_options& options = {})
      : prepared_ggml(w, coding_of(w), options) {}
  static constexpr std::string_view kind() { return ggml_blocks::kind(); }
  /// Can this operator be prepared?
  static bool fits(const ggml_blocks& w) {
    const auto* coding = detail::find_ggml_coding(w.type());
    return coding != nullptr && coding->offsets && w.rows() > 0 && w.cols() > 0;
  }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols(), y, rows());
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      matrix<float> sums(input.rows(), offsets_.cols()), added(output.rows(), output.cols());
      parallel_for(input.rows(), ctx, [&](index_t t) {
        const float* in = input.data + t * input.strides[0];
        for (index_t g = 0; g < sums.cols(); ++g, in += group_) {
          float sum = 0;
          for (index_t j = 0; j < group_; ++j) sum += in[j];
          sums(t, g) = sum;
        }
      });
      codes_.apply(input, output, ctx);
      offsets_.apply(std::as_const(sums).view(), added.view(), ctx);
      for (index_t t = 0; t < output.rows(); ++t)
        for (index_t r = 0; r < output.cols(); ++r) output(t, r) += added(t, r);
    });
  }

  index_t rows() const { return blocks_.rows(); }
  index_t cols() const { return blocks_.cols(); }
  const prepare_options& options() const { return codes_.options(); }
  /// Bytes that a product reads of the weight, padding included.
  index_t stream_bytes() const { return codes_.stream_bytes() + offsets_.stream_bytes(); }
  /// The operator that it was made of.
  const ggml_blocks& restore() const { return blocks_; }
  void save(archive_writer& out) const { blocks_.save(out); }

 private:
  static const detail::ggml_coding& coding_of(const ggml_blocks& w) {
    require(fits(w), "prepare: ggml type", name(w.type()),
            "one with offsets: Q4_1, Q5_1, Q2_K, Q4_K or Q5_K");
    return *detail::find_ggml_coding(w.type());
  }
  prepared_ggml(const ggml_blocks& w, const detail::ggml_coding& coding, const prepare_options& options)
      : prepared_ggml(w, coding, detail::read_ggml_content(w, coding), options) {}
  prepared_ggml(const ggml_blocks& w, const detail::ggml_coding& coding, const detail::ggml_content& content,
                const prepare_options& options)
      : blocks_(w),
        group_(coding.group),
        codes_(centred(coding, content), options),
        offsets_(offsets(coding, content), options) {}

  static float middle(const detail::ggml_coding& coding) {
    return static_cast<float>(1 << (coding.bits - 1));
  }
  static quantized centred(const detail::ggml_coding& coding, const detail::ggml_content& c) {
    const matrix<float> zeros(c.scales.rows(), c.scales.cols(), middle(coding));
    return {c.codes, affine_grid(coding.bits, c.codes.rows(), c.codes.cols(), coding.group, c.scales.view(),
                                 zeros.view(), c.type)};
  }
  static dense offsets(const detail::ggml_coding& coding, const detail::ggml_content& c) {
    matrix<float> sum = c.offsets;
    for (index_t i = 0; i < sum.size(); ++i) sum.data()[i] += middle(coding) * c.scales.data()[i];
    return dense(std::as_const(sum).view());
  }

  ggml_blocks blocks_;
  index_t group_;
  prepared_quantized codes_;
  prepared_dense offsets_;
};

}  // namespace tersor::op
