// tersor - operators laid out for fast products: an explicit step between loading and use
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/codebook.hpp>
#include <tersor/op/ggml_native.hpp>
#include <tersor/op/permuted.hpp>
#include <tersor/op/prepared_binary.hpp>
#include <tersor/op/prepared_csr.hpp>
#include <tersor/op/prepared_dense.hpp>
#include <tersor/op/prepared_ggml.hpp>
#include <tersor/op/prepared_low_rank.hpp>
#include <tersor/op/prepared_masked.hpp>
#include <tersor/op/prepared_quantized.hpp>
#include <tersor/op/prepared_sparse24.hpp>
#include <tersor/op/prepared_sum.hpp>
#include <tersor/op/prepared_ternary.hpp>
#include <tersor/op/scaled.hpp>

namespace tersor::op {

/// A `codebook` of up to 16 levels in tile format. A row is a whole number of blocks, or a block of rows,
/// whose scale is then repeated for each. Scales stay what they are: codes where they were quantized
/// themselves, and the 8 bits of MXFP4's and NVFP4's. Of 4-bit codes two blocks of 16 share a chunk.
class prepared_codebook : public prepared_operator<prepared_codebook> {
 public:
  /// Error for codes of 1 bit or more than 4, for blocks that end inside rows, and with 8-bit activations for
  /// levels that are not multiples of one step (NF4; those of FP4 are).
  explicit prepared_codebook(const codebook& w, const prepare_options& options = {})
      : prepared_operator(w.rows(), w.cols()),
        block_size_(w.block_size()),
        used_levels_(w.levels()),
        scales_(w.scales()) {
    require(fits(w), "prepare: codebook",
            concat(w.bits(), " bits, blocks of ", block_size_, ", ", cols_, " columns"),
            "2 to 4 bits, and rows of whole blocks");
    const bool coded = scales_.rule().coded();
    const index_t block = std::max<index_t>(1, std::min(block_size_, cols_));
    constexpr index_t half = tile_stream::chunk_columns / 2;
    const index_t parts = w.bits() == 4 && block == half && cols_ > half && !coded ? 2 : 1;
    const index_t group_size = block * parts;
    stream_ = tile_stream({.rows = rows_,
                           .bits = w.bits(),
                           .scale_type = coded ? dtype::u8 : scales_.rule().type,
                           .zero_points = false,
                           .chunks = {},
                           .parts = parts},
                          cols_, (cols_ + group_size - 1) / group_size, group_size, {}, options);
    std::ranges::copy(used_levels_, levels_.begin());
    if (options.activations == activation_type::int8) find_step();
    if (coded) start_coded();
    unit_ *= scales_.factor();
    const auto codes_of_scales = scales_.codes();
    const auto stored = coded ? std::as_bytes(std::span(codes_of_scales)) : scales_.reals().bytes();
    const auto width = static_cast<std::size_t>(bits_of(stream_.format().scale_type)) / 8;
    const index_t blocks = cols_ / block;  // of a row
    stream_.fill(w.codes(), [&](index_t row, index_t rows, index_t g, std::uint8_t* p) {
      std::memset(p, 0, static_cast<std::size_t>(stream_.format().header_bytes()));
      for (index_t b = g * parts; b < std::min((g + 1) * parts, blocks);
           ++b, p += tile_stream::tile_rows * width)
        for (index_t r = 0; r < rows; ++r) {
          const auto i = static_cast<std::size_t>((row + r) * cols_ / block_size_ + b);
          std::memcpy(p + static_cast<std::size_t>(r) * width, stored.data() + i * width, width);
        }
    });
  }
  static constexpr std::string_view kind() { return codebook::kind(); }
  /// Can this codebook be prepared?
  static bool fits(const codebook& w) {
    const bool whole_blocks = w.cols() % w.block_size() == 0;
    const bool whole_rows = w.block_size() % std::max<index_t>(w.cols(), 1) == 0;
    const bool coded = w.scales().rule().coded();
    return w.bits() >= 2 && w.bits() <= 4 && (whole_blocks || (whole_rows && !coded));
  }
  /// The step of which all levels are multiples, over a range of 255 at most; 0 if there is none.
  static float common_step(std::span<const float> levels) {
    float step = std::numeric_limits<float>::infinity();
    for (const float l : levels)
      if (l != 0) step = std::min(step, std::abs(l));
    const auto [lowest, top] = std::ranges::minmax(levels);
    const bool exact =
        std::ranges::all_of(levels, [&](float l) { return l / step == std::nearbyint(l / step); });
    return exact && top - lowest <= 255 * step && std::isfinite(step) ? step : 0.0F;
  }

  /// f(operand), all of it but the stream.
  template <class F>
  void with_operand(const F& f) const {
    kernel::tile_operand w;
    w.meaning_is_level = true;
    w.levels = levels_.data();
    w.byte_levels = byte_levels_.data();
    w.zero_point = zero_point_;
    w.unit = unit_;
    kernel::coded_scales coded{.levels = scale_levels_.data(),
                               .largest = largest_.data(),
                               .block_size = scales_.rule().block_size,
                               .offset = scales_.offset()};
    if (!scale_levels_.empty()) w.coded = &coded;
    f(w);
  }
  /// The operator that it was made of.
  codebook restore() const {
    const auto codes = stream_.read([](index_t, index_t, index_t, const std::uint8_t*) {});
    return {codes, used_levels_, block_size_, scales_};
  }

 private:
  /// Levels as bytes: level = unit * (byte - zero point).
  void find_step() {
    unit_ = common_step(used_levels_);
    require(unit_ > 0, "prepare: levels for int8 activations", used_levels_.front(),
            "multiples of the smallest, or activations = f32");
    const float lowest = std::ranges::min(used_levels_);
    zero_point_ = -lowest / unit_;
    for (std::size_t i = 0; i < used_levels_.size(); ++i)
      byte_levels_[i] = static_cast<std::uint8_t>((used_levels_[i] - lowest) / unit_);
  }
  void start_coded() {
    const auto& rule = scales_.rule();
    if (rule.by_table()) {
      scale_levels_ = scales_.levels();
    } else {
      const auto steps = static_cast<float>((1 << rule.bits) - 1);
      for (int i = 0; i < 256; ++i) scale_levels_.push_back(static_cast<float>(i) / steps);
    }
    largest_.resize(static_cast<std::size_t>(scales_.reals().size()));
    scales_.reals().read(0, largest_);
    // the kernel looks up the rows of padding too
    const index_t groups = stream_.format().groups(),
                  padded = stream_.format().tiles() * tile_stream::tile_rows;
    largest_.resize(static_cast<std::size_t>(padded * groups / rule.block_size + 1));
  }

  index_t block_size_;
  std::vector<float> used_levels_;
  block_scales scales_;
  std::array<float, 16> levels_{};
  std::array<std::uint8_t, 16> byte_levels_{};
  float unit_ = 1, zero_point_ = 0;
  std::vector<float> scale_levels_, largest_;
};

/// The operator in the layout of its kind's kernel, or as it is where there is none. Operators around others
/// (permuted, scaled) are prepared inside. Levels without a common step are multiplied with float
/// activations, whatever the options say. Blocks of GGUF with offsets become `prepared_ggml`; others take
/// their native form first (op/ggml_native.hpp), and that is what they are then saved as.
inline any_operator prepare(const any_operator& w, const prepare_options& options = {}) {
  if (const auto* q = w.as<quantized>()) return prepared_quantized(*q, options);
  if (const auto* b = w.as<ggml_blocks>()) {
    if (prepared_ggml::fits(*b)) return prepared_ggml(*b, options);
    const auto native = to_native(*b);
    return native ? prepare(*native, options) : w;
  }
  if (const auto* c = w.as<codebook>()) {
    if (!prepared_codebook::fits(*c)) return w;
    auto used = options;
    if (prepared_codebook::common_step(c->levels()) == 0) used.activations = activation_type::f32;
    return prepared_codebook(*c, used);
  }
  if (const auto* d = w.as<dense>())
    return prepared_dense::fits(*d) ? any_operator(prepared_dense(*d, options)) : w;
  if (const auto* b = w.as<binary_coded>()) return prepared_binary(*b, options);
  if (const auto* t = w.as<ternary>()) return prepared_ternary(*t, options);
  if (const auto* n = w.as<sparse_nm>()) {
    if (prepared_sparse24::fits(*n)) return prepared_sparse24(*n, options);
    return prepared_masked<sparse_nm>::fits(*n) ? any_operator(prepared_masked<sparse_nm>(*n, options)) : w;
  }
  if (const auto* b = w.as<sparse_bitmap>())
    return prepared_masked<sparse_bitmap>::fits(*b)
               ? any_operator(prepared_masked<sparse_bitmap>(*b, options))
               : w;
  if (const auto* c = w.as<sparse_csr>()) return prepared_csr(*c, options);
  if (const auto* l = w.as<low_rank>()) return prepared_low_rank(*l, options);
  if (const auto* s = w.as<sum<>>()) {
    std::vector<sum_part> parts;
    s->parts().for_each([&](const any_operator& part) {
      parts.push_back(
          sum_part::of<prepared_quantized, prepared_codebook, prepared_sparse24, prepared_masked<sparse_nm>,
                       prepared_masked<sparse_bitmap>, prepared_csr, prepared_low_rank>(
              prepare(part, options)));
    });
    return prepared_sum(std::move(parts));
  }
  if (const auto* p = w.as<permuted<>>()) return permuted<>(prepare(p->inner(), options), p->permutation());
  if (const auto* s = w.as<scaled<>>())
    return scaled<>(prepare(s->inner(), options), s->output_scale(), s->input_scale());
  return w;
}

}  // namespace tersor::op
