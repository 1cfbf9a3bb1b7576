// tersor - tests of prune/sp24_codec.hpp
// SPDX-License-Identifier: MIT
#include <tersor/prune/sp24_codec.hpp>

#include <cstring>  // std::memcmp
#include <set>      // std::set

#include "samples.hpp"

namespace sp24_codec_tests {

using namespace tersor_test;
using namespace tersor::prune;
using tersor::index_t;

TEST_CASE("sp24: the codes of all eleven patterns", "[sp24]") {
  // Sheet: positions of the stored values, non-zero flags m0 m1 m2 m3
  struct row {
    const char* flags;
    int a0, a1, b0, b1;  // layouts a and b
  };
  for (const row& p : {row{"1100", 0, 1, 0, 1},
                       {"1010", 0, 2, 0, 2},
                       {"1001", 0, 3, 0, 3},
                       {"0110", 1, 2, 1, 2},
                       {"0101", 1, 3, 1, 3},
                       {"0011", 2, 3, 2, 3},
                       {"0000", 2, 3, 2, 3},
                       {"0001", 2, 3, 2, 3},
                       {"0010", 2, 3, 2, 3},
                       {"0100", 1, 3, 1, 2},
                       {"1000", 0, 3, 0, 2}}) {
    INFO(p.flags);
    matrix<float> w(1, 4);
    for (index_t i = 0; i < 4; ++i) w(0, i) = p.flags[i] == '1' ? static_cast<float>(i + 1) : 0.0F;
    const auto a = sp24_encode(w.view()), b = sp24_encode(w.view(), sp24_layout::b);
    CHECK(a.code(0, 0) == (p.a0 | p.a1 << 2));
    CHECK(b.code(0, 0) == (p.b0 | p.b1 << 2));
    CHECK(a.values == std::vector<float>{w(0, p.a0), w(0, p.a1)});
    CHECK(sp24_decode(a) == w);
    CHECK(sp24_decode(b) == w);
  }
}

TEST_CASE("sp24: three or four non-zeros are refused", "[sp24]") {
  for (unsigned flags = 0; flags < 16; ++flags) {
    matrix<float> w(2, 8);
    for (index_t i = 0; i < 4; ++i) w(1, 4 + i) = (flags >> i) & 1U ? 1.0F : 0.0F;
    for (const auto layout : {sp24_layout::a, sp24_layout::b}) {
      if (std::popcount(flags) <= 2) {
        CHECK(sp24_decode(sp24_encode(w.view(), layout)) == w);
        continue;
      }
      std::string text;
      try {
        sp24_encode(w.view(), layout);
      } catch (const tersor::error& e) {
        text = e.what();
      }
      CHECK(text.find("row 1, group 1") != std::string::npos);
    }
  }
}

TEST_CASE("sp24: decode undoes encode for any shape and value type", "[sp24]") {
  const auto check = [](const auto& w) {
    const auto m = sp24_encode(w.view());
    const auto back = sp24_decode(m);
    REQUIRE(back.size() == w.size());
    CHECK((w.empty() ||
           std::memcmp(back.data(), w.data(), static_cast<std::size_t>(w.size()) * sizeof(*w.data())) == 0));
    CHECK(m.values.size() * sizeof(*w.data()) + m.codes.size() ==
          sp24_bytes(w.rows(), w.cols(), static_cast<int>(sizeof(*w.data())) * 8));
  };
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{0, 0}, {1, 4}, {3, 12}, {5, 20}, {64, 128}})
    for (const bool holes : {false, true}) {
      check(random_24<float>(rows, cols, 1, holes));
      check(random_24<double>(rows, cols, 2, holes));
      check(random_24<tersor::f16>(rows, cols, 3, holes));
      check(random_24<tersor::bf16>(rows, cols, 4, holes));
      check(random_24<std::int8_t>(rows, cols, 5, holes));
    }
  // any strides
  const auto w = random_24(8, 16, 6);
  const auto columns = tersor::copy_as<float>(w.view().transposed());
  CHECK(sp24_encode(columns.view().transposed()) == sp24_encode(w.view()));
}

TEST_CASE("sp24: minus zero counts as zero", "[sp24]") {
  for (unsigned flags = 0; flags < 16; ++flags) {
    if (std::popcount(flags) > 2) continue;
    matrix<float> plus(1, 4), minus(1, 4, -0.0F);
    for (index_t i = 0; i < 4; ++i)
      if ((flags >> i) & 1U) plus(0, i) = minus(0, i) = static_cast<float>(i + 1);
    CHECK(sp24_encode(minus.view()).codes == sp24_encode(plus.view()).codes);
    CHECK(sp24_decode(sp24_encode(minus.view())) == plus);  // -0 == 0
  }
}

TEST_CASE("sp24: size", "[sp24]") {
  static_assert(sp24_bytes(16, 64, 16) * 8 == 16 * 64 * 9);
  static_assert(sp24_bytes(16, 64, 8) * 8 == 16 * 64 * 5);
  static_assert(sp24_bytes(16, 64, 4) * 8 == 16 * 64 * 3);
  static_assert(sp24_bytes(3, 12, 16) == 3 * 6 * 2 + 3 * 2);  // three groups a row: two bytes of codes
  CHECK(sp24_encode(random_24(3, 12, 1).view()).row_bytes() == 2);
}

template <class M>
void check_gpu(index_t rows, index_t cols, sp24_layout layout) {
  INFO(rows << " x " << cols << ", " << sizeof(M) * 8 << " bits, layout "
            << (layout == sp24_layout::a ? 'a' : 'b'));
  const index_t columns = cols / 4 / static_cast<index_t>(sizeof(M) * 2);
  std::set<index_t> places;  // a bijection
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = 0; c < columns; ++c) places.insert(sp24_offset<M>(r, c, rows, layout));
  CHECK(static_cast<index_t>(places.size()) == rows * columns);
  CHECK((*places.begin() == 0 && *places.rbegin() == rows * columns - 1));
  const auto w = random_24<std::int8_t>(rows, cols, 7, true);
  const auto m = sp24_encode(w.view(), layout);
  const auto meta = sp24_gpu_metadata<M>(m, layout);
  CHECK(static_cast<index_t>(meta.size()) == rows * columns);
  CHECK(sp24_from_gpu<M>(rows, cols, m.values, std::span<const M>(meta), layout) == m);
}

TEST_CASE("sp24: GPU layouts are reorderings, and come back", "[sp24]") {
  for (const auto& [rows, cols] : {std::pair<index_t, index_t>{32, 64}, {64, 128}, {128, 64}, {192, 256}}) {
    check_gpu<std::uint16_t>(rows, cols, sp24_layout::a);
    check_gpu<std::uint32_t>(rows, cols, sp24_layout::a);
    if (rows % 64 == 0) check_gpu<std::uint16_t>(rows, cols, sp24_layout::b);
    if (rows % 64 == 0 && cols % 64 == 0) check_gpu<std::uint32_t>(rows, cols, sp24_layout::b);
  }
  check_gpu<std::uint16_t>(32, 32, sp24_layout::a);
}

TEST_CASE("sp24: shapes without a GPU layout are errors", "[sp24]") {
  const auto m = [](index_t rows, index_t cols) { return sp24_encode(random_24(rows, cols, 1).view()); };
  CHECK_THROWS_AS(sp24_gpu_metadata<std::uint16_t>(m(16, 64)), tersor::error);
  CHECK_THROWS_AS(sp24_gpu_metadata<std::uint16_t>(m(32, 16)), tersor::error);  // one metadata column
  CHECK_THROWS_AS(sp24_gpu_metadata<std::uint32_t>(m(32, 32)), tersor::error);
  CHECK_THROWS_AS(sp24_gpu_metadata<std::uint16_t>(m(32, 64), sp24_layout::b), tersor::error);
  CHECK_THROWS_AS(sp24_encode(matrix<float>(2, 6).view()), tersor::error);
}

TEST_CASE("sp24: damaged data is an error", "[sp24]") {
  auto m = sp24_encode(random_24(32, 64, 1).view());
  auto meta = sp24_gpu_metadata<std::uint16_t>(m);
  const auto from = [&] {
    return sp24_from_gpu<std::uint16_t>(32, 64, m.values, std::span<const std::uint16_t>(meta));
  };
  CHECK(from() == m);
  meta[5] = 0;  // four times i0 = i1 = 0
  CHECK_THROWS_AS(from(), tersor::error);
  meta.pop_back();
  CHECK_THROWS_AS(from(), tersor::error);
  m.codes[3] = 0x5;
  CHECK_THROWS_AS(sp24_decode(m), tersor::error);
  m.codes.pop_back();
  CHECK_THROWS_AS(sp24_decode(m), tersor::error);
}

TEST_CASE("sp24: twelve patterns in a word", "[sp24]") {
  constexpr std::uint8_t valid[] = {4, 8, 12, 9, 13, 14};
  tersor::random_generator g(1);
  for (const std::size_t n : {0U, 1U, 11U, 12U, 13U, 36U, 100U}) {
    std::vector<std::uint8_t> codes(n);
    for (auto& c : codes) c = valid[g.uniform_index(6)];
    const auto words = sp24_pack_dense(codes);
    CHECK(words.size() == (n + 11) / 12);
    CHECK(sp24_unpack_dense(words, n) == codes);
  }
  CHECK(sp24_pack_dense(std::vector<std::uint8_t>(12, 14)) ==
        std::vector<std::uint32_t>{2176782335U});  // 6¹² - 1
  CHECK(sp24_pack_dense(std::vector<std::uint8_t>{8, 12}) == std::vector<std::uint32_t>{1 + 2 * 6});
  CHECK_THROWS_AS(sp24_pack_dense(std::vector<std::uint8_t>{5}), tersor::error);
  CHECK_THROWS_AS(sp24_unpack_dense(std::vector<std::uint32_t>{2176782336U}, 12), tersor::error);
  CHECK_THROWS_AS(sp24_unpack_dense(std::vector<std::uint32_t>{6}, 1), tersor::error);
  CHECK_THROWS_AS(sp24_unpack_dense(std::vector<std::uint32_t>{0, 0}, 12), tersor::error);
}

}  // namespace sp24_codec_tests
