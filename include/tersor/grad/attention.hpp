// tersor - rotary positions on the tape, and attention with grouped queries as one node
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/grad/normalization.hpp>

namespace tersor::grad {

/// How rows are tokens of sequences and columns are heads.
struct attention_shape {
  index_t heads = 1;
  index_t kv_heads = 1;  ///< a divisor of heads: query head h reads key-value head h / (heads / kv_heads)
  index_t sequence_length =
      0;               ///< rows are sequences of this many tokens, one after the other; 0: one sequence
  bool causal = true;  ///< a token sees itself and those before it; false: all of its sequence
};

namespace detail {

/// Rows of queries whose probabilities are held at a time.
inline constexpr index_t query_tile = 64;

inline index_t length_of_sequence(index_t rows, index_t length) { return length == 0 ? rows : length; }

/// The probabilities p [rows, keys] of queries q [rows, d], the first of which sees `seen` keys of k [keys,
/// d].
template <class T>
void attention_probabilities(matrix_view<const T> q, matrix_view<const T> k, index_t seen, bool causal,
                             real_of<T> scale, matrix_view<T> p, const context& ctx) {
  product<T>(scale, q, k.transposed(), 0, p, ctx);
  for (index_t t = 0; t < p.rows(); ++t) {
    T* row = &p(t, 0);
    const index_t n = causal ? std::min(seen + t, p.cols()) : p.cols();
    softmax_row(row, n);
    std::fill(row + n, row + p.cols(), T(0));
  }
}

/// Turns x [tokens, heads * d] by the angles of its positions, or back.
template <class T>
void rotate(const matrix<T>& x, matrix<T>& y, index_t heads, index_t length, const matrix<double>& cosines,
            const matrix<double>& sines, double direction, const context& ctx) {
  using real = real_of<T>;
  const index_t half = cosines.cols();
  parallel_chunks(x.rows(), row_grain(x.cols()), ctx, [&](index_t first, index_t last) {
    std::vector<real> c(static_cast<std::size_t>(half)), s(static_cast<std::size_t>(half));
    for (index_t t = first; t < last; ++t) {
      for (index_t i = 0; i < half; ++i) {
        c[static_cast<std::size_t>(i)] = static_cast<real>(cosines(t % length, i));
        s[static_cast<std::size_t>(i)] = static_cast<real>(direction * sines(t % length, i));
      }
      for (index_t h = 0; h < heads; ++h) {
        const T* in = x.row(t).data() + h * 2 * half;
        T* out = y.row(t).data() + h * 2 * half;
        for (index_t i = 0; i < half; ++i) {
          const T u = in[i], v = in[i + half];
          const T ci(c[static_cast<std::size_t>(i)]), si(s[static_cast<std::size_t>(i)]);
          out[i] = u * ci - v * si;
          out[i + half] = v * ci + u * si;
        }
      }
    }
  });
}

}  // namespace detail

/// The angles of rotary positions, computed once and shared by all layers.
class rotary_table {
 public:
  /// @param frequencies [head_dim / 2] radians per position; @param positions of the longest sequence.
  rotary_table(std::span<const double> frequencies, index_t positions) {
    const auto half = static_cast<index_t>(frequencies.size());
    auto angles =
        std::make_shared<tables>(tables{matrix<double>(positions, half), matrix<double>(positions, half)});
    for (index_t t = 0; t < positions; ++t)
      for (index_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(t) * frequencies[static_cast<std::size_t>(i)];
        angles->cosine(t, i) = std::cos(angle);
        angles->sine(t, i) = std::sin(angle);
      }
    tables_ = std::move(angles);
  }
  index_t positions() const { return tables_->cosine.rows(); }
  index_t head_dim() const { return 2 * tables_->cosine.cols(); }
  const matrix<double>& cosines() const { return tables_->cosine; }
  const matrix<double>& sines() const { return tables_->sine; }

 private:
  struct tables {
    matrix<double> cosine, sine;
  };
  std::shared_ptr<const tables> tables_;
};

/// Rotary position embedding in the "rotate half" layout: channel i of a head is paired with channel i +
/// head_dim / 2. x [tokens, heads * head_dim], sequences one after the other; position 0 is the first of each
/// sequence. Keeps nothing: the backward pass turns the gradient back.
template <scalar T>
variable<T> rotary(const variable<T>& x, const rotary_table& table, index_t sequence_length = 0) {
  operation<T> op("rotary", {x});
  const index_t length = detail::length_of_sequence(x.rows(), sequence_length);
  op.check(table.head_dim() > 0 && x.cols() % table.head_dim() == 0, "columns that ", table.head_dim(),
           " channels of a head divide");
  op.check(length <= table.positions() && (length == 0 || x.rows() % length == 0), "rows that sequences of ",
           length, " divide, and no more than ", table.positions(), " positions");
  const index_t heads = x.cols() / table.head_dim();
  auto y = op.make(x.rows(), x.cols());
  detail::rotate(x.value(), y.get(), heads, length, table.cosines(), table.sines(), 1.0, op.ctx());
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [table, heads, length](backward_pass<T>& pass) {
    auto g = pass.take_gradient();
    detail::rotate(g.get(), g.get(), heads, length, table.cosines(), table.sines(), -1.0, pass.ctx());
    pass.add(0, std::move(g));
  });
}

/// softmax(q kᵀ / sqrt(d)) v for each sequence and head as one node. q [tokens, heads * d]; k, v [tokens,
/// kv_heads * d]; result [tokens, heads * d]. Keeps q, k and v; the backward pass computes the probabilities
/// again, 64 queries of a head at a time, so memory is O(tokens * columns). Cost 4 tokens * length * heads *
/// d operations without the causal mask, which saves half; backward 2.5 times that. Heads of different
/// sequences run in parallel, in the backward pass those of different keys.
template <scalar T>
variable<T> attention(const variable<T>& q, const variable<T>& k, const variable<T>& v,
                      const attention_shape& shape) {
  operation<T> op("attention", {q, k, v});
  require(shape.heads > 0 && shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "attention: kv_heads",
          shape.kv_heads, "a divisor of heads, ", shape.heads);
  const index_t d = q.cols() / shape.heads,
                length = detail::length_of_sequence(q.rows(), shape.sequence_length);
  op.check(d > 0 && q.cols() == shape.heads * d && k.cols() == shape.kv_heads * d && v.cols() == k.cols() &&
               k.rows() == q.rows() && v.rows() == q.rows() &&
               (length == 0 || (length > 0 && q.rows() % length == 0)),
           "q [tokens, ", shape.heads, " d], k and v [tokens, ", shape.kv_heads, " d], and sequences of ",
           length, " tokens");
  const auto scale = static_cast<real_of<T>>(1.0 / std::sqrt(static_cast<double>(d)));
  const index_t heads = shape.heads, group = heads / shape.kv_heads;
  const index_t sequences = length == 0 ? 0 : q.rows() / length;
  const index_t tiles = (length + detail::query_tile - 1) / detail::query_tile;
  auto y = op.make(q.rows(), q.cols());
  const auto vq = q.value().view(), vk = k.value().view(), vv = v.value().view();
  parallel_for(sequences * heads * tiles, op.ctx(), [&](index_t task) {
    const index_t t0 = task % tiles * detail::query_tile, h = task / tiles % heads,
                  first = task / tiles / heads * length;
    const index_t rows = std::min(detail::query_tile, length - t0), keys = shape.causal ? t0 + rows : length;
    matrix<T> p(rows, keys);
    const index_t kv = h / group * d;
    detail::attention_probabilities<T>(vq.block(first + t0, h * d, rows, d), vk.block(first, kv, keys, d),
                                       t0 + 1, shape.causal, scale, p.view(), op.ctx());
    detail::product<T>(1, std::as_const(p).view(), vv.block(first, kv, keys, d), 0,
                       y.view().block(first + t0, h * d, rows, d), op.ctx());
  });
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [sq = op.save(0, "q"), sk = op.save(1, "k"), sv = op.save(2, "v"),
                                  causal = shape.causal, kv_heads = shape.kv_heads, group, d, length,
                                  sequences, tiles, scale](backward_pass<T>& pass) {
    const auto held_q = sq.load(), held_k = sk.load(), held_v = sv.load();
    const auto q = held_q->view(), k = held_k->view(), v = held_v->view();
    const auto g = pass.gradient().view();
    auto gq = pass.make(q.rows(), q.cols()), gk = pass.make(k.rows(), k.cols()),
         gv = pass.make(v.rows(), v.cols());
    parallel_for(sequences * kv_heads, pass.ctx(), [&](index_t task) {
      const index_t kv = task % kv_heads, first = task / kv_heads * length;
      const auto columns = [&](auto x, index_t row, index_t rows, index_t head) {
        return x.block(row, head * d, rows, d);
      };
      std::vector<T> storage(static_cast<std::size_t>(2 * std::min(detail::query_tile, length) * length));
      // From the last tile to the first: with the causal mask it reaches all keys, so that it can overwrite.
      bool fresh = true;
      for (index_t tile = tiles; tile-- > 0;) {
        const index_t t0 = tile * detail::query_tile, rows = std::min(detail::query_tile, length - t0);
        const index_t keys = causal ? t0 + rows : length;
        const matrix_view<T> p(storage.data(), {rows, keys}), dp(storage.data() + rows * keys, {rows, keys});
        const auto kk = columns(k, first, keys, kv), vv = columns(v, first, keys, kv);
        for (index_t h = kv * group; h < (kv + 1) * group; ++h) {
          const auto qh = columns(q, first + t0, rows, h), gh = columns(g, first + t0, rows, h);
          detail::attention_probabilities<T>(qh, kk, t0 + 1, causal, scale, p, pass.ctx());
          const real_of<T> beta = fresh ? 0 : 1;
          detail::product<T>(1, matrix_view<const T>(p).transposed(), gh, beta,
                             columns(gv.view(), first, keys, kv), pass.ctx());
          detail::product<T>(1, gh, vv.transposed(), 0, dp, pass.ctx());
          for (index_t t = 0; t < rows; ++t) {
            T* out = &dp(t, 0);
            const T *pt = &p(t, 0), *dt = out;
            const T along = static_cast<T>(detail::sum_row<T>(
                keys, [](auto a, auto b) { return a * b; }, pt, dt));
            detail::map_row(
                keys, out, [along](T a, T b) { return a * (b - along); }, pt, dt);
          }
          const matrix_view<const T> ds(dp);
          detail::product<T>(scale, ds, kk, 0, columns(gq.view(), first + t0, rows, h), pass.ctx());
          detail::product<T>(scale, ds.transposed(), qh, beta, columns(gk.view(), first, keys, kv),
                             pass.ctx());
          fresh = false;
        }
      }
    });
    pass.add(0, std::move(gq));
    pass.add(1, std::move(gk));
    pass.add(2, std::move(gv));
  });
}

}  // namespace tersor::grad
