// tersor - quantized tokens: codes between the minimum and the maximum of groups along tokens or channels
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/core/bits.hpp>
#include <tersor/core/rounding.hpp>
#include <tersor/kv/segment.hpp>

namespace tersor::kv {

/// Which values share a scale and a minimum.
enum class group_axis {
  tokens,   ///< consecutive tokens of one channel of one head ("per channel")
  channels  ///< consecutive channels of one token, counted through all heads of the body ("per token")
};

/// The grid of a group: value = minimum + code * scale.
struct range_grid {
  float minimum = 0, scale = 0;
};

/// Minimum and step of `values` on 2^bits levels, as stored in `type`: the minimum rounded down and the step
/// up, so that every value is within half a step of a level. A constant group has step 0 if its value is one
/// of the type.
inline range_grid fit_range(std::span<const float> values, int bits, dtype type) {
  if (values.empty()) return {};
  const auto [low, high] = std::ranges::minmax(values);
  range_grid g;
  g.minimum = round_down_to(type, low, "minimum of a group");
  const float range = high - g.minimum, levels = static_cast<float>((1 << bits) - 1);
  g.scale = round_up_to(type, range / levels, "scale of a group");
  return g;
}
/// round((x - minimum) / scale), ties to even, in 0 .. 2^bits - 1; 0 where the scale is 0.
inline std::uint8_t range_code(float x, range_grid g, int bits) {
  if (g.scale == 0.0F) return 0;
  const float q = round_half_even((x - g.minimum) / g.scale);
  return static_cast<std::uint8_t>(std::min(std::max(q, 0.0F), static_cast<float>((1 << bits) - 1)));
}

/// Tokens as codes of 1 to 8 bits with a minimum and a scale for each group: the asymmetric quantizer of KIVI
/// (arXiv:2402.02750) and of GEAR's backbone (arXiv:2403.05527).
///
/// Codes of 1, 2, 4 and 8 bits of heads of a multiple of 16 channels lie in the order of kernel::code_rows,
/// so that attention multiplies with them as they are; others are a plain stream of bits and are decoded
/// first.
///
/// Guarantee: |x - x^| <= scale / 2, up to rounding in float. Bits per element: bits + 2 * (bits of the
/// scale's type) / group_size; a token's codes of one head fill whole bytes.
class quantized_tokens final : public body {
 public:
  /// @param group_size values that share a scale. Along tokens, every `append` must bring a multiple of it;
  /// along channels the last group of a token may be shorter.
  quantized_tokens(index_t heads, index_t head_dim, int bits, group_axis axis, index_t group_size,
                   dtype scale_type = dtype::f16)
      : heads_(heads),
        head_dim_(head_dim),
        group_size_(group_size),
        bits_(bits),
        axis_(axis),
        ordered_(kernel::code_rows::fits(bits, head_dim)),
        row_bytes_(packed_bytes(bits, static_cast<std::size_t>(head_dim))),
        codes_(static_cast<std::size_t>(heads)),
        grids_of_heads_(axis == group_axis::tokens || head_dim % std::max<index_t>(group_size, 1) == 0),
        scale_(grids_of_heads_ ? codes_.size() : 1, real_list(scale_type)),
        minimum_(scale_) {
    require(group_size >= 1, "quantized_tokens: group_size", group_size, "at least 1");
    require(scale_type == dtype::f32 || scale_type == dtype::f16 || scale_type == dtype::bf16,
            "quantized_tokens: scale_type", name(scale_type), "F32, F16 or BF16");
  }

  index_t heads() const override { return heads_; }
  index_t tokens() const override { return tokens_; }
  index_t head_dim() const override { return head_dim_; }
  int bits() const { return bits_; }
  /// Groups of one token, along channels.
  index_t groups_of_token() const { return (heads_ * head_dim_ + group_size_ - 1) / group_size_; }
  /// Along channels, the groups of a token that lie together: those of a head where no group has channels of
  /// two heads, those of all heads otherwise. And the place of a channel's group among them.
  index_t grid_width() const { return grids_of_heads_ ? head_dim_ / group_size_ : groups_of_token(); }
  index_t grid_of(index_t head, index_t c) const {
    return ((grids_of_heads_ ? 0 : head * head_dim_) + c) / group_size_;
  }

  /// The codes of a head, [tokens, head_dim].
  matrix<std::uint8_t> codes(index_t head) const {
    matrix<std::uint8_t> q(tokens_, head_dim_);
    unpack(head, 0, q.view());
    return q;
  }
  /// The grid of token t, channel c of a head.
  range_grid grid(index_t head, index_t t, index_t c) const {
    const std::size_t list = list_of(head);
    const index_t at =
        axis_ == group_axis::tokens ? t / group_size_ * head_dim_ + c : t * grid_width() + grid_of(head, c);
    return {minimum_[list][at], scale_[list][at]};
  }

  void read(index_t head, index_t first, matrix_view<float> out) const override {
    if (out.rows() == 0) return;
    if (ordered_ && axis_ == group_axis::tokens)
      return kernel::decode_rows(kernel::best_target(), rows(head, first, out.rows()),
                                 column_grids(head, first), out.data);
    if (ordered_)
      if (const auto grids = group_grids(head, first); grids.fits(rows(head, first, out.rows())))
        return kernel::decode_rows(kernel::best_target(), rows(head, first, out.rows()), grids, out.data);
    matrix<std::uint8_t> q(out.rows(), head_dim_);
    unpack(head, first, q.view());
    if (axis_ == group_axis::tokens) {
      std::vector<float> low(static_cast<std::size_t>(head_dim_)), step(low.size());
      const auto list = static_cast<std::size_t>(head);
      for (index_t t = 0; t < out.rows(); ++t) {
        const index_t group = (first + t) / group_size_;
        if (t == 0 || (first + t) % group_size_ == 0) {
          minimum_[list].read(group * head_dim_, low);
          scale_[list].read(group * head_dim_, step);
        }
        kernel::run<grid_values>(kernel::best_target(), static_cast<const std::uint8_t*>(q.row(t).data()),
                                 static_cast<const float*>(step.data()),
                                 static_cast<const float*>(low.data()), head_dim_, out.row(t).data);
      }
      return;
    }
    const index_t groups = grid_width(), begin = grids_of_heads_ ? 0 : head * head_dim_;
    const index_t first_group = grid_of(head, 0), last_group = grid_of(head, head_dim_ - 1);
    std::vector<float> low(static_cast<std::size_t>(last_group - first_group + 1)), step(low.size());
    for (index_t t = 0; t < out.rows(); ++t) {
      minimum_[list_of(head)].read((first + t) * groups + first_group, low);
      scale_[list_of(head)].read((first + t) * groups + first_group, step);
      const std::uint8_t* code = q.row(t).data();
      float* y = out.row(t).data;
      for (index_t g = first_group; g <= last_group; ++g) {
        const float m = low[static_cast<std::size_t>(g - first_group)],
                    s = step[static_cast<std::size_t>(g - first_group)];
        const index_t end = std::min(head_dim_, (g + 1) * group_size_ - begin);
        const index_t start = std::max<index_t>(0, g * group_size_ - begin);
        kernel::run<group_values>(kernel::best_target(), code + start, s, m, end - start, y + start);
      }
    }
  }
  /// The minimums of tokens from `first` on in their `grid_width` groups (along channels), or of every
  /// channel of a head in the group of a token (along tokens).
  void read_minimums(index_t head, index_t first, std::span<float> out) const {
    if (axis_ == group_axis::tokens)
      minimum_[static_cast<std::size_t>(head)].read(first / group_size_ * head_dim_, out);
    else
      minimum_[list_of(head)].read(first * grid_width(), out);
  }
  /// Puts a group's minimum in the place of one value: code 0.
  void clear_code(index_t head, index_t t, index_t c) {
    auto* row = codes_[static_cast<std::size_t>(head)].data() + t * static_cast<index_t>(row_bytes_);
    const auto words = static_cast<index_t>(row_bytes_) / 4;
    for (int b = 0; b < bits_; ++b) {
      const index_t bit = ordered_ ? c % words * 32 + c / words * bits_ + b : c * bits_ + b;
      row[bit / 8] = static_cast<std::uint8_t>(row[bit / 8] & ~(1U << (bit % 8)));
    }
  }
  index_t group_size() const { return group_size_; }
  group_axis axis() const { return axis_; }
  /// Does `accumulate`, or `scores`, multiply with the codes as they are?
  bool multiplies_codes(index_t head) const {
    return ordered_ && (axis_ == group_axis::tokens || group_grids(head, 0).fits(rows(head, 0, 0)));
  }

  using segment::accumulate;
  using segment::scores;
  void scores(index_t head, index_t first, matrix_view<const float> q,
              matrix_view<float> out) const override {
    if (!ordered_ || axis_ != group_axis::tokens) return segment::scores(head, first, q, out);
    kernel::row_scores(kernel::best_target(), rows(head, first, out.cols()), column_grids(head, first),
                       {q.data, q.strides[0], q.rows()}, out.data, out.strides[0]);
  }
  void accumulate(index_t head, index_t first, matrix_view<const float> a,
                  matrix_view<float> out) const override {
    const auto codes = rows(head, first, a.cols());
    if (!ordered_ || axis_ != group_axis::channels || !group_grids(head, first).fits(codes))
      return segment::accumulate(head, first, a, out);
    kernel::row_sums(kernel::best_target(), codes, group_grids(head, first), {a.data, a.strides[0], a.rows()},
                     out.data, out.strides[0]);
  }
  op::storage_report storage() const override {
    op::storage_report report;
    for (const auto& c : codes_)
      add_storage(report, "codes", dtype::u8, static_cast<index_t>(c.size()), c.size());
    for (std::size_t k = 0; k < scale_.size(); ++k) {
      add_storage(report, "scale", scale_[k].type(), scale_[k].size(), scale_[k].bytes());
      add_storage(report, "minimum", minimum_[k].type(), minimum_[k].size(), minimum_[k].bytes());
    }
    return report;
  }
  void append(heads_view<const float> rows, bool, const context& = {}) override {
    const index_t n = rows.extents[1];
    if (axis_ == group_axis::tokens)
      append_along_tokens(rows);
    else
      append_along_channels(rows);
    tokens_ += n;
  }
  void drop(index_t t) override {
    if (axis_ == group_axis::tokens) return body::drop(t);
    const auto bytes = static_cast<index_t>(row_bytes_);
    for (auto& c : codes_) c.erase(c.begin() + t * bytes, c.begin() + (t + 1) * bytes);
    for (auto* lists : {&scale_, &minimum_})
      for (auto& list : *lists) list.erase(t * grid_width(), grid_width());
    --tokens_;
  }
  std::unique_ptr<body> clone() const override { return std::make_unique<quantized_tokens>(*this); }

 private:
  struct grid_values {
    TERSOR_ALWAYS_INLINE static void run(const std::uint8_t* code, const float* step, const float* low,
                                         index_t n, float* y) {
      kernel::detail::for_each(n, [=](index_t c) { y[c] = static_cast<float>(code[c]) * step[c] + low[c]; });
    }
  };
  struct group_values {
    TERSOR_ALWAYS_INLINE static void run(const std::uint8_t* code, float step, float low, index_t n,
                                         float* y) {
      kernel::detail::for_each(n, [=](index_t c) { y[c] = static_cast<float>(code[c]) * step + low; });
    }
  };
  /// Which of the lists of scales and minimums holds those of a head.
  std::size_t list_of(index_t head) const { return grids_of_heads_ ? static_cast<std::size_t>(head) : 0; }
  kernel::code_rows rows(index_t head, index_t first, index_t count) const {
    return {codes_[static_cast<std::size_t>(head)].data() + first * static_cast<index_t>(row_bytes_), bits_,
            count, head_dim_};
  }
  /// Along tokens: those from the group of token `first` on.
  kernel::column_grids column_grids(index_t head, index_t first) const {
    const auto list = static_cast<std::size_t>(head);
    const index_t at = first / group_size_ * head_dim_;
    kernel::column_grids g;
    g.scale = scale_[list].data(at);
    g.minimum = minimum_[list].data(at);
    g.type = scale_[list].type();
    g.width = head_dim_;
    g.size = group_size_;
    g.offset = first % group_size_;
    return g;
  }
  /// Along channels: those from token `first` on.
  kernel::group_grids group_grids(index_t head, index_t first) const {
    kernel::group_grids g;
    g.width = grid_width();
    g.scale = scale_[list_of(head)].data(first * g.width);
    g.minimum = minimum_[list_of(head)].data(first * g.width);
    g.type = scale_[0].type();
    g.size = group_size_;
    g.offset = head * head_dim_ % group_size_;
    g.first = grid_of(head, 0);
    return g;
  }
  void unpack(index_t head, index_t first, matrix_view<std::uint8_t> q) const {
    const std::span<const std::uint8_t> bytes(codes_[static_cast<std::size_t>(head)]);
    if (ordered_) {
      for (index_t t = 0; t < q.rows(); ++t)
        kernel::unpack_code_row(bytes.data() + static_cast<std::size_t>(first + t) * row_bytes_, bits_,
                                head_dim_, q.row(t).data);
      return;
    }
    if (head_dim_ * bits_ % 8 == 0)  // rows follow each other without a gap
      return unpack_bits(bits_, bytes, static_cast<std::size_t>(first * head_dim_),
                         {q.data, static_cast<std::size_t>(q.size())});
    for (index_t t = 0; t < q.rows(); ++t)
      unpack_bits(bits_, bytes.subspan(static_cast<std::size_t>(first + t) * row_bytes_, row_bytes_), 0,
                  {q.row(t).data, static_cast<std::size_t>(head_dim_)});
  }
  void pack(index_t head, std::span<const std::uint8_t> row) {
    auto& c = codes_[static_cast<std::size_t>(head)];
    if (ordered_) {
      c.resize(c.size() + row_bytes_);
      return kernel::pack_code_row(row.data(), bits_, head_dim_, c.data() + c.size() - row_bytes_);
    }
    const auto bytes = pack_bits(bits_, row);
    c.insert(c.end(), bytes.begin(), bytes.end());
  }
  void append_along_tokens(heads_view<const float> rows) {
    const index_t n = rows.extents[1];
    require(n % group_size_ == 0, "quantized_tokens: appended tokens", n, "a multiple of the group size, ",
            group_size_);
    std::vector<float> values(static_cast<std::size_t>(group_size_));
    std::vector<range_grid> grids(static_cast<std::size_t>(head_dim_));
    std::vector<std::uint8_t> codes(grids.size());
    for (index_t h = 0; h < heads_; ++h)
      for (index_t first = 0; first < n; first += group_size_) {
        const auto list = static_cast<std::size_t>(h);
        for (index_t c = 0; c < head_dim_; ++c) {
          for (index_t t = 0; t < group_size_; ++t)
            values[static_cast<std::size_t>(t)] = rows(h, first + t, c);
          const auto g = fit_range(values, bits_, scale_[list].type());
          grids[static_cast<std::size_t>(c)] = g;
          minimum_[list].append(g.minimum);
          scale_[list].append(g.scale);
        }
        for (index_t t = 0; t < group_size_; ++t) {
          for (std::size_t c = 0; c < codes.size(); ++c)
            codes[c] = range_code(rows(h, first + t, static_cast<index_t>(c)), grids[c], bits_);
          pack(h, codes);
        }
      }
  }
  void append_along_channels(heads_view<const float> rows) {
    const index_t width = heads_ * head_dim_;
    std::vector<float> token(static_cast<std::size_t>(width));
    std::vector<std::uint8_t> codes(token.size());
    for (index_t t = 0; t < rows.extents[1]; ++t) {
      for (index_t j = 0; j < width; ++j)
        token[static_cast<std::size_t>(j)] = rows(j / head_dim_, t, j % head_dim_);
      for (index_t first = 0; first < width; first += group_size_) {
        const index_t count = std::min(group_size_, width - first);
        const auto values =
            std::span(token).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
        const auto g = fit_range(values, bits_, scale_[0].type());
        minimum_[list_of(first / head_dim_)].append(g.minimum);
        scale_[list_of(first / head_dim_)].append(g.scale);
        for (std::size_t i = 0; i < values.size(); ++i)
          codes[static_cast<std::size_t>(first) + i] = range_code(values[i], g, bits_);
      }
      for (index_t h = 0; h < heads_; ++h)
        pack(h, std::span(codes).subspan(static_cast<std::size_t>(h * head_dim_),
                                         static_cast<std::size_t>(head_dim_)));
    }
  }

  index_t heads_, head_dim_, group_size_, tokens_ = 0;
  int bits_;
  group_axis axis_;
  bool ordered_;  // are rows of codes those of kernel::code_rows?
  std::size_t row_bytes_;
  std::vector<std::vector<std::uint8_t>> codes_;  // of each head, [tokens, row_bytes]
  bool grids_of_heads_;                           // has every head scales and minimums of its own?
  // along tokens: of each head, [tokens / group_size, head_dim]; along channels: of each head where groups
  // end at heads, so that attention reads no others', or one, [tokens, grid_width]
  std::vector<real_list> scale_, minimum_;
};

}  // namespace tersor::kv
