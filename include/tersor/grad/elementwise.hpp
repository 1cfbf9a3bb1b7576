// tersor - element-wise operations of the tape: arithmetic, activations, rounding
// SPDX-License-Identifier: MIT
#pragma once

#include <limits>  // std::numeric_limits

#include <tersor/grad/tape.hpp>

namespace tersor::grad {

namespace detail {

/// z[i, j] = f(a, b) where an operand of one row or column is repeated. z may be the memory of either
/// operand.
template <class T, class F>
void broadcast_map(const context& ctx, matrix<T>& z, const matrix<T>& a, const matrix<T>& b, const F& f) {
  const index_t rows = z.rows(), cols = z.cols();
  const auto whole = [&](const matrix<T>& x) { return x.rows() == rows && x.cols() == cols; };
  if (whole(a) && whole(b)) return map(z.size(), ctx, z.data(), f, a.data(), b.data());
  parallel_chunks(rows, row_grain(cols), ctx, [&](index_t first, index_t last) {
    for (index_t i = first; i < last; ++i) {
      const T* x = a.data() + (a.rows() == 1 ? 0 : i * a.cols());
      const T* y = b.data() + (b.rows() == 1 ? 0 : i * b.cols());
      T* out = z.data() + i * cols;
      if (a.cols() == cols && b.cols() == cols) {
        map_row(cols, out, f, x, y);
      } else if (a.cols() == cols) {
        const T c = *y;
        map_row(
            cols, out, [f, c](T v) { return f(v, c); }, x);
      } else if (b.cols() == cols) {
        const T c = *x;
        map_row(
            cols, out, [f, c](T v) { return f(c, v); }, y);
      } else {
        const T c = f(*x, *y);
        for (index_t j = 0; j < cols; ++j) out[j] = c;
      }
    }
  });
}

/// g [m, n] summed to [rows, cols], each of which is the extent of g or 1.
template <class T>
buffer<T> reduced(const matrix<T>& g, buffer<T> y, const context& ctx) {
  const index_t rows = y.rows(), cols = y.cols();
  if (rows == g.rows() && cols == 1) {  // sums of rows
    parallel_chunks(rows, row_grain(g.cols()), ctx, [&](index_t first, index_t last) {
      for (index_t i = first; i < last; ++i)
        y.data()[i] = static_cast<T>(sum_row<T>(
            g.cols(), [](auto v) { return v; }, g.row(i).data()));
    });
    return y;
  }
  const auto sums =
      sums_over_rows<wide_of<T>>(g.rows(), cols, ctx, [&](index_t first, index_t last, wide_of<T>* partial) {
        for (index_t i = first; i < last; ++i) {
          const T* x = g.row(i).data();
          if (cols == 1)
            partial[0] += sum_row<T>(
                g.cols(), [](auto v) { return v; }, x);
          else
            for (index_t j = 0; j < cols; ++j) partial[j] += static_cast<wide_of<T>>(x[j]);
        }
      });
  for (index_t j = 0; j < cols; ++j) y.data()[j] = static_cast<T>(sums[static_cast<std::size_t>(j)]);
  return y;
}

/// Adds g, which has the shape of the result, to the gradient of an input that may have been repeated.
template <class T>
void add_reduced(backward_pass<T>& pass, std::size_t input, buffer<T> g, index_t rows, index_t cols) {
  if (g.rows() == rows && g.cols() == cols) return pass.add(input, std::move(g));
  auto sum = reduced(g.get(), pass.make(rows, cols), pass.ctx());
  pass.add(input, std::move(sum));
}

/// Arithmetic with broadcasting. Rule: value(a, b); slope_a, slope_b by which the gradient is multiplied;
/// reads_a, reads_b: do the slopes that are needed depend on the operand?
template <class Rule, class T>
variable<T> binary(std::string_view name, const variable<T>& a, const variable<T>& b) {
  operation<T> op(name, {a, b});
  const auto extent = [](index_t x, index_t y) { return x == 1 ? y : x; };
  const index_t rows = extent(a.rows(), b.rows()), cols = extent(a.cols(), b.cols());
  op.check((a.rows() == rows || a.rows() == 1) && (b.rows() == rows || b.rows() == 1) &&
               (a.cols() == cols || a.cols() == 1) && (b.cols() == cols || b.cols() == 1),
           "the same shape, or one row or column that is repeated");
  auto z = op.make(rows, cols);
  broadcast_map(op.ctx(), z.get(), a.value(), b.value(), [](T x, T y) { return Rule::value(x, y); });
  if (!op.needs_gradient()) return op.result(std::move(z));
  struct shape {
    index_t rows, cols;
  };
  const shape sa{a.rows(), a.cols()}, sb{b.rows(), b.cols()};
  if constexpr (Rule::is_linear) {
    return op.result(std::move(z), [sa, sb](backward_pass<T>& pass) {
      if (!pass.needs(1)) return add_reduced(pass, 0, pass.take_gradient(), sa.rows, sa.cols);
      if (pass.needs(0)) {
        const matrix<T>& g = pass.gradient();
        auto ga = pass.make(g.rows(), g.cols());
        map(
            g.size(), pass.ctx(), ga.data(), [](T x) { return x; }, g.data());
        add_reduced(pass, 0, std::move(ga), sa.rows, sa.cols);
      }
      {
        auto gb = pass.take_gradient();
        if constexpr (Rule::negates_b)
          map(
              gb.size(), pass.ctx(), gb.data(), [](T x) { return -x; }, std::as_const(gb).data());
        add_reduced(pass, 1, std::move(gb), sb.rows, sb.cols);
      }
    });
  } else {
    // What neither slope reads is not kept: of a product with a constant, the constant alone.
    const bool na = a.needs_gradient(), nb = b.needs_gradient();
    const auto zero = [] { return saved_tensor<T>(std::make_shared<const matrix<T>>(1, 1)); };
    const auto kept_a = Rule::reads_a(na, nb) ? op.save(0, "a") : zero();
    const auto kept_b = Rule::reads_b(na, nb) ? op.save(1, "b") : zero();
    return op.result(std::move(z), [sa, sb, a = kept_a, b = kept_b](backward_pass<T>& pass) {
      const auto x = a.load(), y = b.load();
      const matrix<T>& g = pass.gradient();
      const auto multiplied = [&](auto slope) {
        auto s = pass.make(g.rows(), g.cols());
        broadcast_map(pass.ctx(), s.get(), *x, *y, slope);
        map(
            s.size(), pass.ctx(), s.data(), [](T u, T v) { return u * v; }, std::as_const(s).data(),
            g.data());
        return s;
      };
      if (pass.needs(0))
        add_reduced(pass, 0, multiplied([](T u, T v) { return Rule::slope_a(u, v); }), sa.rows, sa.cols);
      if (pass.needs(1))
        add_reduced(pass, 1, multiplied([](T u, T v) { return Rule::slope_b(u, v); }), sb.rows, sb.cols);
    });
  }
}

struct addition {
  static constexpr bool is_linear = true, negates_b = false;
  template <class T>
  static T value(T a, T b) {
    return a + b;
  }
};
struct subtraction {
  static constexpr bool is_linear = true, negates_b = true;
  template <class T>
  static T value(T a, T b) {
    return a - b;
  }
};
struct multiplication {
  static constexpr bool is_linear = false;
  static constexpr bool reads_a(bool, bool needs_b) { return needs_b; }
  static constexpr bool reads_b(bool needs_a, bool) { return needs_a; }
  template <class T>
  static T value(T a, T b) {
    return a * b;
  }
  template <class T>
  static T slope_a(T, T b) {
    return b;
  }
  template <class T>
  static T slope_b(T a, T) {
    return a;
  }
};
struct division {
  static constexpr bool is_linear = false;
  static constexpr bool reads_a(bool, bool needs_b) { return needs_b; }
  static constexpr bool reads_b(bool, bool) { return true; }
  template <class T>
  static T value(T a, T b) {
    return a / b;
  }
  template <class T>
  static T slope_a(T, T b) {
    return T(1) / b;
  }
  template <class T>
  static T slope_b(T a, T b) {
    return -a / (b * b);
  }
};
/// Of equal operands, the first is taken.
struct smaller {
  static constexpr bool is_linear = false;
  static constexpr bool reads_a(bool, bool) { return true; }
  static constexpr bool reads_b(bool, bool) { return true; }
  template <class T>
  static T value(T a, T b) {
    return b < a ? b : a;
  }
  template <class T>
  static T slope_a(T a, T b) {
    return b < a ? T(0) : T(1);
  }
  template <class T>
  static T slope_b(T a, T b) {
    return b < a ? T(1) : T(0);
  }
};
struct larger {
  static constexpr bool is_linear = false;
  static constexpr bool reads_a(bool, bool) { return true; }
  static constexpr bool reads_b(bool, bool) { return true; }
  template <class T>
  static T value(T a, T b) {
    return a < b ? b : a;
  }
  template <class T>
  static T slope_a(T a, T b) {
    return a < b ? T(0) : T(1);
  }
  template <class T>
  static T slope_b(T a, T b) {
    return a < b ? T(1) : T(0);
  }
};

/// What the backward pass of a function of one number needs.
enum class needed { nothing, x, y };

/// Functions of one number. Rule: needs, value(x), and slope(x or y) by which the gradient is multiplied.
template <class T, class Rule>
variable<T> unary(std::string_view name, const variable<T>& x, Rule rule) {
  operation<T> op(name, {x});
  auto y = op.make(x.rows(), x.cols());
  map(
      y.size(), op.ctx(), y.data(), [rule](T v) { return rule.value(v); }, x.value().data());
  if (!op.needs_gradient()) return op.result(std::move(y));
  if constexpr (Rule::needs == needed::nothing) {
    return op.result(std::move(y), [rule](backward_pass<T>& pass) {
      auto g = pass.take_gradient();
      map(
          g.size(), pass.ctx(), g.data(), [rule](T v) { return v * rule.slope(v); }, std::as_const(g).data());
      pass.add(0, std::move(g));
    });
  } else {
    const auto shared = share(std::move(y));
    const auto saved = Rule::needs == needed::x ? op.save(0, "x") : op.save(shared, "y");
    return op.result(shared, [rule, saved](backward_pass<T>& pass) {
      const auto v = saved.load();
      auto g = pass.take_gradient();
      map(
          g.size(), pass.ctx(), g.data(), [rule](T u, T w) { return u * rule.slope(w); },
          std::as_const(g).data(), v->data());
      pass.add(0, std::move(g));
    });
  }
}

template <class T>
struct scaling {
  static constexpr needed needs = needed::nothing;
  T factor, offset;
  T value(T x) const { return factor * x + offset; }
  T slope(T) const { return factor; }
};
template <class T>
struct exponential_rule {
  static constexpr needed needs = needed::y;
  T value(T x) const { return exponential(x); }
  T slope(T y) const { return y; }
};
template <class T>
struct logarithm_rule {
  static constexpr needed needs = needed::x;
  T value(T x) const { return logarithm(x); }
  T slope(T x) const { return T(1) / x; }
};
template <class T>
struct square_root_rule {
  static constexpr needed needs = needed::y;
  T value(T x) const { return square_root(x); }
  T slope(T y) const { return T(0.5) / y; }
};
template <class T>
struct square_rule {
  static constexpr needed needs = needed::x;
  T value(T x) const { return x * x; }
  T slope(T x) const { return T(2) * x; }
};
template <class T>
struct sigmoid_rule {
  static constexpr needed needs = needed::y;
  T value(T x) const { return logistic(x); }
  T slope(T y) const { return y * (T(1) - y); }
};
template <class T>
struct tanh_rule {
  static constexpr needed needs = needed::y;
  T value(T x) const { return hyperbolic_tangent(x); }
  T slope(T y) const { return T(1) - y * y; }
};
template <class T>
struct relu_rule {
  static constexpr needed needs = needed::y;
  T value(T x) const { return x < T(0) ? T(0) : x; }  // NaN stays NaN
  T slope(T y) const { return y == T(0) ? T(0) : T(1); }
};
template <class T>
struct gelu_rule {
  static constexpr needed needs = needed::x;
  T value(T x) const { return x * normal_distribution(x); }
  T slope(T x) const { return normal_distribution(x) + x * normal_density(x); }
};
template <class T>
struct gelu_tanh_rule {
  static constexpr needed needs = needed::x;
  static constexpr double root = 0.79788456080286536, cubic = 0.044715;  // sqrt(2 / pi)
  T value(T x) const {
    return T(0.5) * x * (T(1) + hyperbolic_tangent(T(root) * (x + T(cubic) * x * x * x)));
  }
  T slope(T x) const {
    const T t = hyperbolic_tangent(T(root) * (x + T(cubic) * x * x * x));
    return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * T(root) * (T(1) + T(3 * cubic) * x * x);
  }
};
template <class T>
struct silu_rule {
  static constexpr needed needs = needed::x;
  T value(T x) const { return x * logistic(x); }
  T slope(T x) const {
    const T s = logistic(x);
    return s + x * s * (T(1) - s);
  }
};
template <class T>
struct absolute_rule {
  static constexpr needed needs = needed::x;
  T value(T x) const { return x < T(0) ? -x : x; }
  T slope(T x) const { return x < T(0) ? T(-1) : T(0) < x ? T(1) : T(0); }
};
template <class T>
struct clamp_rule {
  static constexpr needed needs = needed::x;
  T low, high;
  T value(T x) const { return x < low ? low : high < x ? high : x; }
  T slope(T x) const { return x < low || high < x ? T(0) : T(1); }
};
template <class T>
struct round_rule {
  static constexpr needed needs = needed::nothing;
  T value(T x) const { return rounded(x); }
  T slope(T) const { return T(1); }
};

}  // namespace detail

// Of two variables: the same shape, or an extent of 1 is repeated. A bias is a row, a scale per row a column.

template <scalar T>
variable<T> operator+(const variable<T>& a, const variable<T>& b) {
  return detail::binary<detail::addition>("add", a, b);
}
template <scalar T>
variable<T> operator-(const variable<T>& a, const variable<T>& b) {
  return detail::binary<detail::subtraction>("subtract", a, b);
}
/// Element by element; the product of matrices is `matmul`.
template <scalar T>
variable<T> operator*(const variable<T>& a, const variable<T>& b) {
  return detail::binary<detail::multiplication>("multiply", a, b);
}
template <scalar T>
variable<T> operator/(const variable<T>& a, const variable<T>& b) {
  return detail::binary<detail::division>("divide", a, b);
}
/// The smaller (larger) of each pair; where both are equal, the gradient goes to a. With bounds that are
/// variables this is a clamp whose bounds are learned.
template <scalar T>
variable<T> minimum(const variable<T>& a, const variable<T>& b) {
  return detail::binary<detail::smaller>("minimum", a, b);
}
template <scalar T>
variable<T> maximum(const variable<T>& a, const variable<T>& b) {
  return detail::binary<detail::larger>("maximum", a, b);
}

/// factor x + offset.
template <scalar T>
variable<T> affine(const variable<T>& x, std::type_identity_t<T> factor, std::type_identity_t<T> offset) {
  return detail::unary("affine", x, detail::scaling<T>{factor, offset});
}
template <scalar T>
variable<T> operator*(const variable<T>& x, std::type_identity_t<T> factor) {
  return affine(x, factor, T(0));
}
template <scalar T>
variable<T> operator*(std::type_identity_t<T> factor, const variable<T>& x) {
  return affine(x, factor, T(0));
}
template <scalar T>
variable<T> operator+(const variable<T>& x, std::type_identity_t<T> offset) {
  return affine(x, T(1), offset);
}
template <scalar T>
variable<T> operator+(std::type_identity_t<T> offset, const variable<T>& x) {
  return affine(x, T(1), offset);
}
template <scalar T>
variable<T> operator-(const variable<T>& x, std::type_identity_t<T> offset) {
  return affine(x, T(1), -offset);
}
template <scalar T>
variable<T> operator-(std::type_identity_t<T> offset, const variable<T>& x) {
  return affine(x, T(-1), offset);
}
/// x times the reciprocal of the divisor.
template <scalar T>
variable<T> operator/(const variable<T>& x, std::type_identity_t<T> divisor) {
  return affine(x, T(1) / divisor, T(0));
}
template <scalar T>
variable<T> operator-(const variable<T>& x) {
  return affine(x, T(-1), T(0));
}

template <scalar T>
variable<T> exp(const variable<T>& x) {
  return detail::unary("exp", x, detail::exponential_rule<T>{});
}
template <scalar T>
variable<T> log(const variable<T>& x) {
  return detail::unary("log", x, detail::logarithm_rule<T>{});
}
template <scalar T>
variable<T> sqrt(const variable<T>& x) {
  return detail::unary("sqrt", x, detail::square_root_rule<T>{});
}
template <scalar T>
variable<T> square(const variable<T>& x) {
  return detail::unary("square", x, detail::square_rule<T>{});
}
template <scalar T>
variable<T> sigmoid(const variable<T>& x) {
  return detail::unary("sigmoid", x, detail::sigmoid_rule<T>{});
}
template <scalar T>
variable<T> tanh(const variable<T>& x) {
  return detail::unary("tanh", x, detail::tanh_rule<T>{});
}
/// max(x, 0); the slope at 0 is 0.
template <scalar T>
variable<T> relu(const variable<T>& x) {
  return detail::unary("relu", x, detail::relu_rule<T>{});
}
/// x Φ(x), with the distribution function of the standard normal.
template <scalar T>
variable<T> gelu(const variable<T>& x) {
  return detail::unary("gelu", x, detail::gelu_rule<T>{});
}
/// The approximation of GELU by tanh, for models that were trained with it.
template <scalar T>
variable<T> gelu_tanh(const variable<T>& x) {
  return detail::unary("gelu_tanh", x, detail::gelu_tanh_rule<T>{});
}
/// x sigmoid(x).
template <scalar T>
variable<T> silu(const variable<T>& x) {
  return detail::unary("silu", x, detail::silu_rule<T>{});
}
/// |x|; the slope at 0 is 0.
template <scalar T>
variable<T> abs(const variable<T>& x) {
  return detail::unary("abs", x, detail::absolute_rule<T>{});
}
/// x in [low, high]; the slope is 1 inside and on the bounds, 0 outside.
template <scalar T>
variable<T> clamp(const variable<T>& x, std::type_identity_t<T> low, std::type_identity_t<T> high) {
  require(!(high < low), "clamp: low", static_cast<double>(low), "at most high, ", static_cast<double>(high));
  return detail::unary("clamp", x, detail::clamp_rule<T>{low, high});
}
/// x to the nearest integer, ties to even. The gradient passes straight through, as if nothing were rounded.
template <scalar T>
variable<T> round_straight_through(const variable<T>& x) {
  return detail::unary("round_straight_through", x, detail::round_rule<T>{});
}
/// The value without its history: no gradient flows back.
template <scalar T>
variable<T> detach(const variable<T>& x) {
  operation<T> op("detach", {x});
  return op.constant(0);
}

/// silu(gate) * up in one pass; both [tokens, features].
template <scalar T>
variable<T> swiglu(const variable<T>& gate, const variable<T>& up) {
  operation<T> op("swiglu", {gate, up});
  op.check(gate.rows() == up.rows() && gate.cols() == up.cols(), "equal");
  auto y = op.make(gate.rows(), gate.cols());
  detail::map(
      y.size(), op.ctx(), y.data(), [](T a, T b) { return a * detail::logistic(a) * b; }, gate.value().data(),
      up.value().data());
  if (!op.needs_gradient()) return op.result(std::move(y));
  return op.result(std::move(y), [a = op.save(0, "gate"), b = op.save(1, "up")](backward_pass<T>& pass) {
    const auto gate = a.load(), up = b.load();
    if (pass.needs(0)) {
      auto g = pass.make(gate->rows(), gate->cols());
      detail::map(
          g.size(), pass.ctx(), g.data(),
          [](T u, T v, T w) {
            const T s = detail::logistic(v);
            return u * w * (s + v * s * (T(1) - s));
          },
          pass.gradient().data(), gate->data(), up->data());
      pass.add(0, std::move(g));
    }
    if (!pass.needs(1)) return;
    auto g = pass.take_gradient();
    detail::map(
        g.size(), pass.ctx(), g.data(), [](T u, T v) { return u * v * detail::logistic(v); },
        std::as_const(g).data(), gate->data());
    pass.add(1, std::move(g));
  });
}

}  // namespace tersor::grad
