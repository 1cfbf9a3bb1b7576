// tersor - tests of grad/freeze.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/freeze.hpp>

#include "catch.hpp"

namespace tersor {
namespace {

using grad::freeze_mask;

matrix<int> numbered(index_t rows, index_t cols) {
  matrix<int> x(rows, cols);
  for (index_t i = 0; i < x.size(); ++i) x.data()[i] = static_cast<int>(i);
  return x;
}

TEST_CASE("freeze: nothing, all, rows, columns, elements") {
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

TEST_CASE("freeze: all rows, all columns, and empty tensors") {
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

TEST_CASE("freeze: equal masks") {
  freeze_mask a(3, 4), b(3, 4);
  CHECK(a == b);
  a.freeze_rows(0, 1);
  CHECK_FALSE(a == b);
  b.freeze_rows(0, 1);
  b.freeze_columns(1, 0);
  CHECK(a == b);
  CHECK_FALSE(freeze_mask(2, 2) == freeze_mask(2, 3));
}

TEST_CASE("freeze: errors") {
  freeze_mask m(3, 4);
  CHECK_THROWS_AS(m.freeze_rows(2, 2), tersor::error);
  CHECK_THROWS_AS(m.freeze_rows(-1, 1), tersor::error);
  CHECK_THROWS_AS(m.freeze_columns(0, 5), tersor::error);
  CHECK_THROWS_AS(m.freeze_columns(1, -1), tersor::error);
  CHECK_THROWS_AS(m.freeze_elements(matrix<int>(4, 3)), tersor::error);
  CHECK_THROWS_AS(m.gather(matrix<int>(4, 3)), tersor::error);
}

}  // namespace
}  // namespace tersor
