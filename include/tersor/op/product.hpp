// tersor - product of operators: rotation * quantized, block-diagonal * 2:4 * block-diagonal
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/parts.hpp>

namespace tersor::op {

/// W = W_1 * W_2 * ... * W_n, so y = x W_nᵀ ... W_1ᵀ: the last part sees the input first. `product(a, b)`
/// keeps the types, `product<>` holds any_operators.
template <class... Ops>
class product {
 public:
  product() = default;
  explicit product(operator_parts<Ops...> parts) : parts_(std::move(parts)) { check(); }
  explicit product(Ops... ops) requires(sizeof...(Ops) > 0)
      : product(operator_parts<Ops...>(std::move(ops)...)) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  const operator_parts<Ops...>& parts() const { return parts_; }
  static constexpr std::string_view kind() { return "product"; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols_, y, rows_);
    std::vector<step> steps = factors();
    run(std::vector<step>(steps.rbegin(), steps.rend()), x, y, false, ctx);
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, rows_, y, cols_);
    run(factors(), x, y, true, ctx);
  }
  matrix<float> to_dense() const {
    matrix<float> identity(rows_, rows_), w(rows_, cols_);
    for (index_t i = 0; i < rows_; ++i) identity(i, i) = 1.0F;
    apply_transposed(identity.view(), w.view());
    return w;
  }

  storage_report storage() const { return storage_of(*this); }
  void save(archive_writer& out) const { detail::save_parts(parts_, out); }
  static product load(std::string_view, archive_reader& in) requires(sizeof...(Ops) == 0) {
    return product(detail::load_parts(in));
  }

 private:
  struct step {
    index_t rows, cols;
    std::function<void(matrix_view<const float>, matrix_view<float>, bool, const context&)> apply;
  };
  std::vector<step> factors() const {
    std::vector<step> steps;
    parts_.for_each([&](const auto& op) {
      steps.push_back(
          {op.rows(), op.cols(),
           [&op](matrix_view<const float> x, matrix_view<float> y, bool transposed, const context& ctx) {
             if (transposed)
               op.apply_transposed(x, y, ctx);
             else
               op.apply(x, y, ctx);
           }});
    });
    return steps;
  }
  static void run(const std::vector<step>& steps, matrix_view<const float> x, matrix_view<float> y,
                  bool transposed, const context& ctx) {
    matrix<float> current;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto input = i == 0 ? x : current.view();
      if (i + 1 == steps.size()) {
        steps[i].apply(input, y, transposed, ctx);
      } else {
        matrix<float> next(x.rows(), transposed ? steps[i].cols : steps[i].rows);
        steps[i].apply(input, next.view(), transposed, ctx);
        current = std::move(next);
      }
    }
  }
  void check() {
    bool first = true;
    parts_.for_each([&](const auto& op) {
      if (first)
        rows_ = op.rows();
      else
        require(op.rows() == cols_, "product: rows of a part", op.rows(), cols_,
                ", the columns of the part before it");
      cols_ = op.cols();
      first = false;
    });
  }

  index_t rows_ = 0, cols_ = 0;
  operator_parts<Ops...> parts_;
};
template <class... Ops>
requires(linear_operator<Ops>&&...) product(Ops...)
->product<Ops...>;

}  // namespace tersor::op
