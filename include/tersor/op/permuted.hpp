// tersor - an operator behind a permutation of its inputs
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/any_operator.hpp>

namespace tersor::op {

/// W whose column perm[j] is column j of the inner operator: y = inner(x[:, perm]). Costs 32 bits per column.
template <class Inner = any_operator>
class permuted {
 public:
  permuted() = default;
  /// perm: a permutation of 0 .. inner.cols() - 1.
  permuted(Inner inner, std::vector<std::int32_t> perm) : inner_(std::move(inner)), perm_(std::move(perm)) {
    check("permuted");
  }

  index_t rows() const { return inner_.rows(); }
  index_t cols() const { return inner_.cols(); }
  const Inner& inner() const { return inner_; }
  const std::vector<std::int32_t>& permutation() const { return perm_; }
  static constexpr std::string_view kind() { return "permuted"; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols(), y, rows());
    matrix<float> gathered(x.rows(), cols());
    for (index_t t = 0; t < x.rows(); ++t)
      for (index_t j = 0; j < cols(); ++j) gathered(t, j) = x(t, perm_[static_cast<std::size_t>(j)]);
    inner_.apply(gathered.view(), y, ctx);
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, rows(), y, cols());
    matrix<float> inner_y(x.rows(), cols());
    inner_.apply_transposed(x, inner_y.view(), ctx);
    scatter(inner_y.view(), y);
  }
  matrix<float> to_dense() const {
    matrix<float> w(rows(), cols());
    scatter(inner_.to_dense().view(), w.view());
    return w;
  }

  storage_report storage() const { return storage_of(*this); }
  void save(archive_writer& out) const {
    detail::save_archive a{out};
    a.part("inner", inner_);
    a.tensor("perm", perm_, {cols()});
  }
  static permuted load(std::string_view, archive_reader& in) {
    permuted op;
    detail::load_archive a{in};
    a.part("inner", op.inner_);
    a.tensor("perm", op.perm_, {op.cols()});
    op.check(in.where());
    return op;
  }

 private:
  void scatter(matrix_view<const float> x, matrix_view<float> y) const {
    for (index_t i = 0; i < x.rows(); ++i)
      for (index_t j = 0; j < cols(); ++j) y(i, perm_[static_cast<std::size_t>(j)]) = x(i, j);
  }
  void check(std::string_view where) const {
    require(static_cast<index_t>(perm_.size()) == cols(), concat(where, ": length of perm"), perm_.size(),
            cols());
    std::vector<bool> seen(perm_.size());
    for (const auto p : perm_) {
      require(p >= 0 && p < cols() && !seen[static_cast<std::size_t>(p)], concat(where, ": perm"), p,
              "each of 0 .. ", cols() - 1, " once");
      seen[static_cast<std::size_t>(p)] = true;
    }
  }
  Inner inner_;
  std::vector<std::int32_t> perm_;
};

}  // namespace tersor::op
