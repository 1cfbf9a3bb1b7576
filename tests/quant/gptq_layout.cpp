// tersor - tests of quant/gptq_layout.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/gptq_layout.hpp>

#include "samples.hpp"

namespace gptq_layout_tests {

using namespace tersor_test;
using tersor::index_t;
using namespace tersor::quant;
namespace op = tersor::op;

struct sample {
  matrix<std::uint8_t> codes;
  matrix<float> scale, zero;
  std::vector<std::int32_t> g_idx;
  op::quantized value;
};

/// Random codes, scales that F16 holds and zero points from `least_zero` up.
sample random_operator(int bits, index_t out, index_t in, index_t group, bool scattered, unsigned least_zero,
                       std::uint64_t seed) {
  tersor::random_generator g(seed);
  const index_t groups = (in + group - 1) / group;
  sample s{matrix<std::uint8_t>(out, in), matrix<float>(out, groups), matrix<float>(out, groups), {}, {}};
  for (auto& c : s.codes.values()) c = static_cast<std::uint8_t>(g.uniform_index(1u << bits));
  for (float& v : s.scale.values()) v = tersor::f16(static_cast<float>(0.01 + g.uniform()));
  for (float& v : s.zero.values())
    v = static_cast<float>(least_zero + g.uniform_index((1u << bits) - least_zero));
  if (scattered)
    for (index_t j = 0; j < in; ++j)
      s.g_idx.push_back(static_cast<std::int32_t>(g.uniform_index(static_cast<std::uint64_t>(groups))));
  s.value = op::quantized(s.codes, op::affine_grid(bits, out, in, group, s.scale.view(), s.zero.view(),
                                                   tersor::dtype::f16, s.g_idx));
  return s;
}

/// Bit `bit` of the stream of words: word bit / 32, lowest first.
template <class Word>
int bit_of(std::size_t bit, const Word& word) {
  return static_cast<int>(static_cast<std::uint32_t>(word(static_cast<index_t>(bit / 32))) >> (bit % 32) &
                          1u);
}

TEST_CASE("gptq layout: every bit by the format's definition", "[gptq_layout]") {
  // Code k of `bits` bits is bits k * bits ... of a dense stream: for 2, 4 and 8 bits no code crosses a word,
  // for 3 bits that is the three-word pattern (sheet: channel 10 in bits 30, 31 and 0; 21 in 31 and 0, 1).
  for (const int bits : {2, 3, 4, 8})
    for (const auto& [out, in, group] : {std::tuple<index_t, index_t, index_t>{32, 32, 32},
                                         {32, 96, 32},
                                         {64, 96, 64},
                                         {96, 32, 128},
                                         {32, 64, 1}})
      for (const auto variant : {gptq_variant::v1, gptq_variant::v2})
        for (const bool scattered : {false, true}) {
          INFO(bits << " bits, " << out << " x " << in << ", groups of " << group);
          const auto s = random_operator(bits, out, in, group, scattered, variant == gptq_variant::v1,
                                         static_cast<std::uint64_t>(bits + in));
          const auto t = gptq_pack(s.value, variant);
          REQUIRE(t.qweight.rows() == in * bits / 32);
          REQUIRE(t.qweight.cols() == out);
          REQUIRE(t.qzeros.rows() == s.scale.cols());
          REQUIRE(t.qzeros.cols() == out * bits / 32);
          bool same = true;
          for (index_t r = 0; r < out; ++r)
            for (index_t j = 0; j < in; ++j)
              for (int b = 0; b < bits; ++b)
                same = same && bit_of(static_cast<std::size_t>(j * bits + b),
                                      [&](index_t w) { return t.qweight(w, r); }) == (s.codes(r, j) >> b & 1);
          for (index_t g = 0; g < s.scale.cols(); ++g)
            for (index_t r = 0; r < out; ++r) {
              const int stored = static_cast<int>(s.zero(r, g)) - (variant == gptq_variant::v1 ? 1 : 0);
              for (int b = 0; b < bits; ++b)
                same = same && bit_of(static_cast<std::size_t>(r * bits + b),
                                      [&](index_t w) { return t.qzeros(g, w); }) == (stored >> b & 1);
              same = same && static_cast<float>(t.scales(g, r)) == s.scale(r, g);
            }
          for (index_t j = 0; j < in; ++j)
            same = same && t.g_idx[static_cast<std::size_t>(j)] ==
                               (scattered ? s.g_idx[static_cast<std::size_t>(j)] : j / group);
          CHECK(same);

          const auto back = gptq_unpack(t, bits, group, variant);
          CHECK(back.codes() == s.codes);
          CHECK(back.to_dense() == s.value.to_dense());
          CHECK(back.grid().g_idx().empty() == (!scattered || s.scale.cols() == 1));
          const auto again = gptq_pack(back, variant);
          CHECK((again.qweight == t.qweight && again.qzeros == t.qzeros && again.g_idx == t.g_idx));
        }
}

TEST_CASE("gptq layout: known words", "[gptq_layout]") {
  const auto w = random_matrix<float>(32, 64, 1);
  const auto symmetric =
      rtn{.bits = 4, .group_size = 32, .scheme = tersor::solve::grid_scheme::sym_unsigned}(w).op;
  const auto v1 = gptq_pack(symmetric, gptq_variant::v1), v2 = gptq_pack(symmetric, gptq_variant::v2);
  for (const auto word : v1.qzeros.values()) CHECK(word == 0x77777777);  // sheet
  for (const auto word : v2.qzeros.values()) CHECK(static_cast<std::uint32_t>(word) == 0x88888888u);
  CHECK(v1.qweight == v2.qweight);
  // the first eight codes of a row, lowest bits first
  matrix<std::uint8_t> codes(8, 8);
  for (index_t j = 0; j < 8; ++j) codes(0, j) = static_cast<std::uint8_t>(j);
  const matrix<float> one(8, 1, 1.0F);
  const op::quantized ramp(codes, op::affine_grid(4, 8, 8, 8, one.view(), one.view(), tersor::dtype::f16));
  CHECK(gptq_pack(ramp, gptq_variant::v1).qweight(0, 0) == 0x76543210);
}

TEST_CASE("gptq layout: what GPTQ returns goes through a checkpoint", "[gptq_layout]") {
  const auto w = random_matrix<float>(64, 96, 1);
  const auto inputs = statistics_of(correlated_inputs(200, 96, 2));
  for (const int bits : {2, 3, 4, 8})
    for (const index_t group : {index_t{-1}, index_t{32}, index_t{40}})
      for (const bool act_order : {false, true})
        for (const auto scheme :
             {tersor::solve::grid_scheme::affine0, tersor::solve::grid_scheme::sym_unsigned}) {
          const auto packed =
              gptq{.bits = bits, .group_size = group, .scheme = scheme, .act_order = act_order}(w, inputs).op;
          const auto t = gptq_pack(packed, gptq_variant::v2);
          const auto back = gptq_unpack(t, bits, group, gptq_variant::v2);
          CHECK(back.to_dense() == packed.to_dense());
          const std::size_t bytes = 4 * static_cast<std::size_t>(t.qweight.size() + t.qzeros.size()) +
                                    2 * static_cast<std::size_t>(t.scales.size()) + 4 * t.g_idx.size();
          const double g = group < 0 ? 96 : static_cast<double>(group), groups = std::ceil(96 / g);
          CHECK(8.0 * static_cast<double>(bytes) / (64 * 96) ==
                bits + (16.0 + bits) * groups / 96 + 32.0 / 64);  // the documented bits per weight
        }
  // one grid for the whole tensor is written out for every output
  const auto whole = rtn{.bits = 4, .group_size = -1, .per_tensor = true}(w).op;
  CHECK(gptq_unpack(gptq_pack(whole, gptq_variant::v2), 4, -1, gptq_variant::v2).to_dense() ==
        whole.to_dense());
}

TEST_CASE("gptq layout: zero points of version 1", "[gptq_layout]") {
  for (const int bits : {2, 3, 4, 8}) {
    auto s = random_operator(bits, 32, 32, 32, false, 0, 1);
    s.zero(5, 0) = 0;
    const op::quantized with_zero(
        s.codes, op::affine_grid(bits, 32, 32, 32, s.scale.view(), s.zero.view(), tersor::dtype::f16));
    for (index_t r = 0; r < 5; ++r)
      if (s.zero(r, 0) == 0) s.zero(r, 0) = 1;
    const op::quantized checked(
        s.codes, op::affine_grid(bits, 32, 32, 32, s.scale.view(), s.zero.view(), tersor::dtype::f16));
    CHECK(holds(error_text([&] { gptq_pack(checked, gptq_variant::v1); }),
                "gptq layout v1: zero point of row 5, group 0 = 0: expected at least 1"));
    // read all the same: a stored N, masked after adding 1, is 0
    auto t = gptq_pack(with_zero, gptq_variant::v2);
    for (auto& word : t.qzeros.values()) word = -1;
    const auto back = gptq_unpack(t, bits, 32, gptq_variant::v1);
    for (index_t r = 0; r < 32; ++r) CHECK(back.grid().zero_point(r, 0) == 0);
    // the same words mean other weights in the other version
    const auto other = gptq_unpack(t, bits, 32, gptq_variant::v2);
    for (index_t r = 0; r < 32; ++r) CHECK(other.grid().zero_point(r, 0) == (1 << bits) - 1);
  }
}

TEST_CASE("gptq layout: without g_idx groups are runs", "[gptq_layout]") {
  const auto s = random_operator(4, 32, 96, 32, false, 1, 3);
  auto t = gptq_pack(s.value, gptq_variant::v1);
  t.g_idx.clear();
  CHECK(gptq_unpack(t, 4, 32, gptq_variant::v1).to_dense() == s.value.to_dense());
}

TEST_CASE("gptq layout: errors", "[gptq_layout]") {
  const auto pack = [](int bits, index_t out, index_t in) {
    return error_text(
        [&] { gptq_pack(random_operator(bits, out, in, 8, false, 1, 1).value, gptq_variant::v1); });
  };
  CHECK(holds(pack(5, 32, 32), "gptq layout: bits = 5: expected 2, 3, 4 or 8"));
  CHECK(holds(pack(4, 32, 12), "gptq layout: in_features = 12: expected a positive multiple of 8"));
  CHECK(holds(pack(3, 32, 48), "gptq layout: in_features = 48: expected a positive multiple of 32"));
  CHECK(holds(pack(4, 12, 32), "gptq layout: out_features = 12: expected a positive multiple of 8"));
  CHECK(pack(4, 8, 8).empty());
  const auto w = random_matrix<float>(32, 32, 1);
  CHECK(holds(error_text([&] { gptq_pack(rtn{.scale_type = tersor::dtype::f32}(w).op, gptq_variant::v2); }),
              "scale of row 0, group 0"));

  const auto good = gptq_pack(random_operator(4, 32, 96, 32, false, 1, 3).value, gptq_variant::v1);
  const auto unpack = [&](const auto& change, int bits = 4, index_t group = 32) {
    auto t = good;
    change(t);
    return error_text([&] { gptq_unpack(t, bits, group, gptq_variant::v1); });
  };
  const auto nothing = [](auto&) {};
  CHECK(unpack(nothing).empty());
  CHECK(holds(unpack(nothing, 7), "gptq layout: bits = 7"));
  CHECK(holds(unpack(nothing, 4, 0), "gptq layout: group_size = 0: expected -1 or at least 1"));
  CHECK(holds(unpack(nothing, 4, 64), "gptq layout: scales = 3 x 32: expected 2 x 32"));
  CHECK(holds(unpack(nothing, 8), "gptq layout: scales"));  // other bits: other extents
  CHECK(holds(unpack([](auto& t) { t.qzeros = matrix<std::int32_t>(3, 5); }), "gptq layout: qzeros = 3 x 5"));
  CHECK(holds(unpack([](auto& t) { t.qweight = matrix<std::int32_t>(10, 32); }, 3),
              "gptq layout: in_features"));
  CHECK(holds(unpack([](auto& t) { t.qweight = {}; }), "gptq layout: qweight = 0 x 0"));
  CHECK(holds(unpack([](auto& t) { t.g_idx.pop_back(); }), "gptq layout: length of g_idx = 95: expected 96"));
  CHECK(holds(unpack([](auto& t) { t.g_idx[4] = 3; }), "g_idx = 3: expected 0 .. 2"));
  CHECK(holds(unpack([](auto& t) { t.g_idx[4] = -1; }), "g_idx = -1"));
  CHECK(holds(unpack([](auto& t) { t.scales(1, 2) = tersor::f16(not_a_number); }),
              "gptq layout: scales[1, 2] = nan"));
}

}  // namespace gptq_layout_tests
