// tersor - tests of core/freeze_mask.hpp
// SPDX-License-Identifier: MIT
#include <tersor/core/freeze_mask.hpp>

#include "catch.hpp"

namespace tersor {
namespace freeze_mask_tests {

matrix<int> numbered(index_t rows, index_t cols) {
  matrix<int> x(rows, cols);
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] = static_cast<int>(i);
  return x;
}

TEST_CASE("freeze_mask: nothing, all, rows, columns, elements") {
  freeze_mask m(3, 4);
  CHECK(m.none());
  CHECK_FALSE(m.all());
  CHECK(m.gather(numbered(3, 4)) == numbered(3, 4));
  m.freeze_rows(1, 1);
  CHECK(m.trainable_count() == 8);
  m.freeze_columns(2, 2);
  CHECK(m.trainable_count() == 4);
  CHECK(m.is_frozen(1, 0));
  CHECK(m.is_frozen(0, 3));
  CHECK_FALSE(m.is_frozen(2, 1));
  matrix<int> packed(2, 2);
  packed(0, 1) = 1;
  packed(1, 0) = 8;
  packed(1, 1) = 9;
  CHECK(m.gather(numbered(3, 4)) == packed);

  matrix<std::uint8_t> bits(3, 4);
  bits(2, 0) = 1;
  bits(1, 1) = 1;  // frozen already, counts once
  m.freeze_elements(bits);
  CHECK(m.trainable_count() == 3);
  CHECK(m.packed_rows() == 1);
  CHECK(m.gather(numbered(3, 4)).values()[2] == 9);
  m.unfreeze();
  CHECK(m.none());
  m.freeze_all();
  CHECK(m.all());
  CHECK(m.trainable_count() == 0);
  CHECK(m.packed_rows() == 0);
}

TEST_CASE("freeze_mask: all rows, all columns, and empty tensors") {
  freeze_mask rows(3, 4), columns(3, 4);
  rows.freeze_rows(0, 3);
  columns.freeze_columns(0, 4);
  CHECK(rows.all());
  CHECK(columns.all());
  const freeze_mask empty(0, 4);
  CHECK(empty.none());
  CHECK(empty.trainable_count() == 0);
  rows.freeze_rows(1, 0);  // an empty range changes nothing
  CHECK(rows.trainable_count() == 0);
}

TEST_CASE("freeze_mask: equal masks") {
  freeze_mask a(3, 4), b(3, 4);
  CHECK(a == b);
  a.freeze_rows(0, 1);
  CHECK_FALSE(a == b);
  b.freeze_rows(0, 1);
  b.freeze_columns(1, 0);
  CHECK(a == b);
  CHECK_FALSE(freeze_mask(2, 2) == freeze_mask(2, 3));
}

TEST_CASE("freeze_mask: scatter puts back what gather took, and nothing else") {
  freeze_mask ranges(3, 4), elements(3, 4);
  ranges.freeze_rows(1, 1);
  ranges.freeze_columns(0, 2);
  matrix<int> bitmap(3, 4);
  bitmap(2, 3) = bitmap(0, 0) = 1;
  elements.freeze_elements(bitmap);
  for (const auto& m : {ranges, elements}) {
    auto x = numbered(3, 4);
    auto packed = m.gather(x);
    for (int& v : packed.values()) v += 100;
    m.scatter(packed, x);
    for (index_t i = 0; i < 3; ++i)
      for (index_t j = 0; j < 4; ++j) CHECK(x(i, j) == numbered(3, 4)(i, j) + (m.is_frozen(i, j) ? 0 : 100));
  }
}

TEST_CASE("freeze_mask: errors") {
  freeze_mask m(3, 4);
  CHECK_THROWS_AS(m.freeze_rows(2, 2), tersor::error);
  CHECK_THROWS_AS(m.freeze_rows(-1, 1), tersor::error);
  CHECK_THROWS_AS(m.freeze_columns(0, 5), tersor::error);
  CHECK_THROWS_AS(m.freeze_columns(1, -1), tersor::error);
  CHECK_THROWS_AS(m.freeze_elements(matrix<int>(4, 3)), tersor::error);
  CHECK_THROWS_AS(m.gather(matrix<int>(4, 3)), tersor::error);
  matrix<int> x(3, 4), other(4, 3);
  CHECK_THROWS_AS(m.scatter(matrix<int>(2, 4), x), tersor::error);
  CHECK_THROWS_AS(m.scatter(matrix<int>(3, 4), other), tersor::error);
}

}  // namespace freeze_mask_tests
}  // namespace tersor
