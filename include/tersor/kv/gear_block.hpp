// tersor - a compressed block of GEAR: codes, exact entries and low-rank factors, with fused products
// SPDX-License-Identifier: MIT
#pragma once

// arXiv:2403.05527; official code opengear-project/GEAR

#include <bit>    // std::countr_zero
#include <tuple>  // std::tuple

#include <tersor/kernel/outlier_tile.hpp>
#include <tersor/kv/codec.hpp>
#include <tersor/kv/quantized_tokens.hpp>
#include <tersor/linalg/qr.hpp>

namespace tersor::kv {

/// Among what GEAR looks for the largest and the smallest entries. A vector is a key channel over the block's
/// tokens, or a value token over all heads.
enum class outlier_scope {
  vector,  ///< the vector: all have equally many
  block    ///< the block, by the distance from the vector's mean: most where values spread most
};
constexpr auto option_names(outlier_scope) {
  using row = std::pair<std::string_view, outlier_scope>;
  return std::array<row, 2>{{{"vector", outlier_scope::vector}, {"block", outlier_scope::block}}};
}

/// L = Q Pᵀ.
struct power_factors {
  matrix<float> q;  ///< [rows, rank]
  matrix<float> p;  ///< [cols, rank]
};
/// The low-rank fit of e [rows, cols] by power iteration from a start P [cols, rank]: `loops` times Q :=
/// orth(e orth(P)), P := eᵀ Q. Q Pᵀ is the projection of e on the columns of Q, so it never has more error
/// than 0. (The official program orthonormalises in its last round only, which is the same in exact
/// arithmetic but loses weak directions in float.) Cost 4 rows cols rank loops.
inline power_factors power_iteration(matrix_view<const float> e, matrix<float> p, int loops,
                                     const context& ctx = {}) {
  require(p.rows() == e.cols(), "power_iteration: rows of the start", p.rows(), e.cols());
  require(p.cols() <= std::min(e.rows(), e.cols()), "power_iteration: rank", p.cols(), "at most ",
          std::min(e.rows(), e.cols()));
  require(loops >= 1, "power_iteration: loops", loops, "at least 1");
  power_factors f{{}, std::move(p)};
  for (int i = 0; i < loops; ++i) {
    f.p = linalg::qr(f.p, ctx).q;
    f.q = linalg::qr(linalg::multiply(e, f.p, ctx), ctx).q;
    f.p = linalg::multiply(e.transposed(), f.q, ctx);
  }
  return f;
}

/// What GEAR does to a block of keys or values.
struct gear_options {
  int bits = 2;
  group_axis axis = group_axis::tokens;  ///< of the backbone's groups
  index_t group_size = 64;    ///< 0: along tokens, the block; along channels, the token of all heads
  side vectors = side::keys;  ///< outliers are those of a channel of a head (keys) or of a token (values)
  double outliers = 0.02;     ///< share that is exact, half at each end
  kv::outlier_scope outlier_scope = kv::outlier_scope::vector;
  index_t rank = 4;
  int loops = 3;
  dtype scale_type = dtype::f16;  ///< of scales and minimums
  dtype value_type = dtype::f16;  ///< of outliers and factors
};

/// One compressed block: backbone, outliers and factors, with fused products.
class gear_block final : public segment {
 public:
  /// @param rows [heads, tokens, head_dim]. @param start P of each head [head_dim, rank], from which the
  /// power iteration begins; its rank is that of the block.
  gear_block(heads_view<const float> rows, const gear_options& o, std::vector<matrix<float>> start,
             const context& ctx = {})
      : backbone_(rows.extents[0], rows.extents[2], o.bits, o.axis, group_size_of(rows, o), o.scale_type),
        vectors_(o.vectors),
        jagged_(is_jagged(backbone_, o.vectors)),
        values_(o.value_type) {
    const index_t heads = rows.extents[0], n = rows.extents[1], dim = rows.extents[2];
    require(n > 0, "gear: tokens of a block", n, "at least 1");
    std::vector<float> filtered(static_cast<std::size_t>(heads * n * dim));
    for (index_t h = 0; h < heads; ++h)
      for (index_t t = 0; t < n; ++t)
        for (index_t c = 0; c < dim; ++c)
          filtered[static_cast<std::size_t>((h * n + t) * dim + c)] = rows(h, t, c);
    take_outliers(filtered, o, heads, n, dim);
    backbone_.append({filtered.data(), {heads, n, dim}}, true, ctx);
    clear_outliers(heads, n);
    if (start.empty() || start.front().cols() == 0) return;
    require(static_cast<index_t>(start.size()) == heads, "gear: starts of the power iteration", start.size(),
            heads);
    rank_ = start.front().cols();
    for (index_t h = 0; h < heads; ++h) {
      matrix<float> e(n, dim);
      read_without_factors(h, 0, e.view());
      for (index_t t = 0; t < n; ++t)
        for (index_t c = 0; c < dim; ++c) e(t, c) = rows(h, t, c) - e(t, c);
      const auto f = power_iteration(std::as_const(e).view(), std::move(start[static_cast<std::size_t>(h)]),
                                     o.loops, ctx);
      q_.emplace_back(o.value_type).append(to_matrix<float>(f.q.view().transposed()).values());
      p_.emplace_back(o.value_type).append(to_matrix<float>(f.p.view().transposed()).values());
    }
  }

  index_t heads() const override { return backbone_.heads(); }
  index_t tokens() const override { return backbone_.tokens(); }
  index_t head_dim() const override { return backbone_.head_dim(); }
  index_t rank() const { return rank_; }
  /// Exact entries of each vector, or of the block where that is their scope.
  index_t outliers_of_vector() const { return outliers_; }
  const quantized_tokens& backbone() const { return backbone_; }

  void read(index_t head, index_t first, matrix_view<float> out) const override {
    read_without_factors(head, first, out);
    if (rank_ == 0) return;
    const auto q = transposed_factor(q_, head, first, out.rows(), tokens());
    const auto p = transposed_factor(p_, head, 0, head_dim(), head_dim());
    for (index_t t = 0; t < out.rows(); ++t)
      for (index_t k = 0; k < rank_; ++k)
        kernel::run<add_multiple>(kernel::best_target(), q.row(k)[t], p.row(k), head_dim(), out.row(t).data);
  }
  /// Backbone and outliers alone.
  void read_without_factors(index_t head, index_t first, matrix_view<float> out) const {
    backbone_.read(head, first, out);
    if (outliers_ == 0) return;
    const index_t last = first + out.rows();
    std::vector<float> value;
    for (index_t tile = first / tile_tokens; tile * tile_tokens < last; ++tile) {
      const index_t row = tile * tile_tokens, at = head * tiles() + tile;
      read_values(at, value);
      for_each_outlier(at, [&](index_t t, index_t c, index_t i) {
        if (row + t >= first && row + t < last) out(row + t - first, c) = value[static_cast<std::size_t>(i)];
      });
    }
  }
  using segment::accumulate;
  using segment::scores;
  /// q D^ᵀ + (q P) Qᵀ: the low-rank matrix is never formed.
  void scores(index_t head, index_t first, matrix_view<const float> q,
              matrix_view<float> out) const override {
    const index_t count = out.cols();
    if (multiplies_codes(head, group_axis::tokens)) {
      backbone_.scores(head, first, q, out);
      correct_scores(head, first, q, out);
    } else {
      for_each_plain_tile(head, first, count, [&](index_t at, const matrix<float>& tile, index_t n) {
        tile_scores(tile.data(), n, q, out.data + at, out.strides[0]);
      });
    }
    if (rank_ == 0) return;
    const auto right = transposed_factor(p_, head, 0, head_dim(), head_dim());
    const auto left = transposed_factor(q_, head, first, count, tokens());
    matrix<float> z(q.rows(), rank_);
    tile_scores(right.data(), rank_, q, z.data(), rank_);
    tile_sums(left.data(), std::as_const(z).view(), out);
  }
  /// out += a D^ + (a Q) Pᵀ.
  void accumulate(index_t head, index_t first, matrix_view<const float> a,
                  matrix_view<float> out) const override {
    const index_t count = a.cols();
    if (multiplies_codes(head, group_axis::channels)) {
      backbone_.accumulate(head, first, a, out);
      correct_sums(head, first, a, out);
    } else {
      for_each_plain_tile(head, first, count, [&](index_t at, const matrix<float>& tile, index_t n) {
        tile_sums(tile.data(), a.block(0, at, a.rows(), n), out);
      });
    }
    if (rank_ == 0) return;
    const auto right = transposed_factor(p_, head, 0, head_dim(), head_dim());
    const auto left = transposed_factor(q_, head, first, count, tokens());
    matrix<float> z(a.rows(), rank_);
    tile_scores(left.data(), rank_, a, z.data(), rank_);
    tile_sums(right.data(), std::as_const(z).view(), out);
  }
  op::storage_report storage() const override {
    auto report = backbone_.storage();
    const std::size_t width = index_bytes_;
    const index_t count = values_.size();
    add_storage(report, "outlier_index", width == 2 ? dtype::u16 : dtype::u32, count,
                width * static_cast<std::size_t>(count));
    add_storage(report, "outlier_value", values_.type(), values_.size(), values_.bytes());
    for (const auto* factors : {&q_, &p_})
      for (const auto& f : *factors)
        add_storage(report, factors == &q_ ? "q" : "p", f.type(), f.size(), f.bytes());
    return report;
  }

 private:
  static index_t group_size_of(heads_view<const float> rows, const gear_options& o) {
    if (o.group_size > 0) return o.group_size;
    return std::max<index_t>(
        o.axis == group_axis::tokens ? rows.extents[1] : rows.extents[0] * rows.extents[2], 1);
  }
  struct add_multiple {
    TERSOR_ALWAYS_INLINE static void run(float factor, const float* x, index_t n, float* y) {
      kernel::detail::for_each(n, [=](index_t i) { y[i] += factor * x[i]; });
    }
  };
  /// Can outliers lie in rounds, with a byte for each one's place? Keys: rounds of a tile's tokens, the place
  /// is a channel. Values: rounds of channels, the place is a token and a group.
  static bool is_jagged(const quantized_tokens& backbone, side vectors) {
    const auto groups = static_cast<std::size_t>(backbone.grid_width());
    if (backbone.head_dim() > kernel::outlier_tile::most_sums) return false;
    return vectors == side::keys ? backbone.axis() == group_axis::tokens
                                 : backbone.axis() == group_axis::channels && std::has_single_bit(groups) &&
                                       groups <= kernel::outlier_tile::most_places / tile_tokens;
  }
  /// Can the backbone's codes be multiplied with as they are, and put right where outliers are? That wants a
  /// tile inside one group of tokens.
  bool multiplies_codes(index_t head, group_axis axis) const {
    return backbone_.axis() == axis && backbone_.multiplies_codes(head) && (jagged_ || outliers_ == 0) &&
           (axis == group_axis::channels || backbone_.group_size() % tile_tokens == 0 ||
            backbone_.group_size() >= tokens());
  }
  /// A group's index in a place has that many bits.
  int group_bits() const {
    return vectors_ == side::keys ? 0 : std::countr_zero(static_cast<std::size_t>(backbone_.grid_width()));
  }
  /// What the outliers of a tile add to: tokens or channels.
  index_t sums_of_tile() const { return vectors_ == side::keys ? tile_tokens : head_dim(); }
  /// The exact values of tile `at`, and room behind them that kernels may read.
  void read_values(index_t at, std::vector<float>& value) const {
    const index_t begin = begins_[static_cast<std::size_t>(at)],
                  n = begins_[static_cast<std::size_t>(at) + 1] - begin;
    value.resize(static_cast<std::size_t>(n + kernel::outlier_tile::padding));
    values_.read(begin, std::span(value).first(static_cast<std::size_t>(n)));
  }
  /// f(token of the tile, channel, place among the tile's values) for the outliers of tile `at`.
  template <class F>
  void for_each_outlier(index_t at, const F& f) const {
    const index_t begin = begins_[static_cast<std::size_t>(at)];
    if (!jagged_) {
      for (index_t i = begin; i < begins_[static_cast<std::size_t>(at) + 1]; ++i) {
        const auto place = static_cast<index_t>(wide_[static_cast<std::size_t>(i)]);
        f(place / head_dim(), place % head_dim(), i - begin);
      }
      return;
    }
    const index_t sums = sums_of_tile();
    std::array<index_t, kernel::outlier_tile::most_sums> sum{};  // by their order
    for (index_t s = 0; s < sums; ++s) sum[order_[static_cast<std::size_t>(at * sums + s)]] = s;
    index_t i = begin;
    for (index_t r = round_begins_[static_cast<std::size_t>(at)];
         r < round_begins_[static_cast<std::size_t>(at) + 1]; ++r)
      for (index_t k = 0; k < round_[static_cast<std::size_t>(r)]; ++k, ++i) {
        const index_t place = place_[static_cast<std::size_t>(i)], s = sum[static_cast<std::size_t>(k)];
        if (vectors_ == side::keys)
          f(s, place, i - begin);
        else
          f(place >> group_bits(), s, i - begin);
      }
  }
  /// The same for a kernel; `value` receives the values.
  kernel::outlier_tile outliers_of_tile(index_t at, std::vector<float>& value) const {
    read_values(at, value);
    const auto k = static_cast<std::size_t>(at);
    kernel::outlier_tile x;
    x.place = place_.data() + begins_[k];
    x.value = value.data();
    x.round = round_.data() + round_begins_[k];
    x.rounds = round_begins_[k + 1] - round_begins_[k];
    x.sums = sums_of_tile();
    x.order = order_.data() + at * x.sums;
    return x;
  }
  /// out[t] += Σ q[c] (x - low[c]) of tokens [first, first + count).
  void correct_scores(index_t head, index_t first, matrix_view<const float> q, matrix_view<float> out) const {
    if (outliers_ == 0) return;
    const index_t last = first + out.cols();
    std::vector<float> low(static_cast<std::size_t>(head_dim())), value;
    for (index_t tile = first / tile_tokens; tile * tile_tokens < last; ++tile) {
      const index_t row = tile * tile_tokens, begin = std::max(first, row);
      backbone_.read_minimums(head, row, low);
      kernel::add_outliers(kernel::best_target(), outliers_of_tile(head * tiles() + tile, value), low.data(),
                           head_dim(), 0, {q.data, q.strides[0], q.rows()}, begin - row,
                           std::min(last - row, tile_tokens), out.data + (begin - first), out.strides[0]);
    }
  }
  /// out[c] += Σ a[t] (x - low[t, group of c]) of tokens [first, first + count).
  void correct_sums(index_t head, index_t first, matrix_view<const float> a, matrix_view<float> out) const {
    if (outliers_ == 0) return;
    const index_t last = first + a.cols(), groups = backbone_.grid_width(), dim = head_dim();
    std::vector<float> low, value;
    matrix<float> part;
    for (index_t tile = first / tile_tokens; tile * tile_tokens < last; ++tile) {
      const index_t row = tile * tile_tokens, n = std::min(tile_tokens, tokens() - row);
      low.resize(static_cast<std::size_t>(n * groups));
      backbone_.read_minimums(head, row, low);
      kernel::row_vectors weights{a.data + (row - first), a.strides[0], a.rows()};
      if (row < first || row + n > last) {  // the other tokens weigh nothing
        part = matrix<float>(a.rows(), n);
        for (index_t t = std::max(first, row); t < std::min(last, row + n); ++t)
          for (index_t j = 0; j < a.rows(); ++j) part(j, t - row) = a(j, t - first);
        weights = {part.data(), n, a.rows()};
      }
      kernel::add_outliers(kernel::best_target(), outliers_of_tile(head * tiles() + tile, value), low.data(),
                           n * groups, group_bits(), weights, 0, dim, out.data, out.strides[0]);
    }
  }
  template <class F>
  void for_each_plain_tile(index_t head, index_t first, index_t tokens, const F& f) const {
    if (tokens == 0) return;
    matrix<float> tile(std::min(tile_tokens, tokens), head_dim());
    for (index_t at = 0; at < tokens; at += tile_tokens) {
      const index_t n = std::min(tile_tokens, tokens - at);
      read_without_factors(head, first + at, tile.view().rows(0, n));
      f(at, tile, n);
    }
  }
  /// Floats that are not initialised, [rank, count].
  struct factor_rows {
    index_t count;
    std::unique_ptr<float[]> floats;
    const float* data() const { return floats.get(); }
    const float* row(index_t k) const { return floats.get() + k * count; }
  };
  /// Rows [first, first + count) of a head's factor of `rows` rows, as columns [rank, count].
  factor_rows transposed_factor(const std::vector<real_list>& factors, index_t head, index_t first,
                                index_t count, index_t rows) const {
    factor_rows f{count, std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(rank_ * count))};
    for (index_t k = 0; k < rank_; ++k)
      factors[static_cast<std::size_t>(head)].read(
          k * rows + first, {f.floats.get() + k * count, static_cast<std::size_t>(count)});
    return f;
  }
  /// Stores the largest and the smallest entries of every vector, or of all, and puts the mean of their
  /// vector in their place.
  void take_outliers(std::vector<float>& x, const gear_options& o, index_t heads, index_t n, index_t dim) {
    const bool keys = vectors_ == side::keys, all = o.outlier_scope == outlier_scope::block;
    const index_t length = keys ? n : heads * dim, vectors = keys ? heads * dim : n;
    const index_t candidates = all ? vectors * length : length;
    const auto each = static_cast<index_t>(o.outliers * static_cast<double>(candidates) / 2);
    outliers_ = o.outliers >= 1 ? candidates : std::min(2 * each, candidates);
    if (outliers_ == 0) return;
    struct entry {
      std::size_t place;
      float distance, mean;  // from the mean of the vector
    };
    std::vector<entry> entries;
    std::vector<std::pair<std::size_t, float>> taken;  // place and value
    const auto take = [&] {
      std::ranges::sort(entries, {}, [](const entry& e) { return std::pair(e.distance, e.place); });
      const auto count = static_cast<index_t>(entries.size());
      for (index_t i = 0; i < count; ++i) {
        if (outliers_ < count && i >= each && i < count - each) continue;
        const auto& e = entries[static_cast<std::size_t>(i)];
        taken.emplace_back(e.place, x[e.place]);
        x[e.place] = e.mean;
      }
      entries.clear();
    };
    for (index_t v = 0; v < vectors; ++v) {
      const auto place = [&](index_t i) {
        const index_t h = keys ? v / dim : i / dim, t = keys ? i : v, c = keys ? v % dim : i % dim;
        return static_cast<std::size_t>((h * n + t) * dim + c);
      };
      double sum = 0;
      for (index_t i = 0; i < length; ++i) sum += static_cast<double>(x[place(i)]);
      const auto mean = static_cast<float>(sum / static_cast<double>(length));
      // within a vector the order of the entries themselves, which the distances of close ones would blur
      for (index_t i = 0; i < length; ++i)
        entries.push_back({place(i), all ? x[place(i)] - mean : x[place(i)], mean});
      if (!all) take();
    }
    if (all) take();
    store_outliers(std::move(taken), heads, n, dim, candidates);
  }
  /// Sorts outliers by head and tile of tokens, and those of a tile into the rounds of kernel::outlier_tile.
  void store_outliers(std::vector<std::pair<std::size_t, float>> taken, index_t heads, index_t n, index_t dim,
                      index_t length) {
    struct entry {
      index_t round, rank, place;
      float value;
    };
    std::ranges::sort(taken, {}, &std::pair<std::size_t, float>::first);
    index_bytes_ = length <= 65536 ? 2 : 4;
    const index_t sums = sums_of_tile();
    std::vector<index_t> count, by_count(static_cast<std::size_t>(sums));
    std::vector<entry> entries;
    auto next = taken.begin();
    for (index_t h = 0; h < heads; ++h)
      for (index_t row = 0; row < n; row += tile_tokens) {
        begins_.push_back(values_.size());
        round_begins_.push_back(static_cast<index_t>(round_.size()));
        const auto base = static_cast<std::size_t>((h * n + row) * dim);
        const auto size = static_cast<std::size_t>(std::min(tile_tokens, n - row) * dim);
        entries.clear();
        count.assign(static_cast<std::size_t>(sums), 0);
        for (; next != taken.end() && next->first - base < size; ++next) {
          const auto at = static_cast<index_t>(next->first - base);
          const index_t t = at / dim, c = at % dim;
          if (!jagged_) {
            wide_.push_back(static_cast<std::uint32_t>(at));
            values_.append(next->second);
            continue;
          }
          const index_t sum = vectors_ == side::keys ? t : c;
          const index_t place = vectors_ == side::keys ? c : (t << group_bits()) + backbone_.grid_of(h, c);
          entries.push_back({count[static_cast<std::size_t>(sum)]++, sum, place, next->second});
        }
        if (!jagged_) continue;
        std::iota(by_count.begin(), by_count.end(), index_t{0});
        std::ranges::stable_sort(by_count, std::greater{},
                                 [&](index_t s) { return count[static_cast<std::size_t>(s)]; });
        const std::size_t order = order_.size();
        order_.resize(order + static_cast<std::size_t>(sums));
        for (std::size_t k = 0; k < by_count.size(); ++k)
          order_[order + static_cast<std::size_t>(by_count[k])] = static_cast<std::uint8_t>(k);
        for (auto& e : entries) e.rank = order_[order + static_cast<std::size_t>(e.rank)];
        std::ranges::sort(entries, {}, [](const entry& e) { return std::pair(e.round, e.rank); });
        for (const auto& e : entries) {
          if (e.rank == 0) round_.push_back(0);  // the fullest sum has an entry in every round
          ++round_.back();
          place_.push_back(static_cast<std::uint8_t>(e.place));
          values_.append(e.value);
        }
      }
    begins_.push_back(values_.size());
    round_begins_.push_back(static_cast<index_t>(round_.size()));
    place_.resize(place_.size() + kernel::outlier_tile::padding);
    order_.resize(order_.size() + kernel::outlier_tile::padding);
  }
  /// The backbone's codes in the places of outliers are 0, whatever the mean's would be: nothing reads them,
  /// and products know what to take away.
  void clear_outliers(index_t heads, index_t n) {
    if (outliers_ == 0) return;
    for (index_t h = 0; h < heads; ++h)
      for (index_t tile = 0; tile < tiles_of(n); ++tile)
        for_each_outlier(h * tiles_of(n) + tile, [&](index_t t, index_t c, index_t) {
          backbone_.clear_code(h, tile * tile_tokens + t, c);
        });
  }
  static index_t tiles_of(index_t tokens) { return (tokens + tile_tokens - 1) / tile_tokens; }
  index_t tiles() const { return tiles_of(tokens()); }

  quantized_tokens backbone_;
  side vectors_;
  index_t outliers_ = 0, rank_ = 0;
  // Exact values of each head and tile of tokens, with their places in the tile; what is counted are the
  // indices inside vectors of the stored form, which say the same.
  bool jagged_;
  std::size_t index_bytes_ = 2;
  std::vector<index_t> begins_, round_begins_;  // [heads * tiles + 1]
  std::vector<std::uint8_t> place_;             // in rounds
  std::vector<std::uint16_t> round_;            // of a tile, how many entries each has
  std::vector<std::uint8_t> order_;             // [heads * tiles, sums_of_tile]
  std::vector<std::uint32_t> wide_;             // otherwise: token * head_dim + channel
  real_list values_;
  std::vector<real_list> q_, p_;  // of each head, [rank, tokens] and [rank, head_dim]
};

}  // namespace tersor::kv
