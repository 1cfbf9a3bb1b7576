// tersor - selectors: which entries a score removes, exactly as many as were asked for
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::nth_element
#include <limits>     // std::numeric_limits
#include <numeric>    // std::iota
#include <tuple>      // std::tuple_cat

#include <tersor/core/options.hpp>
#include <tersor/solve/layer.hpp>

namespace tersor::solve {

/// n entries are KEPT of every m consecutive inputs of a row; written "2:4". m = 0, written "none":
/// unstructured. (The programs of SparseGPT and Wanda write the number removed; both agree for 2:4.)
struct nm_pattern {
  int n = 0, m = 0;
  bool empty() const { return m == 0; }
  friend bool operator==(const nm_pattern&, const nm_pattern&) = default;
};

/// What the entries that are removed are compared with.
enum class selection_scope {
  per_tensor,  ///< all of the matrix
  per_row      ///< their own output row
};
constexpr auto option_names(selection_scope) {
  using row = std::pair<std::string_view, selection_scope>;
  return std::array<row, 2>{
      {{"per_tensor", selection_scope::per_tensor}, {"per_row", selection_scope::per_row}}};
}

/// Which of equal scores go.
enum class tie_rule {
  remove_lowest,  ///< those of the lowest index: what "remove the k smallest" means everywhere in pruning
  keep_lowest     ///< those of the highest: what "keep the n largest" means in the selection of N:M masks
};

/// How many are removed, and among which.
struct selection_rule {
  double sparsity = 0.5;  ///< share removed, in [0, 1); unused with a pattern
  nm_pattern pattern{};   ///< if not empty: in every group of m inputs
  selection_scope scope = selection_scope::per_tensor;

  /// Errors begin with `id`, the technique's name.
  void validate(std::string_view id) const {
    require(sparsity >= 0 && sparsity < 1, concat(id, ": sparsity"), sparsity, "at least 0 and below 1");
    require(pattern.empty() || (pattern.n >= 1 && pattern.n <= pattern.m && pattern.m <= 256),
            concat(id, ": pattern"), concat(pattern.n, ":", pattern.m), "n:m with 1 <= n <= m <= 256");
  }
};

/// The rows of a pruner's option list that say how many weights go: T's fields `sparsity`, `pattern` and,
/// where it has one, `scope`.
template <class T>
constexpr auto pattern_option() {
  return option{"pattern", &T::pattern, {.help = "n kept of every m inputs", .symbol = "n:m"}};
}
template <class T>
constexpr auto selection_options(std::string_view sparsity_help, std::string_view symbol = "s") {
  const auto counts = std::tuple{
      option{"sparsity", &T::sparsity, {.help = sparsity_help, .symbol = symbol, .min = 0, .max = 1}},
      pattern_option<T>()};
  if constexpr (requires { &T::scope; })
    return std::tuple_cat(
        counts,
        std::tuple{option{"scope", &T::scope, {.help = "weights that are compared with each other"}}});
  else
    return counts;
}
/// Error unless all options of the pruner are inside their ranges and its counts can be met.
template <class T>
void validate_selection(const T& pruner) {
  validate_options(pruner, T::info.id);
  selection_rule{pruner.sparsity, pruner.pattern}.validate(T::info.id);
}

/// Error that names the first score that is NaN; infinite scores compare like others.
inline void require_numbers(matrix_view<const float> score) {
  for (index_t r = 0; r < score.rows(); ++r)
    for (index_t j = 0; j < score.cols(); ++j)
      if (std::isnan(score(r, j))) [[unlikely]]
        fail(concat("score[", r, ", ", j, "]"), score(r, j), "a number");
}

/// floor(sparsity * entries).
inline index_t removed_count(double sparsity, index_t entries) {
  return static_cast<index_t>(sparsity * static_cast<double>(entries));
}

/// Clears `kept` at the k smallest of `score`, of equal ones at the lowest index first; other entries of
/// `kept` stay as they are. Error on NaN. Cost O(size), memory one copy of the scores.
inline void remove_smallest(std::span<const float> score, index_t k, std::span<std::uint8_t> kept) {
  require(kept.size() == score.size(), "remove_smallest: size of kept", kept.size(), score.size());
  require(k >= 0 && k <= static_cast<index_t>(score.size()), "remove_smallest: k", k, "0 .. ", score.size());
  for (std::size_t i = 0; i < score.size(); ++i)
    require(!std::isnan(score[i]), concat("score[", i, "]"), score[i], "a number");
  if (k == 0) return;
  std::vector<float> sorted(score.begin(), score.end());
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end());
  const float threshold = sorted[static_cast<std::size_t>(k - 1)];
  index_t equal = k;  // how many of those that equal the threshold go
  for (const float s : score) equal -= s < threshold;
  for (std::size_t i = 0; i < score.size(); ++i)
    if (score[i] < threshold || (score[i] == threshold && equal-- > 0)) kept[i] = 0;
}

/// kept[i] = 1 at the n largest scores of one group, else 0; all of a group of n or fewer. Scores must not be
/// NaN.
inline void keep_largest(std::span<const float> score, int n, std::span<std::uint8_t> kept,
                         tie_rule ties = tie_rule::remove_lowest) {
  std::fill(kept.begin(), kept.end(), std::uint8_t{0});
  for (int k = 0; k < n; ++k) {
    std::size_t best = score.size();
    for (std::size_t j = 0; j < score.size(); ++j) {
      if (kept[j] != 0) continue;
      if (best == score.size() || score[j] > score[best] ||
          (score[j] == score[best] && ties == tie_rule::remove_lowest))
        best = j;
    }
    if (best == score.size()) return;
    kept[best] = 1;
  }
}

/// Removes floor(sparsity * N) of the N entries of score [out, in] or of each of its rows. Error on NaN.
/// @return [out, in], 1 = kept.
inline matrix<std::uint8_t> select_smallest(const matrix<float>& score, double sparsity,
                                            selection_scope scope, const context& ctx = {}) {
  require_numbers(score);
  matrix<std::uint8_t> kept(score.rows(), score.cols(), 1);
  if (scope == selection_scope::per_tensor) {
    remove_smallest(score.values(), removed_count(sparsity, score.size()), kept.values());
  } else {
    const index_t k = removed_count(sparsity, score.cols());
    parallel_chunks(score.rows(), 16, ctx, [&](index_t r0, index_t r1) {
      for (index_t r = r0; r < r1; ++r) remove_smallest(score.row(r), k, kept.row(r));
    });
  }
  return kept;
}

/// Keeps n of every m consecutive columns; a last group of fewer than m columns keeps min(n, its width), as
/// if it were filled up with scores of zero. Error on NaN.
inline matrix<std::uint8_t> select_nm(const matrix<float>& score, nm_pattern pattern, const context& ctx = {},
                                      tie_rule ties = tie_rule::remove_lowest) {
  selection_rule{.pattern = pattern}.validate("select_nm");
  require(!pattern.empty(), "select_nm: pattern", "none", "n:m");
  require_numbers(score);
  matrix<std::uint8_t> kept(score.rows(), score.cols());
  parallel_chunks(score.rows(), 16, ctx, [&](index_t r0, index_t r1) {
    for (index_t r = r0; r < r1; ++r)
      for (index_t j = 0; j < score.cols(); j += pattern.m) {
        const auto first = static_cast<std::size_t>(j);
        const auto width = static_cast<std::size_t>(std::min<index_t>(pattern.m, score.cols() - j));
        keep_largest(score.row(r).subspan(first, width), pattern.n, kept.row(r).subspan(first, width), ties);
      }
  });
  return kept;
}

/// Applies a rule to scores [out, in]. Entries that `before` has removed go first and count as removed.
/// @param ties of a pattern; without one, the lowest index goes.
inline matrix<std::uint8_t> select(matrix<float> score, const selection_rule& rule,
                                   const sparsity& before = {}, const context& ctx = {},
                                   tie_rule ties = tie_rule::remove_lowest) {
  if (!before.empty()) {
    require_shape(before.kept.view(), score.rows(), score.cols(), "select: kept entries of the layer");
    for (index_t i = 0; i < score.size(); ++i)
      if (before.kept.data()[i] == 0) score.data()[i] = -std::numeric_limits<float>::infinity();
  }
  return rule.pattern.empty() ? select_smallest(score, rule.sparsity, rule.scope, ctx)
                              : select_nm(score, rule.pattern, ctx, ties);
}

/// The absolute values of a tensor of any rank, in row-major order of its extents. Error that names the entry
/// if it holds a NaN or an infinity.
template <class T, std::size_t Rank>
std::vector<float> magnitudes(tensor_view<T, Rank> w, std::string_view name = "weight") {
  std::vector<float> values(static_cast<std::size_t>(w.size()));
  std::array<index_t, Rank> at{};
  for (float& v : values) {
    index_t offset = 0;
    for (std::size_t a = 0; a < Rank; ++a) offset += at[a] * w.strides[a];
    v = std::fabs(static_cast<float>(w.data[offset]));
    if (!std::isfinite(v)) [[unlikely]] {
      std::string place;
      for (const index_t k : at) place += concat(place.empty() ? "" : ", ", k);
      fail(concat(name, "[", place, "]"), static_cast<float>(w.data[offset]), "a finite number");
    }
    for (std::size_t a = Rank; a-- > 0 && ++at[a] == w.extents[a];) at[a] = 0;
  }
  return values;
}

/// A mask for the scores of a convolution [out, in, kernel ...] (or of a vector, [in]) in row-major order of
/// its extents, chosen along the input channels: `choose` turns the scores, arranged as [kernel positions *
/// out, in] with the outputs of a kernel position next to each other, into a mask of that shape.
/// @return one entry for each score, in the order given, 1 = kept.
template <class Choose>
std::vector<std::uint8_t> select_along_inputs(std::span<const float> score, std::span<const index_t> extents,
                                              const Choose& choose) {
  const std::size_t axis = extents.size() < 2 ? 0 : 1;
  const index_t in = extents[axis], out = axis == 0 ? 1 : extents[0];
  index_t kernel = 1;
  for (const index_t e : extents.subspan(axis + 1)) kernel *= e;
  const auto place = [&](index_t row, index_t j) {
    return static_cast<std::size_t>((row % out * in + j) * kernel + row / out);
  };
  matrix<float> rows(kernel * out, in);
  for (index_t r = 0; r < rows.rows(); ++r)
    for (index_t j = 0; j < in; ++j) rows(r, j) = score[place(r, j)];
  const matrix<std::uint8_t> chosen = choose(rows);
  std::vector<std::uint8_t> kept(score.size());
  for (index_t r = 0; r < rows.rows(); ++r)
    for (index_t j = 0; j < in; ++j) kept[place(r, j)] = chosen(r, j);
  return kept;
}

/// The constraint that a mask puts on later stages, together with what `before` had already removed: n:m
/// where every group really keeps n entries, else unstructured. With `permutation`, groups run over the
/// columns permutation[0], permutation[1], ...
inline sparsity constrain(matrix<std::uint8_t> kept, nm_pattern pattern, const sparsity& before,
                          std::vector<std::int32_t> permutation = {}) {
  if (!before.empty())
    for (index_t i = 0; i < kept.size(); ++i)
      kept.data()[i] = static_cast<std::uint8_t>(kept.data()[i] != 0 && before.kept.data()[i] != 0);
  bool full = !pattern.empty();
  for (index_t r = 0; r < kept.rows() && full; ++r)
    for (index_t j = 0; j < kept.cols() && full; j += pattern.m) {
      const index_t width = std::min<index_t>(pattern.m, kept.cols() - j);
      index_t n = 0;
      for (index_t i = j; i < j + width; ++i)
        n += kept(r, permutation.empty() ? i : permutation[static_cast<std::size_t>(i)]) != 0;
      full = n == std::min<index_t>(pattern.n, width);
    }
  if (!full) return {std::move(kept), 0, 0, {}};
  return {std::move(kept), pattern.n, pattern.m, std::move(permutation)};
}

/// One of several tensors that are compared with each other.
struct scored_tensor {
  std::span<const float> score;  ///< of all its entries, in any order
  float weight = 1;              ///< multiplies the scores
};

/// Removes the floor(sparsity * N) smallest of weight * score over the N entries of all tensors, of equal
/// ones the first tensor's and lowest index first, but of no tensor more than floor(max_prune * its entries),
/// and never its last entry: where a tensor has reached that, the next smallest of the others go. Error if
/// the tensors together may not lose so many. @return for each tensor, 1 = kept.
inline std::vector<std::vector<std::uint8_t>> select_global(std::span<const scored_tensor> tensors,
                                                            double sparsity, double max_prune = 0.995) {
  selection_rule{.sparsity = sparsity}.validate("select_global");
  require(max_prune >= 0 && max_prune <= 1, "select_global: max_prune", max_prune, "0 .. 1");
  std::vector<std::vector<std::uint8_t>> kept;
  std::vector<std::vector<float>> score;
  std::vector<index_t> limit, removed(tensors.size());
  index_t entries = 0, removable = 0;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const auto size = static_cast<index_t>(tensors[t].score.size());
    require(std::isfinite(tensors[t].weight) && tensors[t].weight >= 0, concat("tensors[", t, "].weight"),
            tensors[t].weight, "a finite number >= 0");
    limit.push_back(std::max<index_t>(0, std::min(removed_count(max_prune, size), size - 1)));
    entries += size;
    removable += limit.back();
    score.emplace_back(tensors[t].score.begin(), tensors[t].score.end());
    for (std::size_t i = 0; i < score.back().size(); ++i) {
      float& s = score.back()[i];
      const float given = s;
      s *= tensors[t].weight;  // 0 times infinity is no number either
      require(!std::isnan(s), concat("tensors[", t, "].score[", i, "]"), given, "a number");
    }
    kept.emplace_back(score.back().size(), std::uint8_t{1});
  }
  const index_t wanted = removed_count(sparsity, entries);
  require(wanted <= removable, "select_global: sparsity", sparsity, "at most ", removable, " of ", entries,
          " entries, which is what max_prune allows");

  // A tensor whose share is above its limit loses exactly its limit; the others share the rest. Their shares
  // only grow by that, so a tensor at its limit stays there.
  std::vector<bool> at_limit(tensors.size());
  for (bool changed = true; changed;) {
    changed = false;
    index_t rest = wanted;
    std::vector<float> pool;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      if (at_limit[t])
        rest -= limit[t];
      else
        pool.insert(pool.end(), score[t].begin(), score[t].end());
    }
    std::vector<std::uint8_t> pool_kept(pool.size(), 1);
    remove_smallest(pool, rest, pool_kept);
    std::size_t first = 0;
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      if (at_limit[t]) continue;
      const auto share = std::span(pool_kept).subspan(first, score[t].size());
      first += score[t].size();
      removed[t] = std::ranges::count(share, std::uint8_t{0});
      if (removed[t] > limit[t]) at_limit[t] = changed = true;
    }
  }
  for (std::size_t t = 0; t < tensors.size(); ++t)
    remove_smallest(score[t], at_limit[t] ? limit[t] : removed[t], kept[t]);
  return kept;
}

}  // namespace tersor::solve

/// "2:4" (kept : group); "" or "none" for no pattern.
template <>
struct tersor::option_text<tersor::solve::nm_pattern> {
  static std::optional<solve::nm_pattern> parse(std::string_view text) {
    if (text.empty() || text == "none") return solve::nm_pattern{};
    const auto colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto n = option_text<int>::parse(text.substr(0, colon));
    const auto m = option_text<int>::parse(text.substr(colon + 1));
    if (!n || !m || *m < 1) return std::nullopt;
    return solve::nm_pattern{*n, *m};
  }
  static std::string format(const solve::nm_pattern& p) { return p.empty() ? "none" : concat(p.n, ":", p.m); }
  static std::string range(const option_doc&) { return "none|n:m with 1 <= n <= m <= 256"; }
  static bool in_range(const solve::nm_pattern& p, const option_doc&) {
    return p == solve::nm_pattern{} || (p.n >= 1 && p.n <= p.m && p.m <= 256);
  }
};
