// tersor - conformance: NF4, FP4 and double quantization against bitsandbytes
// SPDX-License-Identifier: MIT
#include <tersor/quant/nf4.hpp>

#include "vectors.hpp"

namespace quant_nf4_tests {

const conformance::technique nf4{"quant_nf4", {"type", "blocksize", "n"}};

using tersor::quant::level_kind;

void check_tables(const conformance::test_case& c) {
  const auto exact = [&](const char* role, const std::vector<float>& values) {
    if (c.has_output(role)) CHECK(conformance::mismatches(values, c.output_vector(role)) == 0);
  };
  exact("nf4", tersor::normal_float(4).values());
  exact("fp4", tersor::bitsandbytes_fp4().values());
  if (c.has_output("nf4_generated"))
    CHECK(conformance::max_difference(tersor::normal_float(4).values(), c.output_vector("nf4_generated")) <=
          1e-6);
  if (c.has_output("dynamic"))  // the official table comes from sums in float: its last bit may differ
    CHECK(conformance::max_relative(tersor::dynamic_levels(true).values(), c.output_vector("dynamic")) <=
          static_cast<double>(std::numeric_limits<float>::epsilon()));
}

void check(const conformance::test_case& c) {
  if (!c.has_input("W")) return check_tables(c);
  const auto w = c.input("W");
  tersor::quant::nf4 options{
      .block_size = c.option<tersor::index_t>("blocksize", 64),
      .double_quantization = false,
      .levels = c.choice<level_kind>("type", "nf4", {{"nf4", level_kind::normal}, {"fp4", level_kind::fp4}})};
  const auto plain = options(w).op;
  const auto& scales = plain.scales();
  std::vector<float> absmax(static_cast<std::size_t>(scales.size()));
  scales.read(0, absmax);
  CHECK(conformance::mismatches(absmax, c.output_vector("absmax")) == 0);

  const auto values = plain.codes();
  std::vector<std::uint8_t> codes(values.values().begin(), values.values().end());
  if (codes.size() % 2 != 0) codes.push_back(options.rule().levels.code(0.0F));
  using packing = tersor::bit_packing<4, std::uint8_t, tersor::bit_order::high_first>;
  std::vector<std::uint8_t> bytes(packing::words(codes.size()));
  packing::pack(codes, bytes);
  if (options.levels == level_kind::normal) {
    CHECK(conformance::mismatches(bytes, c.output_integers("packed")) == 0);
  } else {  // codes 0 and 8 are both zero
    const auto expected = c.output_integers("packed");
    REQUIRE(bytes.size() == expected.size());
    const auto levels = options.rule().levels;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      for (const int shift : {0, 4}) {
        const auto level = [&](int byte) { return levels[static_cast<std::uint8_t>(byte >> shift & 15)]; };
        REQUIRE(level(bytes[i]) == level(expected[i]));
      }
  }
  if (c.has_output("out"))
    CHECK(conformance::max_relative(plain.to_dense().values(), c.output("out").values()) <= 1e-7);

  options.double_quantization = true;
  const auto twice = options(w).op;
  const double offset = c.scalar("offset");
  CHECK(std::abs(static_cast<double>(twice.scales().offset()) - offset) <= 1e-6 * offset);
  CHECK(conformance::mismatches(twice.scales().codes(), c.output_integers("absmax8")) == 0);
  const auto& largest = twice.scales().reals();
  std::vector<float> absmax2(static_cast<std::size_t>(largest.size()));
  largest.read(0, absmax2);
  CHECK(conformance::max_relative(absmax2, c.output_vector("absmax2")) <= 1e-6);
  twice.scales().read(0, absmax);
  const double most = conformance::max_abs(absmax);
  CHECK(conformance::max_difference(absmax, c.output_vector("absmax_rec"), most) <= 1e-6);
  CHECK(twice.codes() == values);
  CHECK(conformance::max_difference(twice.to_dense().values(), c.output("out_double").values(), most) <=
        1e-6);
}

TEST_CASE("conformance: quant_nf4") { conformance::for_each_case(nf4, check); }

}  // namespace quant_nf4_tests
