// tersor - tests of quant/ggml_encode.hpp
// SPDX-License-Identifier: MIT
#include <tersor/quant/ggml_encode.hpp>

#include <map>

#include "catch.hpp"
#include "ggml_reference.hpp"
#include "io/temporary_folder.hpp"

#include <tersor/core/random.hpp>
#include <tersor/io/safetensors.hpp>
#include <tersor/op/ggml_decode.hpp>

namespace tersor {
namespace ggml_encode_tests {

using quant::encodable_types;
using test::error_of;
using test::holds;

matrix<float> through(ggml_type type, const matrix<float>& w, std::span<const float> importance = {}) {
  return tersor_test::ggml_values(type, quant::encode(type, w.view(), importance), w.rows(), w.cols());
}

matrix<float> normal(index_t rows, index_t cols, std::uint64_t seed, float scale = 1.0F) {
  random_generator random(seed);
  matrix<float> w(rows, cols);
  for (float& v : w.values()) v = scale * static_cast<float>(random.normal());
  return w;
}
std::vector<float> importances(index_t cols, std::uint64_t seed) {
  random_generator random(seed);
  std::vector<float> v(static_cast<std::size_t>(cols));
  for (float& x : v) x = static_cast<float>(std::exp(1.5 * random.normal()));
  return v;
}

double squared_error(const matrix<float>& a, const matrix<float>& b, std::span<const float> importance = {}) {
  double sum = 0;
  for (index_t r = 0; r < a.rows(); ++r)
    for (index_t j = 0; j < a.cols(); ++j) {
      const double e = static_cast<double>(a(r, j)) - static_cast<double>(b(r, j));
      sum +=
          e * e * (importance.empty() ? 1.0 : static_cast<double>(importance[static_cast<std::size_t>(j)]));
    }
  return sum;
}

// Where the compiler may fuse a product and a sum, codes at the edge between two come out differently.
bool fuses() {
  volatile float a = 1.0F + 0x1p-12F;
  const float x = a, y = a, z = -(1.0F + 0x1p-11F);
  return x * y + z != 0.0F;
}

TEST_CASE("ggml encode: the bytes of ggml's own library", "[ggml]") {
  const io::safetensors_file file(std::filesystem::path(TERSOR_SOURCE_DIR) /
                                  "tests/data/gguf/encoded.safetensors");
  matrix<float> x(5, 512);
  std::ranges::copy(file.read_tensor<float>("x"), x.values().begin());
  const auto weights = file.read_tensor<float>("importance");
  for (const auto type : encodable_types)
    for (const bool weighted : {false, true}) {
      if (weighted && !quant::uses_importance(type)) continue;
      INFO(name(type) << (weighted ? " with importance" : ""));
      const auto expected = file.bytes(concat(name(type), weighted ? ".weighted" : ".plain"));
      const auto bytes =
          quant::encode(type, x.view(), weighted ? std::span(weights) : std::span<const float>{});
      REQUIRE(bytes.size() == expected.size());
      std::size_t different = 0;
      for (std::size_t i = 0; i < bytes.size(); ++i) different += bytes[i] != expected[i] ? 1U : 0U;
      if (!fuses()) CHECK(different == 0);
      CHECK(different <= bytes.size() / 50);
    }
}

// By hand.
TEST_CASE("ggml encode: values of the grid are exact, and so are zeros", "[ggml]") {
  for (const auto type :
       {ggml_type::q4_0, ggml_type::q4_1, ggml_type::q5_0, ggml_type::q5_1, ggml_type::q8_0}) {
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

TEST_CASE("ggml encode: ternary types are exact for -d, 0, d, FP4 types for levels times their scale",
          "[ggml]") {
  random_generator random(1);
  matrix<float> w(3, 512);
  for (const auto type : {ggml_type::tq1_0, ggml_type::tq2_0}) {
    INFO(name(type));
    for (float& v : w.values())
      v = 0.375F * static_cast<float>(static_cast<int>(random.uniform_index(3)) - 1);
    CHECK(through(type, w) == w);
  }
  for (const auto type : {ggml_type::mxfp4, ggml_type::nvfp4}) {
    INFO(name(type));
    for (index_t j = 0; j < w.size(); ++j)
      w.data()[j] = static_cast<float>(
          0.25 * tersor_test::fp4_value(j % 16 == 0 ? 7 : static_cast<int>(random.uniform_index(16))));
    CHECK(through(type, w) == w);
  }
}

// |x| d: half a step of the scale before it is f16, and the rounding of that, 2^-11, of at most 127 steps.
TEST_CASE("ggml encode: Q8_0 is within half a step", "[ggml]") {
  for (const float scale : {1.0F, 0.02F, 300.0F}) {
    const auto w = normal(8, 256, 5, scale);
    const auto v = through(ggml_type::q8_0, w);
    for (index_t r = 0; r < w.rows(); ++r)
      for (index_t b = 0; b < w.cols(); b += 32) {
        float most = 0;
        for (index_t j = b; j < b + 32; ++j) most = std::max(most, std::abs(w(r, j)));
        const float d = most / 127.0F;
        REQUIRE(d >= 0x1p-14F);
        for (index_t j = b; j < b + 32; ++j)
          CHECK(std::abs(v(r, j) - w(r, j)) <= d / 2 * (1 + 0x1p-10F) + std::abs(w(r, j)) * 0x1p-11F);
      }
  }
}

TEST_CASE("ggml encode: what was decoded is encoded as the same blocks", "[ggml]") {
  // the value of largest magnitude is on the grid of these types, so the scale is found again
  for (const auto type :
       {ggml_type::q8_0, ggml_type::q4_0, ggml_type::q5_0, ggml_type::tq1_0, ggml_type::tq2_0}) {
    INFO(name(type));
    const auto once = quant::encode(type, normal(4, 512, 6).view());
    const auto values = tersor_test::ggml_values(type, once, 4, 512);
    CHECK(quant::encode(type, values.view()) == once);
  }
}

// Root mean squares on N(0, 1), with bounds on both sides where theory gives them: a uniform grid over the
// range [-m, m] of a group with 2^b levels has an error of 2 m / 2^b / sqrt(12), m about 2.1 for groups
// of 32.
TEST_CASE("ggml encode: more bits are closer", "[ggml]") {
  const auto w = normal(16, 1024, 7);
  std::map<ggml_type, double> rms;
  for (const auto type : encodable_types)
    rms[type] = std::sqrt(squared_error(through(type, w), w) / static_cast<double>(w.size()));
  const auto below = [&](std::initializer_list<ggml_type> order) {
    for (const auto* t = order.begin(); t + 1 != order.end(); ++t) {
      INFO(name(*t) << " " << rms[*t] << ", " << name(t[1]) << " " << rms[t[1]]);
      CHECK(rms[*t] < rms[t[1]]);
    }
  };
  below({ggml_type::q8_0, ggml_type::q6_k, ggml_type::q5_k, ggml_type::q4_k, ggml_type::q3_k, ggml_type::q2_k,
         ggml_type::tq2_0});
  below({ggml_type::q4_k, ggml_type::q4_0});
  below({ggml_type::q5_k, ggml_type::q5_0, ggml_type::q4_0});
  below({ggml_type::q5_1, ggml_type::q4_1, ggml_type::q4_0});
  below({ggml_type::iq4_nl, ggml_type::q4_0});
  below({ggml_type::iq4_xs, ggml_type::q4_0});
  CHECK(rms[ggml_type::tq1_0] == rms[ggml_type::tq2_0]);
  for (const auto& [type, bits] :
       {std::pair{ggml_type::q4_0, 4}, {ggml_type::q5_0, 5}, {ggml_type::q8_0, 8}}) {
    INFO(name(type));
    const double expected = 2 * 2.1 / (1 << bits) / std::sqrt(12.0);
    CHECK(rms[type] > 0.8 * expected);
    CHECK(rms[type] < 1.3 * expected);
  }
}

TEST_CASE("ggml encode: importances lower the error that they weight", "[ggml]") {
  for (const auto type : encodable_types) {
    if (!quant::uses_importance(type)) continue;
    INFO(name(type));
    double plain = 0, weighted = 0;
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      const auto w = normal(4, 512, seed, 0.02F);
      const auto importance = importances(512, 100 + seed);
      plain += squared_error(through(type, w), w, importance);
      weighted += squared_error(through(type, w, importance), w, importance);
    }
    CHECK(weighted < plain);
    // a factor on all of them changes little but rounding; 2^k nothing
    const auto w = normal(2, 512, 9);
    auto importance = importances(512, 10);
    const auto bytes = quant::encode(type, w.view(), importance);
    for (float& v : importance) v *= 4.0F;
    CHECK(quant::encode(type, w.view(), importance) == bytes);
  }
  for (const auto type : encodable_types) {
    if (quant::uses_importance(type)) continue;
    INFO(name(type));
    const auto w = normal(2, 512, 11);
    CHECK(quant::encode(type, w.view(), importances(512, 12)) == quant::encode(type, w.view()));
  }
}

TEST_CASE("ggml encode: rows of zeros, constants and extremes are finite", "[ggml]") {
  for (const auto type : encodable_types)
    for (const bool weighted : {false, true})
      for (const float importance_of_all : {0.0F, 1.0F, 1e-20F, 1e12F})
        for (const float value : {0.0F, 1.0F, -3.5F, 1e-42F, 1e-30F, -1e-12F, 6e-8F, 1000.0F}) {
          INFO(name(type) << " " << value << " " << importance_of_all);
          matrix<float> w(2, 256);
          for (float& v : w.row(0)) v = value;
          w(1, 200) = value;  // alone
          const std::vector<float> importance(256, importance_of_all);
          const auto v = through(type, w, weighted ? std::span(importance) : std::span<const float>{});
          for (index_t i = 0; i < v.size(); ++i) {
            REQUIRE(std::isfinite(v.data()[i]));
            // powers of two times 1, 1.5, 2, 3 ... 6 (MXFP4) have 1/4 at most; no importance at all may drop
            // a block
            if (weighted && importance_of_all < 1.0F) continue;
            REQUIRE(std::abs(v.data()[i] - w.data()[i]) <= 0.25F * std::abs(value) + 1e-7F);
          }
        }
}

TEST_CASE("ggml encode: the same bytes for any number of threads, and for rows alone", "[ggml]") {
  const auto w = normal(37, 512, 13);
  const auto importance = importances(512, 14);
  for (const auto type : encodable_types) {
    INFO(name(type));
    const auto bytes = quant::encode(type, w.view(), importance, {.threads = 1});
    CHECK(quant::encode(type, w.view(), importance, {.threads = 5}) == bytes);
    matrix<float> last(1, 512);
    std::ranges::copy(w.row(36), last.row(0).begin());
    const auto alone = quant::encode(type, last.view(), importance);
    CHECK(std::equal(alone.begin(), alone.end(), bytes.end() - static_cast<std::ptrdiff_t>(alone.size())));
  }
}

TEST_CASE("ggml encode: what is wrong is named", "[ggml]") {
  const auto fails = [](ggml_type type, const matrix<float>& w, std::vector<float> importance,
                        std::initializer_list<std::string_view> parts) {
    const auto text = error_of([&] { quant::encode(type, w.view(), importance); });
    INFO(text);
    CHECK(holds(text, parts));
  };
  fails(ggml_type::q4_0, matrix<float>(1, 31), {}, {"columns", "31", "32"});
  fails(ggml_type::q4_k, matrix<float>(1, 128), {}, {"columns", "128", "256"});
  fails(ggml_type::iq1_s, matrix<float>(1, 256), {}, {"type", "IQ1_S"});
  fails(ggml_type::q4_0, matrix<float>(1, 64), std::vector<float>(32), {"importance", "32", "64"});
  fails(ggml_type::q4_0, matrix<float>(1, 32), std::vector<float>(32, -1.0F), {"importance", "-1"});
  for (const auto type : encodable_types) {
    INFO(name(type));
    matrix<float> w(2, 256);
    w(1, 3) = std::numeric_limits<float>::quiet_NaN();
    fails(type, w, {}, {"weight[1, 3]", "nan"});
    w(1, 3) = std::numeric_limits<float>::infinity();
    fails(type, w, {}, {"weight[1, 3]", "inf"});
    w(1, 3) = 1e9F;
    if (type == ggml_type::mxfp4) continue;  // its scale reaches as far as floats
    fails(type, w, {}, {"1e+09", "at most"});
    w(1, 3) = type == ggml_type::nvfp4 ? 3000.0F : 2.5e8F;
    if (type == ggml_type::q6_k || type == ggml_type::nvfp4) continue;
    fails(type, w, {}, {"scale", "F16"});
  }
  matrix<float> w(1, 256);
  w(0, 0) = 3000.0F;
  fails(ggml_type::nvfp4, w, {}, {"NVFP4", "500", "448"});
}

}  // namespace ggml_encode_tests
}  // namespace tersor
