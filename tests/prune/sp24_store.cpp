// tersor - tests of prune/sp24_store.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/sp24_store.hpp>
#include <tersor/quant/rtn.hpp>

#include "../op/memory_archive.hpp"
#include "samples.hpp"

namespace sp24_store_tests {

using namespace tersor_test;
using namespace tersor::prune;
using tersor::index_t;

TEST_CASE("sp24: to and from the operator", "[sp24]") {
  for (const bool holes : {false, true}) {
    const auto w = random_24(6, 24, 3, holes);
    const auto m = sp24_encode(w.view());
    const auto o = to_operator(m);
    CHECK(o.to_dense() == w);
    CHECK(to_sp24(o) == m);
    // 24 columns are 6 groups: the operator's stream of positions is the portable layout byte by byte
    const auto stored = save(o);
    CHECK(std::ranges::equal(std::as_bytes(std::span(m.codes)), stored.tensors.at("positions").bytes));
  }
  CHECK(to_sp24(to_operator(sp24_encode(random_24(4, 8, 2).view()), tersor::dtype::bf16)).values.size() ==
        16);
  const auto w = random_matrix<float>(4, 8, 1);
  const tersor::op::sparse_nm wrong(
      4, 4, matrix<std::uint8_t>(4, 8, 1),
      tersor::op::element_store(tersor::store_as(tersor::dtype::f32, w.view())));
  CHECK_THROWS_AS(to_sp24(wrong), tersor::error);
}

TEST_CASE("sp24: 8-bit values to and from the operator, and to the GPU", "[sp24]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{1, 4}, {6, 24}, {32, 64}})
    for (const bool holes : {false, true}) {
      const auto w = random_24<std::int8_t>(rows, cols, 3, holes);
      const auto m = sp24_encode(w.view());
      std::vector<float> scale;
      for (index_t r = 0; r < rows; ++r) scale.push_back(0.37F * static_cast<float>(r + 1));
      const auto o = to_operator(m, scale);
      CHECK(o.values().is_quantized());
      CHECK(to_sp24_int8(o) == m);
      const auto dense = o.to_dense();
      for (index_t r = 0; r < rows; ++r)
        for (index_t j = 0; j < cols; ++j)
          CHECK(dense(r, j) == scale[static_cast<std::size_t>(r)] * static_cast<float>(w(r, j)));
      CHECK(tersor::op::storage_of(o).bytes() ==
            static_cast<std::size_t>(rows * cols / 2 + (rows * cols / 4 + 1) / 2 + 4 * rows));
    }
  // what a quantizer after a 2:4 pruner stores, with groups: scale * integer is the weight
  const auto w = random_24(32, 128, 5);
  const auto kept = sp24_kept(sp24_encode(w.view()));
  const tersor::quant::rtn rtn{
      .bits = 8, .group_size = 32, .scheme = tersor::solve::grid_scheme::sym_unsigned};
  const auto outcome = rtn.compress({.weight = w, .sparsity = {kept, 2, 4}});
  const auto* o = outcome.op.as<tersor::op::sparse_nm>();
  REQUIRE(o != nullptr);
  const auto half = to_sp24_int8(*o);
  const auto integers = sp24_decode(half);
  const auto dense = o->to_dense();
  for (index_t r = 0; r < 32; ++r)
    for (index_t j = 0; j < 128; ++j)
      CHECK(dense(r, j) == o->values().grid().scale(r, j / 32) * static_cast<float>(integers(r, j)));
  const auto meta = sp24_gpu_metadata<std::uint32_t>(half);
  CHECK(sp24_from_gpu<std::uint32_t>(32, 128, half.values, std::span<const std::uint32_t>(meta)) == half);
  // an affine grid of positive weights has codes above 127 and zero point 0
  const tersor::quant::rtn affine{.bits = 8, .group_size = -1};
  const auto unsigned_codes = affine.compress({.weight = w, .sparsity = {kept, 2, 4}});
  CHECK_THROWS_AS(to_sp24_int8(*unsigned_codes.op.as<tersor::op::sparse_nm>()), tersor::error);
  CHECK_THROWS_AS(to_sp24_int8(to_operator(sp24_encode(w.view()))), tersor::error);  // reals
  CHECK_THROWS_AS(to_operator(sp24_encode(random_24<std::int8_t>(2, 4, 1).view()), std::vector<float>{1.0F}),
                  tersor::error);
}

TEST_CASE("sp24: as a stage", "[sp24]") {
  const auto w = random_24(16, 64, 5, true);
  const auto result = sp24_store{}(w);
  CHECK(result.op.kind() == "sparse_nm");
  CHECK(result.op.to_dense() == w);
  CHECK(result.report.bytes == sp24_bytes(16, 64, 32));
  const sp24_store half{.value_type = tersor::dtype::f16};
  CHECK(half(w).report.bits_per_weight == 9.0);
  CHECK_THROWS_AS(sp24_store{}(random_matrix<float>(4, 8, 1)), tersor::error);
  CHECK_THROWS_AS(sp24_store{}(matrix<float>(4, 6)), tersor::error);
  auto bad = w;
  bad(3, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(culprit([&] { sp24_store{}(bad); }) == "weight[3, 1]");
  const auto outcome = half.compress({.weight = w});
  CHECK((outcome.sparsity.n == 2 && outcome.sparsity.m == 4));
  for (index_t i = 0; i < w.size(); ++i)
    if (w.data()[i] != 0.0F) CHECK(outcome.sparsity.kept.data()[i] == 1);
  // after a 2:4 pruner its own positions are taken
  const auto before = tersor::solve::select_nm(random_matrix<float>(16, 64, 1), {2, 4});
  const auto dense = tersor::solve::masked(random_matrix<float>(16, 64, 2), before);
  CHECK(sp24_store{}.compress({.weight = dense, .sparsity = {before, 2, 4}}).sparsity.kept == before);
}

}  // namespace sp24_store_tests
