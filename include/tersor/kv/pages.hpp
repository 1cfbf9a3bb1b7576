// tersor - pages of a KV cache: bounds of the keys in each, and attention over some of the tokens
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/kv/segment.hpp>

namespace tersor::kv {

namespace detail {

/// out[j * stride] = Σ max(q[j] upper, q[j] lower).
struct page_bound {
  TERSOR_ALWAYS_INLINE static void run(const float* q, index_t q_stride, index_t queries, const float* upper,
                                       const float* lower, index_t dim, float* out, index_t stride) {
    for (index_t j = 0; j < queries; ++j)
      out[j * stride] = static_cast<float>(kernel::detail::sum(dim, [=](index_t c) {
        const float a = q[j * q_stride + c] * upper[c], b = q[j * q_stride + c] * lower[c];
        return a > b ? a : b;
      }));
  }
};

}  // namespace detail

/// The largest and smallest value of each key channel in every page of one head (Quest, arXiv:2406.10774).
/// Those of full pages are stored as f16 rounded outwards, so that bounds hold; those of the page that is
/// filling as f32. 2 head_dim numbers a page.
class key_pages {
 public:
  key_pages(index_t page_tokens, index_t head_dim)
      : page_(page_tokens), upper_(dtype::f16), lower_(dtype::f16) {
    require(page_tokens > 0, "key_pages: page", page_tokens, "at least 1");
    require(head_dim > 0, "key_pages: head_dim", head_dim, "at least 1");
    open_upper_.resize(static_cast<std::size_t>(head_dim));
    open_lower_.resize(open_upper_.size());
  }
  index_t tokens() const { return tokens_; }
  /// Pages, the one that is filling included.
  index_t pages() const { return (tokens_ + page_ - 1) / page_; }
  index_t head_dim() const { return static_cast<index_t>(open_upper_.size()); }

  /// Adds a token's key [head_dim]. Error where a bound of a full page is out of the range of f16.
  void append(std::span<const float> key) {
    assert(key.size() == open_upper_.size());
    const bool first = tokens_ % page_ == 0;
    for (std::size_t c = 0; c < key.size(); ++c) {
      open_upper_[c] = first ? key[c] : std::max(open_upper_[c], key[c]);
      open_lower_[c] = first ? key[c] : std::min(open_lower_[c], key[c]);
    }
    if (++tokens_ % page_ != 0) return;
    for (std::size_t c = 0; c < key.size(); ++c) {
      upper_.append(round_up_to(dtype::f16, open_upper_[c], "key_pages: bound"));
      lower_.append(round_down_to(dtype::f16, open_lower_[c], "key_pages: bound"));
    }
  }
  /// out [queries, pages]: Σ_c max(q_c upper_c, q_c lower_c), which no q . k in the page exceeds. Rows of q
  /// contiguous.
  void upper_bounds(matrix_view<const float> q, matrix_view<float> out) const {
    require_shape(q, q.rows(), head_dim(), "key_pages: q");
    require_shape(out, q.rows(), pages(), "key_pages: out");
    std::vector<float> upper(open_upper_), lower(open_lower_);
    for (index_t p = 0; p < pages(); ++p) {
      if (p * page_ + page_ <= tokens_) {
        upper_.read(p * head_dim(), upper);
        lower_.read(p * head_dim(), lower);
      } else {
        upper = open_upper_;
        lower = open_lower_;
      }
      kernel::run<detail::page_bound>(kernel::best_target(), q.data, q.strides[0], q.rows(),
                                      std::as_const(upper).data(), std::as_const(lower).data(), head_dim(),
                                      out.data + p * out.strides[1], out.strides[0]);
    }
  }
  op::storage_report storage() const {
    op::storage_report report;
    add_storage(report, "bounds", dtype::f16, upper_.size() + lower_.size(), upper_.bytes() + lower_.bytes());
    const index_t open = tokens_ % page_ == 0 ? 0 : 2 * head_dim();
    add_storage(report, "bounds.open", dtype::f32, open, static_cast<std::size_t>(open) * 4);
    return report;
  }

 private:
  index_t page_, tokens_ = 0;
  real_list upper_, lower_;                     // [full pages, head_dim]
  std::vector<float> open_upper_, open_lower_;  // [head_dim]
};

/// Some tokens of several segments, which follow each other, as one segment (no paper): attention reads these
/// alone.
class picked_tokens final : public segment {
 public:
  /// @param tokens ascending, counted over all parts, each of which must hold the head that is read.
  picked_tokens(std::vector<const segment*> parts, std::vector<index_t> tokens)
      : parts_(std::move(parts)), tokens_(std::move(tokens)) {
    assert(!parts_.empty());
  }
  index_t heads() const override { return parts_.front()->heads(); }
  index_t tokens() const override { return static_cast<index_t>(tokens_.size()); }
  index_t head_dim() const override { return parts_.front()->head_dim(); }
  op::storage_report storage() const override { return {}; }  // of the parts, which others own
  void read(index_t head, index_t first, matrix_view<float> out) const override {
    for (index_t i = 0; i < out.rows();) {
      const index_t token = tokens_[static_cast<std::size_t>(first + i)];
      index_t begin = 0;  // of the part that holds it
      auto part = parts_.begin();
      while (token >= begin + (*part)->tokens()) begin += (*part++)->tokens();
      index_t run = 1;  // tokens of that part that follow each other
      while (i + run < out.rows() && tokens_[static_cast<std::size_t>(first + i + run)] == token + run &&
             token + run < begin + (*part)->tokens())
        ++run;
      (*part)->read(head, token - begin, out.rows(i, run));
      i += run;
    }
  }

 private:
  std::vector<const segment*> parts_;
  std::vector<index_t> tokens_;
};

}  // namespace tersor::kv
