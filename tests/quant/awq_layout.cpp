// tersor - tests of quant/awq_layout.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/awq_layout.hpp>
#include <tersor/quant/rtn.hpp>

#include "samples.hpp"

namespace awq_layout_tests {

using namespace tersor_test;
using tersor::index_t;
using namespace tersor::quant;
namespace op = tersor::op;

op::quantized random_operator(index_t out, index_t in, index_t group, std::uint64_t seed, int bits = 4) {
  tersor::random_generator g(seed);
  matrix<std::uint8_t> codes(out, in);
  matrix<float> scale(out, (in + group - 1) / group), zero(scale.rows(), scale.cols());
  for (auto& c : codes.values()) c = static_cast<std::uint8_t>(g.uniform_index(1u << bits));
  for (float& v : scale.values()) v = tersor::f16(static_cast<float>(0.001 + g.uniform()));
  for (float& v : zero.values()) v = static_cast<float>(g.uniform_index(1u << bits));
  return {codes, op::affine_grid(bits, out, in, group, scale.view(), zero.view(), tersor::dtype::f16)};
}

TEST_CASE("awq layout: known words", "[awq_layout]") {
  matrix<std::uint8_t> codes(8, 64);
  for (index_t r = 0; r < 8; ++r)
    for (index_t j = 0; j < 64; ++j) codes(r, j) = static_cast<std::uint8_t>(j == 0 ? r : j % 16);
  const matrix<float> one(8, 1, 1.0F);
  const op::quantized ramp(codes, op::affine_grid(4, 8, 64, 64, one.view(), one.view(), tersor::dtype::f16));
  CHECK(awq_gemm_pack(ramp).qweight(0, 0) == 0x75316420);  // sheet: columns 0 .. 7 with codes 0 .. 7
  // inputs 1, 9, 17, 25 of the first run of 32: codes 1, 9, 1, 9, lowest bits first
  CHECK(static_cast<std::uint16_t>(awq_v2_pack(ramp).qweight(0, 1)) == 0x9191);
}

TEST_CASE("awq layout: gemm by its definition, and back", "[awq_layout]") {
  const std::array<int, 8> order{0, 2, 4, 6, 1, 3, 5, 7};  // nibble i holds output 8 c + order[i]
  for (const auto& [out, in, group] :
       {std::tuple<index_t, index_t, index_t>{8, 1, 1}, {8, 6, 3}, {24, 64, 32}, {16, 64, 64}}) {
    INFO(out << " x " << in << ", groups of " << group);
    const auto value = random_operator(out, in, group, static_cast<std::uint64_t>(in));
    const auto t = awq_gemm_pack(value);
    REQUIRE(t.qweight.rows() == in);
    REQUIRE(t.qzeros.rows() == in / group);
    const auto codes = value.codes();
    bool same = true;
    for (index_t c = 0; c < out / 8; ++c)
      for (std::size_t i = 0; i < 8; ++i) {
        const index_t r = 8 * c + order[i];
        for (index_t j = 0; j < in; ++j)
          same = same && (static_cast<std::uint32_t>(t.qweight(j, c)) >> 4 * i & 15u) == codes(r, j);
        for (index_t g = 0; g < in / group; ++g) {
          same = same && static_cast<int>(static_cast<std::uint32_t>(t.qzeros(g, c)) >> 4 * i & 15u) ==
                             value.grid().zero_point(r, g);
          same = same && static_cast<float>(t.scales(g, r)) == value.grid().scale(r, g);
        }
      }
    CHECK(same);
    const auto back = awq_gemm_unpack(t, group);
    CHECK(back.codes() == codes);
    CHECK(back.to_dense() == value.to_dense());
    const double bytes = 4.0 * static_cast<double>(t.qweight.size() + t.qzeros.size()) +
                         2.0 * static_cast<double>(t.scales.size());
    CHECK(std::abs(8 * bytes / static_cast<double>(out * in) - (4 + 20.0 / static_cast<double>(group))) <=
          1e-12);
  }
}

TEST_CASE("awq layout: v2 by the permutations of the sheet, and back", "[awq_layout]") {
  for (const auto& [out, in, group] :
       {std::tuple<index_t, index_t, index_t>{8, 64, 32}, {16, 128, 64}, {8, 256, 128}, {24, 192, 192}}) {
    INFO(out << " x " << in << ", groups of " << group);
    const auto value = random_operator(out, in, group, static_cast<std::uint64_t>(in));
    const auto t = awq_v2_pack(value);
    const auto codes = value.codes();
    // each run of 32 as (4, 4, 2), first two axes swapped; each 8 reordered 0, 2, 4, 6, 1, 3, 5, 7; four rows
    // interleaved in tiles of 64; four nibbles a word
    const std::array<index_t, 8> order{0, 2, 4, 6, 1, 3, 5, 7};
    std::vector<std::uint8_t> nibbles;
    for (index_t q = 0; q < out / 4; ++q)
      for (index_t tile = 0; tile < in / 64; ++tile)
        for (index_t r = 4 * q; r < 4 * q + 4; ++r)
          for (index_t run = 0; run < 2; ++run) {
            std::array<std::uint8_t, 32> swapped{};
            for (index_t a = 0; a < 4; ++a)
              for (index_t b = 0; b < 4; ++b)
                for (index_t c = 0; c < 2; ++c)
                  swapped[static_cast<std::size_t>(8 * b + 2 * a + c)] =
                      codes(r, 64 * tile + 32 * run + 8 * a + 2 * b + c);
            for (index_t e = 0; e < 4; ++e)
              for (const index_t o : order) nibbles.push_back(swapped[static_cast<std::size_t>(8 * e + o)]);
          }
    REQUIRE(t.qweight.size() * 4 == static_cast<index_t>(nibbles.size()));
    bool same = true;
    for (std::size_t k = 0; k < nibbles.size(); ++k)
      same =
          same && (static_cast<std::uint16_t>(t.qweight.values()[k / 4]) >> 4 * (k % 4) & 15u) == nibbles[k];
    CHECK(same);
    const index_t groups = in / group;
    REQUIRE(t.scales.rows() == awq_v2_groups(in, group));
    for (index_t g = 0; g < t.scales.rows(); ++g)
      for (index_t r = 0; r < out; ++r) {
        const float s = g < groups ? value.grid().scale(r, g) : 0.0F;
        same = same && static_cast<float>(t.scales(g, r)) == s;
        const float z = g < groups ? static_cast<float>(value.grid().zero_point(r, g)) : 0.0F;
        same = same && static_cast<float>(t.scaled_zeros(g, r)) == static_cast<float>(tersor::f16(-s * z));
      }
    CHECK(same);
    const auto back = awq_v2_unpack(t, group);
    CHECK(back.codes() == codes);
    CHECK(back.to_dense() == value.to_dense());
    // what the file's kernel computes differs by the rounding of scale * zero only
    const auto dense = value.to_dense();
    for (index_t r = 0; r < out; ++r)
      for (index_t j = 0; j < in; ++j) {
        const float s = t.scales(j / group, r), product = t.scaled_zeros(j / group, r);
        const float read = static_cast<float>(codes(r, j)) * s + product;
        CHECK(std::fabs(read - dense(r, j)) <= 0x1.01p-11F * std::fabs(product) + 1e-6F * s);
      }
  }
}

TEST_CASE("awq layout: padded groups of v2", "[awq_layout]") {
  // sheet: 8 (groups / 8 rounded up), to multiples of 2 and 4 for groups of 64 and 32
  CHECK(awq_v2_groups(4096, 128) == 32);
  CHECK(awq_v2_groups(256, 128) == 8);
  CHECK(awq_v2_groups(64, 64) == 16);
  CHECK(awq_v2_groups(64, 32) == 32);
  CHECK(awq_v2_groups(11008, 128) == 88);
  CHECK(awq_v2_groups(2048, 32) == 64);
}

TEST_CASE("awq layout: scales at the small end of F16", "[awq_layout]") {
  auto w = random_matrix<float>(8, 64, 1);
  for (float& v : w.values()) v *= 1e-6F;
  const auto value = rtn{.group_size = 32}(w).op;  // subnormal scales
  CHECK(awq_v2_unpack(awq_v2_pack(value), 32).to_dense() == value.to_dense());
  CHECK(awq_gemm_unpack(awq_gemm_pack(value), 32).to_dense() == value.to_dense());
}

TEST_CASE("awq layout: a whole row, and one grid for the tensor", "[awq_layout]") {
  const auto w = random_matrix<float>(16, 192, 1);
  for (const bool per_tensor : {false, true}) {
    const auto value = rtn{.group_size = -1, .per_tensor = per_tensor}(w).op;
    CHECK(awq_gemm_unpack(awq_gemm_pack(value), -1).to_dense() == value.to_dense());
    CHECK(awq_v2_unpack(awq_v2_pack(value), -1).to_dense() == value.to_dense());
  }
  const auto wider = rtn{.group_size = 4096}(w).op;  // a group larger than the row is the row
  CHECK(awq_gemm_unpack(awq_gemm_pack(wider), -1).to_dense() == wider.to_dense());
}

TEST_CASE("awq layout: errors", "[awq_layout]") {
  const auto gemm = [](const op::quantized& v) { return error_text([&] { awq_gemm_pack(v); }); };
  const auto v2 = [](const op::quantized& v) { return error_text([&] { awq_v2_pack(v); }); };
  CHECK(holds(gemm(random_operator(8, 64, 32, 1, 3)), "awq gemm layout: bits = 3: expected 4"));
  CHECK(holds(v2(random_operator(8, 64, 32, 1, 8)), "awq v2 layout: bits = 8: expected 4"));
  CHECK(holds(gemm(random_operator(12, 64, 32, 1)), "awq gemm layout: out_features = 12"));
  CHECK(holds(gemm(random_operator(8, 70, 32, 1)),
              "awq gemm layout: in_features = 70: expected a positive multiple of group_size, 32"));
  CHECK(
      holds(v2(random_operator(8, 96, 32, 1)), "awq v2 layout: in_features = 96: expected a multiple of 64"));
  CHECK(holds(v2(random_operator(8, 64, 16, 1)),
              "awq v2 layout: group_size = 16: expected 32, 64 or at least 128"));
  CHECK(holds(v2(random_operator(8, 192, 96, 1)), "awq v2 layout: group_size = 96"));
  const auto w = random_matrix<float>(8, 64, 1);
  CHECK(
      holds(gemm(rtn{.group_size = 32, .scale_type = tersor::dtype::f32}(w).op), "scale of row 0, group 0"));
  {
    const matrix<float> scale(8, 2, 1.0F), zero(8, 2, 15.0F), large(8, 2, 8192.0F);
    const matrix<std::uint8_t> codes(8, 64);
    std::vector<std::int32_t> g_idx(64);
    g_idx[3] = 1;
    CHECK(holds(
        gemm({codes, op::affine_grid(4, 8, 64, 32, scale.view(), zero.view(), tersor::dtype::f16, g_idx)}),
        "awq gemm layout: g_idx"));
    CHECK(holds(v2({codes, op::affine_grid(4, 8, 64, 32, large.view(), zero.view(), tersor::dtype::f16)}),
                "awq v2 layout: scaled_zeros = -122880"));
  }
  const auto value = random_operator(8, 64, 32, 1);
  const auto unpack_gemm = [&](const auto& change, index_t group = 32) {
    auto t = awq_gemm_pack(value);
    change(t);
    return error_text([&] { awq_gemm_unpack(t, group); });
  };
  const auto unpack_v2 = [&](const auto& change, index_t group = 32) {
    auto t = awq_v2_pack(value);
    change(t);
    return error_text([&] { awq_v2_unpack(t, group); });
  };
  const auto nothing = [](auto&) {};
  CHECK((unpack_gemm(nothing).empty() && unpack_v2(nothing).empty()));
  CHECK(holds(unpack_gemm(nothing, 0), "awq gemm layout: group_size = 0"));
  CHECK(holds(unpack_gemm(nothing, 64), "awq gemm layout: qzeros = 2 x 1: expected 1 x 1"));
  CHECK(holds(unpack_gemm(nothing, 48), "awq gemm layout: in_features = 64"));
  CHECK(holds(unpack_gemm([](auto& t) { t.scales = matrix<tersor::f16>(2, 7); }),
              "awq gemm layout: scales = 2 x 7"));
  CHECK(holds(unpack_gemm([](auto& t) { t.scales(1, 2) = tersor::f16(infinite); }),
              "awq gemm layout: scales[1, 2] = inf"));
  CHECK(holds(unpack_v2(nothing, 64), "awq v2 layout: scales = 32 x 8: expected 16 x 8"));
  CHECK(holds(unpack_v2([](auto& t) { t.scales(1, 2) = tersor::f16(0.0F); }),
              "awq v2 layout: scales[1, 2] = 0: expected a number > 0"));
  CHECK(holds(unpack_v2([](auto& t) { t.scaled_zeros(1, 2) = tersor::f16(1.0F); }),
              "awq v2 layout: scaled_zeros[1, 2] = 1"));
  CHECK(holds(unpack_v2([](auto& t) {
                t.scales(1, 2) = tersor::f16(1.0F);
                t.scaled_zeros(1, 2) = tersor::f16(-2.5F);
              }),
              "awq v2 layout: scaled_zeros[1, 2] = -2.5"));
  CHECK(holds(unpack_v2([](auto& t) { t.scaled_zeros = matrix<tersor::f16>(1, 8); }),
              "awq v2 layout: scaled_zeros = 1 x 8"));
}

}  // namespace awq_layout_tests
