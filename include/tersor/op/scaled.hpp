// tersor - an operator between two diagonal scalings
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/any_operator.hpp>

namespace tersor::op {

/// W = diag(output_scale) * inner * diag(input_scale); an empty scale is all ones and costs nothing.
template <class Inner = any_operator>
class scaled {
 public:
  scaled() = default;
  /// @param output_scale [rows] or empty, @param input_scale [cols] or empty, stored in their own types.
  scaled(Inner inner, real_array output_scale, real_array input_scale)
      : inner_(std::move(inner)),
        output_scale_(std::move(output_scale)),
        input_scale_(std::move(input_scale)) {
    require(output_scale_.empty() || output_scale_.size() == rows(), "scaled: length of output_scale",
            output_scale_.size(), rows());
    require(input_scale_.empty() || input_scale_.size() == cols(), "scaled: length of input_scale",
            input_scale_.size(), cols());
  }

  index_t rows() const { return inner_.rows(); }
  index_t cols() const { return inner_.cols(); }
  const Inner& inner() const { return inner_; }
  const real_array& output_scale() const { return output_scale_; }
  const real_array& input_scale() const { return input_scale_; }
  static constexpr std::string_view kind() { return "scaled"; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, cols(), y, rows());
    inner_.apply(times(x, input_scale_).view(), y, ctx);
    multiply(y, output_scale_);
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    detail::require_operands(kind(), x, rows(), y, cols());
    inner_.apply_transposed(times(x, output_scale_).view(), y, ctx);
    multiply(y, input_scale_);
  }
  matrix<float> to_dense() const {
    auto w = inner_.to_dense();
    multiply(w.view(), input_scale_);
    multiply(w.view().transposed(), output_scale_);
    return w;
  }

  storage_report storage() const { return storage_of(*this); }
  void save(archive_writer& out) const {
    detail::save_archive a{out};
    a.part("inner", inner_);
    a.optional_tensor("output_scale", output_scale_, {rows()});
    a.optional_tensor("input_scale", input_scale_, {cols()});
  }
  static scaled load(std::string_view, archive_reader& in) {
    scaled op;
    detail::load_archive a{in};
    a.part("inner", op.inner_);
    a.optional_tensor("output_scale", op.output_scale_, {op.rows()});
    a.optional_tensor("input_scale", op.input_scale_, {op.cols()});
    return op;
  }

 private:
  static void multiply(matrix_view<float> x, const real_array& s) {
    if (s.empty()) return;
    for (index_t i = 0; i < x.rows(); ++i)
      for (index_t j = 0; j < x.cols(); ++j) x(i, j) *= s[j];
  }
  static matrix<float> times(matrix_view<const float> x, const real_array& s) {
    auto scaled_x = copy_as<float>(x);
    multiply(scaled_x.view(), s);
    return scaled_x;
  }
  Inner inner_;
  real_array output_scale_, input_scale_;
};

}  // namespace tersor::op
