// tersor - dense operators whose products with few tokens read the weights as they are stored
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kernel/row_products.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/restored_operator.hpp>
#include <tersor/op/tile_stream.hpp>

namespace tersor::op {

/// A `dense` of f32, f16, bf16, f8_e4m3 or f8_e5m2 with products at the speed of memory for up to 16 tokens:
/// values are converted in registers. More tokens are multiplied with tiles of rows that were converted once,
/// as a `dense` does. The values stay where they are, in a mapped file too.
class prepared_dense : public restored_operator<prepared_dense> {
 public:
  explicit prepared_dense(dense w, const prepare_options& options = {})
      : w_(std::move(w)), options_(options) {
    require(kernel::is_supported(options.target), "prepare: target",
            option_text<kernel::target>::format(options.target), "one that this processor has");
    require(fits(w_), "prepare: type of a dense operator", name(w_.values().type()),
            "F32, F16, BF16, F8_E4M3 or F8_E5M2");
    options_.activations = activation_type::f32;
    find_nans();
  }
  static constexpr std::string_view kind() { return dense::kind(); }
  /// Can this operator be prepared?
  static bool fits(const dense& w) { return w.values().type() != dtype::f8_e8m0; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols(), y, rows());
    detail::with_contiguous_rows(x, y, [&](matrix_view<const float> input, matrix_view<float> output) {
      if (input.rows() <= most_tokens)
        few_tokens(input, output, ctx);
      else
        many_tokens(input, output, ctx);
    });
  }

  index_t rows() const { return w_.rows(); }
  index_t cols() const { return w_.cols(); }
  const prepare_options& options() const { return options_; }
  /// Bytes that a product reads of the weight.
  index_t stream_bytes() const { return rows() * row_bytes(); }
  /// The operator that it was made of.
  const dense& restore() const { return w_; }
  void save(archive_writer& out) const { w_.save(out); }

 private:
  static constexpr index_t most_tokens = kernel::tile_tokens, register_rows = 16;

  index_t row_bytes() const { return cols() * bits_of(w_.values().type()) / 8; }
  const std::uint8_t* row(index_t r) const {
    return reinterpret_cast<const std::uint8_t*>(w_.values().bytes().data()) + r * row_bytes();
  }
  /// NaN times anything is NaN: rows of E4M3 that hold one are known beforehand, so that the kernel need not
  /// look for the code.
  void find_nans() {
    if (w_.values().type() != dtype::f8_e4m3) return;
    for (index_t r = 0; r < rows(); ++r)
      if (std::any_of(row(r), row(r) + cols(), [](std::uint8_t code) { return (code & 0x7fU) == 0x7fU; }))
        rows_with_nan_.push_back(r);
  }
  void few_tokens(matrix_view<const float> x, matrix_view<float> y, const context& ctx) const {
    // half a megabyte for a task, in whole registers of rows
    const index_t blocks = (rows() + register_rows - 1) / register_rows;
    const index_t in_task =
        std::max<index_t>(1, (index_t{1} << 19) / std::max<index_t>(register_rows * row_bytes(), 1));
    parallel_chunks(blocks, in_task, ctx, [&](index_t first, index_t last) {
      const index_t r0 = first * register_rows, r1 = std::min(rows(), last * register_rows);
      const kernel::real_rows w{
          .data = row(r0), .type = w_.values().type(), .rows = r1 - r0, .columns = cols(), .numbers = true};
      kernel::row_scores(options_.target, w, {.data = x.data, .stride = x.strides[0], .count = x.rows()},
                         y.data + r0, y.strides[0]);
    });
    for (index_t t = 0; t < y.rows(); ++t)
      for (const index_t r : rows_with_nan_) y(t, r) = std::numeric_limits<float>::quiet_NaN();
  }
  void many_tokens(matrix_view<const float> x, matrix_view<float> y, const context& ctx) const {
    if (w_.values().type() == dtype::f32) return w_.apply(x, y, ctx);
    parallel_chunks(rows(), detail::decode_rows(rows(), cols()), ctx, [&](index_t r0, index_t r1) {
      matrix<float> w(r1 - r0, cols());
      kernel::read_reals(options_.target, w_.values().type(), row(r0), w.size(), w.data());
      linalg::gemm<float>(1.0F, x, w.view().transposed(), 0.0F, y.block(0, r0, y.rows(), r1 - r0), ctx);
    });
  }

  dense w_;
  prepare_options options_;
  std::vector<index_t> rows_with_nan_;
};

}  // namespace tersor::op
