// tersor - tests of quant/ggml_encode.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/ggml_encode.hpp>

#include <map>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

#include <tersor/core/random.hpp>
#include <tersor/op/ggml_decode.hpp>

namespace tersor {
namespace {

constexpr std::array types{ggml_type::q4_0, ggml_type::q4_1, ggml_type::q5_0, ggml_type::q5_1,
                           ggml_type::q8_0};

matrix<float> through(ggml_type type, const matrix<float>& w) {
  matrix<float> v(w.rows(), w.cols());
  op::decode_ggml(type, quant::encode(type, w.view(), {}), v.values());
  return v;
}

TEST_CASE("ggml encode: values of the grid are exact, and so are zeros") {
  for (const auto type : types) {
    INFO(name(type));
    matrix<float> w(2, 32);
    CHECK(through(type, w) == w);
    // every level, and the ends of the range: a scale of 1/2
    const int levels = type == ggml_type::q8_0 ? 255 : info(type).bytes < 22 ? 16 : 32;
    const int first = type == ggml_type::q8_0 ? -127 : -levels / 2;
    for (index_t j = 0; j < 64; ++j)
      w.data()[j] =
          0.5F * static_cast<float>(first + (j % 32 == 31 ? levels - 1 : static_cast<int>(j) % levels));
    for (index_t r = 0; r < 2; ++r) w(r, 0) = 0.5F * static_cast<float>(first);
    CHECK(through(type, w) == w);
  }
}

TEST_CASE("ggml encode: no value moves by more than a step, and more bits are closer") {
  random_generator random(3);
  matrix<float> w(7, 96);
  for (float& v : w.values()) v = static_cast<float>(random.normal());
  std::map<ggml_type, double> errors;
  for (const auto type : types) {
    const auto v = through(type, w);
    const int steps = type == ggml_type::q8_0 ? 254 : info(type).bytes < 22 ? 15 : 31;
    for (index_t i = 0; i < w.size(); ++i) {
      const double e = std::abs(static_cast<double>(v.data()[i] - w.data()[i]));
      CHECK(e < 2.0 * 4.5 / steps);
      errors[type] += e * e;
    }
  }
  CHECK(errors[ggml_type::q8_0] < errors[ggml_type::q5_1]);
  CHECK(errors[ggml_type::q5_0] < errors[ggml_type::q4_0]);
  CHECK(errors[ggml_type::q5_1] < errors[ggml_type::q4_1]);
}

TEST_CASE("ggml encode: what is wrong is named") {
  matrix<float> w(1, 31);
  CHECK(
      test::holds(test::error_of([&] { quant::encode(ggml_type::q4_0, w.view(), {}); }), {"columns", "31"}));
  matrix<float> large(1, 32);
  large(0, 0) = 1e9F;
  CHECK(test::holds(test::error_of([&] { quant::encode(ggml_type::q4_0, large.view(), {}); }), {"65504"}));
  CHECK(test::holds(test::error_of([&] { quant::encode(ggml_type::q6_k, large.view(), {}); }), {"Q6_K"}));
}

}  // namespace
}  // namespace tersor
