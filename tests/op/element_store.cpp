// tersor - tests of op/element_store.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/element_store.hpp>

#include "quantized_samples.hpp"

namespace element_store_tests {

using namespace tersor_test;
using tersor::index_t;

/// The smallest owner: a store of the elements of a rows x cols matrix.
struct owner {
  index_t rows = 0, cols = 0, size = 0;
  op::element_store values;

  static constexpr std::string_view kind() { return "owner"; }
  template <class Self, class Archive>
  static void describe(Self& self, Archive& a) {
    a.extents(self.rows, self.cols);
    a.attribute("size", self.size);
    op::element_store::describe(self.values, a, self.rows, self.cols, self.size);
  }
  void save(op::archive_writer& out) const {
    op::detail::save_archive a{out};
    describe(*this, a);
  }
  static owner load(std::string_view, op::archive_reader& in) {
    owner o;
    op::detail::load_archive a{in};
    describe(o, a);
    return o;
  }
};

std::vector<float> read(const op::element_store& s, index_t first, index_t row,
                        const std::vector<std::int32_t>& columns) {
  std::vector<float> out(columns.size());
  s.read(first, row, columns, out);
  return out;
}

TEST_CASE("element_store: reals", "[element_store]") {
  const auto w = random_matrix<float>(3, 5, 1);
  const auto upper = [](index_t r, index_t j) { return j >= r; };
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
    const owner o{3, 5, 12, op::element_store(op::gather_kept(w.view(), type, upper))};
    REQUIRE(o.values.size() == 12);
    CHECK_FALSE(o.values.is_quantized());
    index_t k = 0;
    for (index_t r = 0; r < 3; ++r)
      for (index_t j = r; j < 5; ++j, ++k) {
        const auto v = read(o.values, k, r, {static_cast<std::int32_t>(j)});
        CHECK(v[0] == tersor::round_to(type, w(r, j)));
      }
    const auto stored = save(o);
    CHECK(stored.bytes() == 12 * (type == dtype::f32 ? 4u : 2u));
    CHECK(save(load<owner>(stored)) == stored);
  }
}

TEST_CASE("element_store: codes take the grid of their row and column", "[element_store]") {
  for_each_grid_kind([](const grid_kind& k) {
    const index_t rows = 5, cols = 23;
    const auto s = random_grid(rows, cols, k, 7);
    const auto codes = random_codes(rows * 3, k.bits, 8);
    const owner o{rows, cols, rows * 3, op::element_store(codes, s.grid)};
    REQUIRE(o.values.is_quantized());
    const auto again = load<owner>(save(o));
    CHECK(save(again) == save(o));
    CHECK(save(o).bytes() == (codes.size() * static_cast<std::size_t>(k.bits) + 7) / 8 + grid_bytes(s, k));
    for (index_t r = 0; r < rows; ++r) {
      const std::vector<std::int32_t> columns{static_cast<std::int32_t>(r), 9, 22};
      const auto v = read(o.values, r * 3, r, columns), w = read(again.values, r * 3, r, columns);
      for (std::size_t i = 0; i < 3; ++i) {
        REQUIRE(v[i] == grid_value(s, k, r, columns[i], codes[static_cast<std::size_t>(r) * 3 + i]));
        REQUIRE(w[i] == v[i]);
      }
    }
  });
}

TEST_CASE("element_store: errors", "[element_store]") {
  const grid_kind k{.bits = 3, .group_size = 4};
  const auto s = random_grid(5, 10, k, 7);
  const auto codes = random_codes(15, 3, 8);
  CHECK_THROWS_AS(op::element_store(std::vector<std::uint8_t>{8}, s.grid), tersor::error);
  check_every_damage(owner{5, 10, 15, op::element_store(codes, s.grid)});
  check_every_damage(
      owner{5, 10, 15,
            op::element_store(op::gather_kept(random_matrix<float>(5, 10, 1).view(), dtype::f32,
                                              [](index_t, index_t j) { return j < 3; }))});
}

}  // namespace element_store_tests
