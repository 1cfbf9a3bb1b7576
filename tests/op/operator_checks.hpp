// tersor - what must hold for every linear operator, and matrices to try it on
// SPDX-License-Identifier: MIT
#pragma once

#include <limits>  // std::numeric_limits

#include "../linalg/oracle.hpp"
#include "catch.hpp"
#include "memory_archive.hpp"

#include <tersor/op/any_operator.hpp>

namespace tersor_test {

namespace op = tersor::op;
using tersor::real_array;

inline matrix<double> absolute(matrix<double> x) {
  for (double& v : x.values()) v = std::abs(v);
  return x;
}
inline matrix<double> wide(const matrix<float>& x) { return tersor::copy_as<double>(x.view()); }

/// x in memory that is not contiguous: every second element of every second row, or column-major. Gaps hold
/// NaN.
struct strided {
  matrix<float> memory;
  matrix_view<float> view;
  strided(const matrix<float>& x, bool column_major) {
    const index_t m = x.rows(), n = x.cols();
    if (column_major) {
      memory = matrix<float>(n, m + 1, std::numeric_limits<float>::quiet_NaN());
      view = {memory.data(), {m, n}, {1, m + 1}};
    } else {
      memory = matrix<float>(2 * m, 2 * n + 1, std::numeric_limits<float>::quiet_NaN());
      view = {memory.data(), {m, n}, {2 * (2 * n + 1), 2}};
    }
    tersor::copy(x.view(), view);
  }
};

/// Both products against the dense ones in double; any layout of x and y and any number of threads give the
/// same bits. @param magnitude bounds the |terms| that add up to each entry of W (for operators that are
/// themselves sums or products; empty: |W|). @param steps roundings on the way to one output, beside the sum
/// over inputs or outputs.
template <class Apply>
void check_product(index_t in, index_t out, const matrix<double>& w, const matrix<double>& magnitude,
                   index_t steps, const Apply& apply) {
  for (index_t tokens : {0, 1, 2, 5, 19}) {
    INFO(tokens << " tokens, " << in << " -> " << out);
    const auto x = random_matrix<float>(tokens, in, static_cast<std::uint64_t>(tokens) + 77);
    matrix<float> y(tokens, out, std::numeric_limits<float>::quiet_NaN());
    apply(x.view(), y.view(), threads(1));
    const auto expected = times(wide(x), w), bound = times(absolute(wide(x)), magnitude);
    // |fl(sum) - sum| <= (terms + steps) u sum |terms| to first order, u = 2^-24; doubled for the second
    // order.
    const double unit = 2 * static_cast<double>(in + steps) * 0x1p-24;
    for (index_t t = 0; t < tokens; ++t)
      for (index_t j = 0; j < out; ++j) {
        const double d = std::abs(static_cast<double>(y(t, j)) - expected(t, j));
        if (!(d <= unit * bound(t, j) + 1e-37))
          FAIL("y(" << t << ", " << j << ") = " << y(t, j) << " instead of " << expected(t, j));
      }
    for (int n : {2, 5}) {
      matrix<float> again(tokens, out, -1.0F);
      apply(x.view(), again.view(), threads(n));
      REQUIRE(again == y);
    }
    for (const bool x_columns : {false, true})
      for (const bool y_columns : {false, true}) {
        strided sx(x, x_columns), sy(matrix<float>(tokens, out, -1.0F), y_columns);
        INFO("x " << (x_columns ? "column-major" : "strided") << ", y "
                  << (y_columns ? "column-major" : "strided"));
        apply(sx.view, sy.view, threads(2));
        REQUIRE(tersor::copy_as<float>(sy.view) == y);
      }
  }
}

/// `Op` is also checked as an any_operator.
template <class Op>
void check_products(const Op& o, const matrix<double>& magnitude, index_t steps) {
  const index_t rows = o.rows(), cols = o.cols();
  INFO(o.kind() << " " << rows << " x " << cols);
  const matrix<double> w = wide(o.to_dense());
  REQUIRE((w.rows() == rows && w.cols() == cols));
  check_product(cols, rows, transposed(w), transposed(magnitude), steps,
                [&](auto x, auto y, const auto& ctx) { o.apply(x, y, ctx); });
  check_product(rows, cols, w, magnitude, steps,
                [&](auto x, auto y, const auto& ctx) { o.apply_transposed(x, y, ctx); });
  matrix<float> x(3, cols + 1), y(3, rows), xt(3, rows + 1), yt(3, cols), short_y(2, rows);
  CHECK_THROWS_AS(o.apply(x.view(), y.view()), tersor::error);
  CHECK_THROWS_AS(o.apply(x.view().block(0, 0, 3, cols), short_y.view()), tersor::error);
  CHECK_THROWS_AS(o.apply_transposed(xt.view(), yt.view()), tersor::error);
}

/// Saved parts add up to `storage()`, and loading them gives the same operator again.
template <class Op>
void check_storage(const Op& o, std::size_t bytes) {
  INFO(o.kind() << " " << o.rows() << " x " << o.cols());
  const stored_operator stored = save(o);
  CHECK(op::storage_of(o).bytes() == bytes);
  CHECK(o.storage().bytes() == bytes);
  CHECK(stored.bytes() == bytes);
  for (const auto& part : o.storage().parts) {
    std::size_t bits = static_cast<std::size_t>(tersor::bits_of(part.type));
    for (index_t e : part.shape) bits *= static_cast<std::size_t>(e);
    CHECK(part.bytes * 8 == bits);
  }
  const auto again = load<Op>(stored);
  CHECK(save(again) == stored);
  REQUIRE((again.rows() == o.rows() && again.cols() == o.cols()));
  REQUIRE(again.to_dense() == o.to_dense());
}

template <class Op>
void check_operator(const Op& o, std::size_t bytes, const matrix<double>& magnitude, index_t steps = 1) {
  check_products(o, magnitude, steps);
  check_storage(o, bytes);
}
template <class Op>
void check_operator(const Op& o, std::size_t bytes, index_t steps = 1) {
  check_operator(o, bytes, absolute(wide(o.to_dense())), steps);
}

/// Loading `stored` is an error whose text holds `part`.
template <class Op>
void check_damaged(const stored_operator& stored, std::string_view part) {
  std::string text = "no error";
  try {
    load<Op>(stored);
  } catch (const tersor::error& e) {
    text = e.what();
  }
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
}
/// Each attribute and tensor of `o` (its own, not its parts'), damaged or lost, is an error that names the
/// operator.
template <class Op>
void check_every_damage(const Op& o) {
  const stored_operator good = save(o);
  for (const auto& [name, value] : good.attributes) {
    INFO("attribute " << name << " = " << value);
    auto bad = good;
    bad.attributes.erase(name);
    check_damaged<Op>(bad, "layer");
    for (const char* text : {"", "x", "-1", "1e9", "99999999999999999999", "1152921504606846976"}) {
      INFO("damaged to " << text);
      bad.attributes[name] = text;
      check_damaged<Op>(bad, "layer");
    }
  }
  for (const auto& [name, value] : good.tensors) {
    INFO("tensor " << name);
    auto bad = good;
    bad.tensors.erase(name);
    check_damaged<Op>(bad, "layer");
    bad = good;
    bad.tensors[name].shape.push_back(1);
    check_damaged<Op>(bad, "layer." + name);
    bad = good;
    ++bad.tensors[name].shape.back();
    check_damaged<Op>(bad, "layer." + name);
    bad = good;
    bad.tensors[name].type = value.type == dtype::i64 ? dtype::u8 : dtype::i64;
    check_damaged<Op>(bad, "layer." + name);
    bad = good;
    bad.tensors[name].bytes.push_back(std::byte{0});
    check_damaged<Op>(bad, "layer." + name);
  }
}

}  // namespace tersor_test
