// tersor - tests of quant/rtn.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/rtn.hpp>

#include "samples.hpp"

namespace rtn_tests {

using namespace tersor_test;
using tersor::dtype;
using tersor::index_t;
using tersor::quant::rtn;
using tersor::solve::grid_scheme;

struct shape {
  index_t out, in, group;
};
// ragged last groups, groups larger than the row, single rows, columns and weights
const std::vector<shape> shapes{{1, 1, 1},  {1, 1, -1},  {1, 37, 8}, {5, 1, 128},
                                {8, 30, 7}, {6, 64, 16}, {3, 20, 1}, {16, 33, -1}};
const std::array schemes{grid_scheme::affine0, grid_scheme::sym_unsigned, grid_scheme::sym_signed,
                         grid_scheme::affine_minmax};

TEST_CASE("rtn: every weight is within half a step of its value", "[rtn]") {
  for (const auto& [out, in, group] : shapes)
    for (int bits = 2; bits <= 8; ++bits)
      for (const auto scheme : {grid_scheme::affine0, grid_scheme::sym_unsigned, grid_scheme::sym_signed})
        for (const auto type : {dtype::f32, dtype::f16, dtype::bf16}) {
          INFO(out << " x " << in << ", groups of " << group << ", " << bits << " bits");
          const auto w = random_matrix<float>(out, in, static_cast<std::uint64_t>(100 * bits + in));
          const auto op = rtn{.bits = bits, .group_size = group, .scheme = scheme, .scale_type = type}(w).op;
          const auto q = op.to_dense();
          bool close = true;
          for (index_t r = 0; r < out; ++r)
            for (index_t j = 0; j < in; ++j) {
              const float s = op.grid().scale(r, group < 0 ? 0 : j / group);
              close = close &&
                      std::fabs(q(r, j) - w(r, j)) <= s * (0.5F + 2.4e-7F * static_cast<float>(1 << bits));
            }
          CHECK(close);
        }
}

TEST_CASE("rtn: the operator stores what its documentation counts", "[rtn]") {
  const index_t out = 32, in = 256;
  const auto w = random_matrix<float>(out, in, 1);
  for (int bits = 2; bits <= 8; ++bits)
    for (const index_t g : {index_t{32}, index_t{128}, index_t{-1}}) {
      const double group = static_cast<double>(g < 0 ? in : g);
      const auto affine = rtn{.bits = bits, .group_size = g}(w);
      CHECK(std::abs(affine.report.bits_per_weight - (bits + (16 + bits) / group)) <= 1e-9);
      const auto symmetric = rtn{.bits = bits, .group_size = g, .scheme = grid_scheme::sym_unsigned}(w);
      CHECK(std::abs(symmetric.report.bits_per_weight - (bits + 16 / group)) <= 1e-9);
      CHECK(affine.report.bytes == affine.op.storage().bytes());
    }
}

TEST_CASE("rtn: a matrix on its grid comes back", "[rtn]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const index_t group : {index_t{8}, index_t{12}, index_t{-1}})
      for (std::uint64_t seed = 0; seed < 5; ++seed) {
        tersor::random_generator g(seed);
        const index_t out = 6, in = 24, size = group < 0 ? in : group;
        matrix<float> w(out, in);
        for (index_t r = 0; r < out; ++r)
          for (index_t j = 0; j < in; j += size) {
            const float s = std::ldexp(1.0F, static_cast<int>(g.uniform_index(8)) - 6);
            const auto z = static_cast<float>(g.uniform_index(1u << bits));
            for (index_t k = 0; k < size; ++k) {
              const auto code = k == 0 ? 0u : k == 1 ? (1u << bits) - 1 : g.uniform_index(1u << bits);
              w(r, j + k) = s * (static_cast<float>(code) - z);
            }
          }
        const auto result = rtn{.bits = bits, .group_size = group}(w);
        CHECK(result.op.to_dense() == w);
        CHECK(result.report.max_error == 0.0);
        CHECK(rtn{.bits = bits, .group_size = group}(result.op.to_dense()).op.codes() == result.op.codes());
      }
}

TEST_CASE("rtn: constant, zero and one-sided weights", "[rtn]") {
  for (int bits = 2; bits <= 8; ++bits)
    for (const auto scheme : schemes) {
      const rtn q{.bits = bits, .group_size = 4, .scheme = scheme};
      CHECK(q(matrix<float>(3, 10)).op.to_dense() == matrix<float>(3, 10));
      auto w = random_matrix<float>(4, 10, 2);
      for (index_t j = 0; j < 10; ++j) w(1, j) = 0;  // a row and a column of zeros stay zeros
      for (index_t r = 0; r < 4; ++r) w(r, 6) = 0;
      const auto dense = q(w).op.to_dense();
      for (index_t j = 0; j < 10; ++j) CHECK(dense(1, j) == 0.0F);
      for (index_t r = 0; r < 4; ++r) CHECK(dense(r, 6) == 0.0F);
    }
  for (const float c : {0.5F, -3.0F}) {  // one code is exactly the bound of the range
    const auto q = rtn{.bits = 4, .group_size = 4, .scale_type = dtype::f32}(matrix<float>(2, 9, c)).op;
    const auto dense = q.to_dense();
    for (const float v : dense.values()) CHECK(std::fabs(v - c) <= 2e-7F * std::fabs(c));
  }
}

TEST_CASE("rtn: one grid for the tensor", "[rtn]") {
  for (const auto& [out, in, group] : shapes) {
    const auto w = random_matrix<float>(out, in, 3);
    const auto op = rtn{.bits = 3, .group_size = group, .per_tensor = true}(w).op;
    matrix<float> flat(1, out * in);
    std::ranges::copy(w.values(), flat.values().begin());
    const auto row = rtn{.bits = 3, .group_size = -1}(flat).op;
    CHECK(std::ranges::equal(op.to_dense().values(), row.to_dense().values()));
    CHECK(op.grid().scales().size() == 1);
  }
}

TEST_CASE("rtn: finer and searched grids", "[rtn]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    auto w = random_matrix<float>(16, 128, seed);
    for (index_t r = 0; r < 16; ++r) w(r, 7 * r) *= 8;  // outliers
    double row = 0, previous = 1e9;
    for (const index_t group : {index_t{-1}, index_t{32}, index_t{8}}) {
      const double e = rtn{.bits = 4, .group_size = group}(w).report.relative_error;
      CHECK(e < previous);
      previous = e;
      if (group < 0) row = e;
    }
    previous = 1e9;
    for (int bits = 2; bits <= 8; ++bits) {
      const double e = rtn{.bits = bits, .group_size = 32}(w).report.relative_error;
      CHECK(e < previous);
      previous = e;
    }
    CHECK(rtn{.bits = 4, .group_size = -1, .clip_search = true, .norm = 2}(w).report.relative_error < row);
  }
}

TEST_CASE("rtn: a clip search never has a larger error", "[rtn]") {
  for (const auto& [out, in, group] : shapes)
    for (const auto scheme : schemes)
      for (const int bits : {2, 4, 8})
        for (const float norm : {2.0F, 2.4F}) {
          const auto w = random_matrix<float>(out, in, static_cast<std::uint64_t>(bits + in));
          rtn options{.bits = bits, .group_size = group, .scheme = scheme, .norm = norm};
          const auto loss = [&] {
            const auto q = options(w).op.to_dense();
            double sum = 0;
            for (index_t i = 0; i < w.size(); ++i)
              sum += std::pow(std::abs(static_cast<double>(q.data()[i]) - static_cast<double>(w.data()[i])),
                              static_cast<double>(norm));
            return sum;
          };
          const double plain = loss();
          options.clip_search = true;
          CHECK(loss() <= plain * (1 + 1e-5));  // the search adds up powers of floats
        }
}

TEST_CASE("rtn: inputs only add to the report", "[rtn]") {
  const auto w = random_matrix<float>(5, 12, 1), x = random_matrix<float>(9, 12, 2);
  const auto inputs = statistics_of(x);
  const auto with = rtn{}(w, &inputs), without = rtn{}(w);
  CHECK(with.op.to_dense() == without.op.to_dense());
  CHECK(with.report.weighted_error.has_value());
  CHECK_FALSE(without.report.weighted_error.has_value());
}

TEST_CASE("rtn: zeros of a constraint stay exact zeros", "[rtn]") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const auto scheme : schemes)
      for (int bits = 2; bits <= 8; ++bits) {
        tersor::solve::layer l{.weight = random_matrix<float>(6, 20, seed)};
        l.sparsity.kept = random_mask(6, 20, 0.5, seed + 1);
        const rtn q{.bits = bits, .group_size = 8, .scheme = scheme};
        const auto outcome = q.compress(l);
        CHECK(outcome.op.kind() == "sparse_bitmap");
        CHECK(outcome.sparsity.kept == l.sparsity.kept);
        const auto dense = outcome.op.to_dense(), full = q(l.weight).op.to_dense();
        for (index_t i = 0; i < dense.size(); ++i)
          CHECK(dense.data()[i] == (l.sparsity.kept.data()[i] != 0 ? full.data()[i] : 0.0F));
        // n:m
        l.sparsity = {matrix<std::uint8_t>(6, 20), 2, 4, {}};
        for (index_t r = 0; r < 6; ++r)
          for (index_t j = 0; j < 20; ++j) l.sparsity.kept(r, j) = (j + r) % 4 < 2;
        const auto halves = q.compress(l);
        const auto* nm = halves.op.as<tersor::op::sparse_nm>();
        REQUIRE(nm != nullptr);
        CHECK(nm->values().is_quantized());
        CHECK(nm->values().grid().bits() == bits);
        for (index_t i = 0; i < dense.size(); ++i)
          if (l.sparsity.kept.data()[i] == 0) CHECK(halves.op.to_dense().data()[i] == 0.0F);
      }
}

TEST_CASE("rtn: tiny and huge weights", "[rtn]") {
  for (const float size : {1e-38F, 1e-20F, 1e-9F}) {
    auto w = random_matrix<float>(3, 10, 1);
    for (float& v : w.values()) v *= size;
    const auto half = rtn{.bits = 4, .group_size = 5}(w).op;  // below F16: the smallest scale, zeros
    CHECK(half.to_dense() == matrix<float>(3, 10));
    const auto wide = rtn{.bits = 4, .group_size = 5, .scale_type = dtype::f32}(w);
    CHECK(wide.report.max_error <= 0.2 * static_cast<double>(size));
  }
  auto w = random_matrix<float>(3, 10, 1);
  w(1, 2) = 1e7F;
  CHECK(holds(error_text([&] { rtn{}(w); }), "scale = "));
  CHECK(holds(error_text([&] { rtn{}(w); }), "65504"));
  CHECK(rtn{.scale_type = dtype::bf16}(w).report.relative_error < 0.1);
  CHECK(rtn{.scale_type = dtype::f32}(w).report.relative_error < 0.1);
}

TEST_CASE("rtn: errors", "[rtn]") {
  const auto w = random_matrix<float>(3, 4, 1);
  CHECK(holds(error_text([&] { rtn{.bits = 1}(w); }), "rtn: bits = 1: expected 2 .. 8"));
  CHECK(holds(error_text([&] { rtn{.bits = 9}(w); }), "rtn: bits = 9"));
  CHECK(holds(error_text([&] { rtn{.group_size = 0}(w); }), "rtn: group_size = 0"));
  CHECK(holds(error_text([&] { rtn{.group_size = -2}(w); }), "rtn: group_size = -2"));
  CHECK(holds(error_text([&] { rtn{.norm = not_a_number}(w); }), "rtn: norm = nan"));
  CHECK(holds(error_text([&] { rtn{.max_shrink = 1.5F}(w); }), "rtn: max_shrink = 1.5"));
  CHECK(holds(error_text([&] { rtn{.scale_type = dtype::i8}(w); }), "storage type"));
  auto bad = w;
  bad(2, 1) = not_a_number;
  CHECK(error_text([&] { rtn{}(bad); }) == "weight[2, 1] = nan: expected a finite number");
  bad(2, 1) = infinite;
  CHECK(holds(error_text([&] { rtn{}(bad); }), "weight[2, 1] = inf"));
  CHECK(holds(error_text([&] { rtn{}(matrix<float>(0, 4)); }), "weight = 0 x 4"));
}

}  // namespace rtn_tests
