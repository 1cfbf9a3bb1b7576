// tersor - tests of op/operator.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/operator.hpp>

#include "operator_checks.hpp"

namespace operator_tests {

using namespace tersor_test;
using tersor::index_t;

/// An operator of one's own: a Hilbert-like matrix, computed row by row and stored as its shape alone.
class computed : public op::decoded_operator<computed> {
 public:
  computed() = default;
  computed(index_t rows, index_t cols) : rows_(rows), cols_(cols) {}
  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  static constexpr std::string_view kind() { return "computed"; }
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    for (index_t r = r0; r < r1; ++r)
      for (index_t j = 0; j < cols_; ++j) w(r - r0, j) = 1.0F / static_cast<float>(r - 2 * j + 2 * cols_ + 1);
  }

 private:
  friend class op::described_operator<computed>;
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows_, self.cols_);
  }
  index_t rows_ = 0, cols_ = 0;
};
static_assert(op::linear_operator<computed>);
static_assert(op::linear_operator<op::any_operator>);
static_assert(!op::linear_operator<matrix<float>>);

TEST_CASE("decoded_operator: tile after tile equals the whole", "[operator]") {
  for (const auto& [rows, cols] :
       {std::pair<index_t, index_t>{0, 3}, {3, 0}, {1, 1}, {1, 50}, {50, 1}, {33, 9000}, {300, 900}})
    check_operator(computed(rows, cols), 0);
  check_every_damage(computed(4, 5));
}

TEST_CASE("decode_rows: whole rows, at least 16, at most the matrix", "[operator]") {
  CHECK(op::detail::decode_rows(1000, 262144) == 16);
  CHECK(op::detail::decode_rows(1000, 1024) == 256);
  CHECK(op::detail::decode_rows(100, 1) == 100);
  CHECK(op::detail::decode_rows(3, 0) == 16);
}

TEST_CASE("operands of the wrong shape are errors that name the operator", "[operator]") {
  const computed o(3, 4);
  matrix<float> x(2, 4), y(2, 3), wrong(2, 5);
  const auto text = [&](auto&& f) {
    try {
      f();
    } catch (const tersor::error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  CHECK(text([&] { o.apply(wrong.view(), y.view()); }) == "computed: columns of x = 5: expected 4");
  CHECK(text([&] { o.apply(x.view(), wrong.view()); }) == "computed: shape of y = 2 x 5: expected 2 x 3");
  CHECK(text([&] { o.apply_transposed(x.view(), y.view()); }) == "computed: columns of x = 4: expected 3");
}

}  // namespace operator_tests
