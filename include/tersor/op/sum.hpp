// tersor - sum of operators on the same shape: quantized + low-rank + sparse
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/parts.hpp>

namespace tersor::op {

/// W = W_1 + W_2 + ...; `sum(quantized, low_rank)` keeps the types, `sum<>` holds any_operators.
template <class... Ops>
class sum {
 public:
  sum() = default;
  explicit sum(operator_parts<Ops...> parts) : parts_(std::move(parts)) { check(); }
  explicit sum(Ops... ops) requires(sizeof...(Ops) > 0) : sum(operator_parts<Ops...>(std::move(ops)...)) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const operator_parts<Ops...>& parts() const { return parts_; }
  static constexpr std::string_view kind() { return "sum"; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    accumulate(x, y, ctx, [](const auto& op, auto&&... operands) { op.apply(operands...); });
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    accumulate(x, y, ctx, [](const auto& op, auto&&... operands) { op.apply_transposed(operands...); });
  }
  matrix<float> to_dense() const {
    matrix<float> w(rows_, cols_);
    parts_.for_each([&](const auto& op) { add(op.to_dense().view(), w.view()); });
    return w;
  }

  storage_report storage() const { return storage_of(*this); }
  void save(archive_writer& out) const { detail::save_parts(parts_, out); }
  static sum load(std::string_view, archive_reader& in) requires(sizeof...(Ops) == 0) {
    return sum(detail::load_parts(in));
  }

 private:
  static void add(matrix_view<const float> x, matrix_view<float> y) {
    for (index_t i = 0; i < y.rows(); ++i)
      for (index_t j = 0; j < y.cols(); ++j) y(i, j) += x(i, j);
  }
  template <class Apply>
  void accumulate(matrix_view<const float> x, matrix_view<float> y, const context& ctx,
                  Apply&& apply_part) const {
    bool first = true;
    matrix<float> buffer;
    parts_.for_each([&](const auto& op) {
      if (first) {
        apply_part(op, x, y, ctx);
        first = false;
        return;
      }
      if (buffer.empty()) buffer = matrix<float>(y.rows(), y.cols());
      apply_part(op, x, buffer.view(), ctx);
      add(buffer.view(), y);
    });
  }
  void check() {
    bool first = true;
    parts_.for_each([&](const auto& op) {
      if (first) {
        rows_ = op.rows();
        cols_ = op.cols();
        first = false;
      }
      require(op.rows() == rows_ && op.cols() == cols_, "sum: shape of a part",
              concat(op.rows(), " x ", op.cols()), rows_, " x ", cols_);
    });
  }

  index_t rows_ = 0, cols_ = 0;
  operator_parts<Ops...> parts_;
};
template <class... Ops>
requires(linear_operator<Ops>&&...) sum(Ops...)
->sum<Ops...>;

}  // namespace tersor::op
