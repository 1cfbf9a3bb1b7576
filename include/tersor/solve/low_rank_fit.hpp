// tersor - the best balanced factors of what is left of a weight
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/linalg/svd.hpp>

namespace tersor::solve {

/// R ≈ A B with AᵀA = B Bᵀ = diag(singular values).
struct low_rank_factors {
  matrix<float> a;  ///< [out, rank]
  matrix<float> b;  ///< [rank, in]

  matrix<float> product(const context& ctx = {}) const { return linalg::multiply(a, b, ctx); }
};

/// U √Σ and √Σ Vᵀ of the first `rank` triples.
template <class T>
low_rank_factors balanced_factors(const linalg::svd_result<T>& d, index_t rank) {
  low_rank_factors f{matrix<float>(d.u.rows(), rank), matrix<float>(rank, d.vt.cols())};
  for (index_t k = 0; k < rank; ++k) {
    const double root = std::sqrt(static_cast<double>(d.s[static_cast<std::size_t>(k)]));
    for (index_t i = 0; i < f.a.rows(); ++i)
      f.a(i, k) = static_cast<float>(static_cast<double>(d.u(i, k)) * root);
    for (index_t j = 0; j < f.b.cols(); ++j)
      f.b(k, j) = static_cast<float>(root * static_cast<double>(d.vt(k, j)));
  }
  return f;
}

/// How the singular vectors are found.
struct low_rank_rule {
  bool exact = false;  ///< by the Gram matrix in double: O(out in min(out, in)); else by a random sketch
  index_t oversampling = 10;
  index_t power_iterations = 2;
};

/// The factors U √Σ and √Σ Vᵀ of the `rank` largest singular triples of r [out, in]. Randomness from
/// `ctx.seed`. Error if rank > min(out, in). A randomized fit costs about 12 out in rank.
inline low_rank_factors fit_low_rank(matrix<float> r, index_t rank, const low_rank_rule& rule = {},
                                     const context& ctx = {}) {
  require(rank >= 0 && rank <= std::min(r.rows(), r.cols()), "rank", rank, "0 .. min(", r.rows(), ", ",
          r.cols(), ")");
  if (!rule.exact)
    return balanced_factors(
        linalg::randomized_svd<float>(
            std::as_const(r).view(), rank,
            {.oversampling = rule.oversampling, .power_iterations = rule.power_iterations, .seed = ctx.seed},
            ctx),
        rank);
  const auto wide = copy_as<double>(std::as_const(r).view());
  auto d = linalg::left_singular(wide, rank, ctx);
  auto vt = linalg::multiply(d.u.view().transposed(), wide, ctx);  // Σ Vᵀ until it is divided
  for (index_t k = 0; k < rank; ++k) {
    double& s = d.s[static_cast<std::size_t>(k)];
    if (s <= 1e-7 * d.s.front()) s = 0;  // noise of the Gram matrix
    for (double& v : vt.row(k)) v = s > 0 ? v / s : 0;
  }
  return balanced_factors(linalg::svd_result<double>{std::move(d.u), std::move(d.s), std::move(vt)}, rank);
}

/// The same in the coordinates diag(row) R diag(column): the best factors where the weight of entry (i, j) is
/// row[i]² column[j]². @param row [out], column [in], positive.
inline low_rank_factors fit_low_rank(matrix<float> r, index_t rank, std::span<const float> row,
                                     std::span<const float> column, const low_rank_rule& rule = {},
                                     const context& ctx = {}) {
  require(static_cast<index_t>(row.size()) == r.rows(), "fit_low_rank: length of row", row.size(), r.rows());
  require(static_cast<index_t>(column.size()) == r.cols(), "fit_low_rank: length of column", column.size(),
          r.cols());
  for (index_t i = 0; i < r.rows(); ++i)
    for (index_t j = 0; j < r.cols(); ++j)
      r(i, j) *= row[static_cast<std::size_t>(i)] * column[static_cast<std::size_t>(j)];
  auto f = fit_low_rank(std::move(r), rank, rule, ctx);
  for (index_t i = 0; i < f.a.rows(); ++i)
    for (float& v : f.a.row(i)) v /= row[static_cast<std::size_t>(i)];
  for (index_t k = 0; k < rank; ++k)
    for (index_t j = 0; j < f.b.cols(); ++j) f.b(k, j) /= column[static_cast<std::size_t>(j)];
  return f;
}

}  // namespace tersor::solve
