// tersor - how far an approximation is from its reference, as a value that can be merged
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>    // std::max, std::clamp
#include <cmath>        // std::sqrt, std::abs
#include <limits>       // std::numeric_limits
#include <string_view>  // std::string_view

#include <tersor/core/matrix.hpp>

namespace tersor {

/// Sums over pairs (reference, approximation), in double. Statistics of parts merge into those of the whole.
struct error_statistics {
  long long count = 0;
  double squared_error = 0;          ///< Σ (a - r)²
  double squared_reference = 0;      ///< Σ r²
  double squared_approximation = 0;  ///< Σ a²
  double dot = 0;                    ///< Σ r a
  double max_error = 0;              ///< max |a - r|
  long long exact = 0;               ///< a == r
  long long reference_zeros = 0;
  long long approximation_zeros = 0;
  double weighted_error = 0;      ///< tr((A - R) H (A - R)ᵀ), if `add_weighted` was called
  double weighted_reference = 0;  ///< tr(R H Rᵀ)

  /// Adds all elements of two matrices of the same shape, or two vectors of the same length. Error that names
  /// the place if one holds a NaN or an infinity.
  template <tensor_like R, tensor_like A>
  void add(const R& reference, const A& approximation) {
    add_rows(as_rows(as_view(reference)), as_rows(as_view(approximation)));
  }

  /// Adds the H-weighted sums of `linalg::weighted_error` and `linalg::weighted_norm`.
  void add_weighted(double error, double reference) {
    weighted_error += error;
    weighted_reference += reference;
  }

  void merge(const error_statistics& other) {
    count += other.count;
    squared_error += other.squared_error;
    squared_reference += other.squared_reference;
    squared_approximation += other.squared_approximation;
    dot += other.dot;
    max_error = std::max(max_error, other.max_error);
    exact += other.exact;
    reference_zeros += other.reference_zeros;
    approximation_zeros += other.approximation_zeros;
    weighted_error += other.weighted_error;
    weighted_reference += other.weighted_reference;
  }

  /// ‖A - R‖ / ‖R‖ (Frobenius). 0 if nothing differs, also where R is zero or empty; infinity if only R is
  /// zero.
  double relative_frobenius() const { return relative(squared_error, squared_reference); }
  /// The largest |a - r|; 0 if empty.
  double max_abs() const { return max_error; }
  /// Mean squared error; 0 if empty.
  double mean_squared() const { return count == 0 ? 0 : squared_error / static_cast<double>(count); }
  /// <R, A> / (‖R‖ ‖A‖), in [-1, 1]. 1 if both are zero or empty, 0 if one is zero.
  double cosine() const {
    if (squared_reference == 0 && squared_approximation == 0) return 1;
    if (squared_reference == 0 || squared_approximation == 0) return 0;
    return std::clamp(dot / (std::sqrt(squared_reference) * std::sqrt(squared_approximation)), -1.0, 1.0);
  }
  /// Relative error of the layer's output over the calibration tokens, ‖X (A - R)ᵀ‖ / ‖X Rᵀ‖ for H = XᵀX;
  /// edge cases as in `relative_frobenius`. Sums below 0, which rounding gives for a zero error, count as 0.
  double weighted_relative() const {
    return relative(std::max(weighted_error, 0.0), std::max(weighted_reference, 0.0));
  }

  friend bool operator==(const error_statistics&, const error_statistics&) = default;

 private:
  static double relative(double error, double reference) {
    if (error == 0) return 0;
    return reference == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(error) / std::sqrt(reference);
  }
  template <class T, std::size_t Rank>
  static matrix_view<T> as_rows(tensor_view<T, Rank> x) {
    static_assert(Rank <= 2, "error_statistics adds vectors and matrices");
    if constexpr (Rank == 1)
      return {x.data, {1, x.extents[0]}, {0, x.strides[0]}};
    else
      return x;
  }
  template <class T, class U>
  void add_rows(matrix_view<T> reference, matrix_view<U> approximation) {
    require_shape(approximation, reference.rows(), reference.cols(), "approximation");
    for (index_t i = 0; i < reference.rows(); ++i) {
      error_statistics row;  // one partial sum per row keeps the rounding of long sums small
      for (index_t j = 0; j < reference.cols(); ++j) {
        const double r = static_cast<double>(reference(i, j)), a = static_cast<double>(approximation(i, j));
        const double e = a - r;
        row.squared_error += e * e;
        row.squared_reference += r * r;
        row.squared_approximation += a * a;
        row.dot += r * a;
        row.max_error = std::max(row.max_error, std::abs(e));
        row.exact += a == r;
        row.reference_zeros += r == 0;
        row.approximation_zeros += a == 0;
      }
      if (!std::isfinite(row.squared_reference) || !std::isfinite(row.squared_approximation)) {
        require_finite(reference, "reference");
        require_finite(approximation, "approximation");
      }
      row.count = reference.cols();
      merge(row);
    }
  }
};

}  // namespace tersor
