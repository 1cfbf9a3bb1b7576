// tersor - tests of kernel/outlier_tile.hpp: every target, sizes of tables, full and empty rounds
// SPDX-License-Identifier: MIT
#include <tersor/kernel/outlier_tile.hpp>

#include <algorithm>
#include <numeric>
#include <vector>

#include "catch.hpp"
#include "kernel/targets.hpp"

#include <tersor/core/matrix.hpp>
#include <tersor/core/random.hpp>

namespace tersor {
namespace outlier_tile_tests {

using kernel::outlier_tile;
using test::targets;

/// A tile whose sum s has up to `most` entries, and its parts.
struct tile {
  std::vector<std::vector<index_t>> places;  // of each sum
  std::vector<std::vector<float>> values;
  std::vector<std::uint8_t> place, order;
  std::vector<float> value;
  std::vector<std::uint16_t> round;

  tile(index_t sums, index_t all_places, index_t most, std::uint64_t seed)
      : places(static_cast<std::size_t>(sums)), values(places.size()) {
    random_generator g(seed);
    for (std::size_t s = 0; s < places.size(); ++s) {
      const auto n = most == 0 ? 0 : g.uniform_index(static_cast<std::uint64_t>(most) + 1);
      for (std::uint64_t i = 0; i < n; ++i) {
        places[s].push_back(static_cast<index_t>(g.uniform_index(static_cast<std::uint64_t>(all_places))));
        values[s].push_back(static_cast<float>(g.normal()));
      }
    }
    std::vector<std::size_t> by_count(places.size());
    std::iota(by_count.begin(), by_count.end(), std::size_t{0});
    std::ranges::stable_sort(by_count, std::greater{}, [&](std::size_t s) { return places[s].size(); });
    order.resize(places.size() + outlier_tile::padding);
    for (std::size_t k = 0; k < by_count.size(); ++k) order[by_count[k]] = static_cast<std::uint8_t>(k);
    for (std::size_t r = 0; !by_count.empty() && r < places[by_count[0]].size(); ++r) {
      round.push_back(0);
      for (const std::size_t s : by_count)
        if (r < places[s].size()) {
          ++round.back();
          place.push_back(static_cast<std::uint8_t>(places[s][r]));
          value.push_back(values[s][r]);
        }
    }
    place.resize(place.size() + outlier_tile::padding);
    value.resize(value.size() + outlier_tile::padding);
  }
  outlier_tile view() const {
    outlier_tile x;
    x.place = place.data();
    x.value = value.data();
    x.round = round.data();
    x.order = order.data();
    x.rounds = static_cast<index_t>(round.size());
    x.sums = static_cast<index_t>(places.size());
    return x;
  }
};

TEST_CASE("outlier_tile: two entries of one sum, by hand") {
  for (const auto t : targets()) {
    tile x(2, 4, 0, 1);
    // sum 1: 5 in place 3, 7 in place 0; nothing for sum 0
    x.place = {3, 0};
    x.value = {5, 7};
    x.place.resize(18);
    x.value.resize(18);
    x.round = {1, 1};
    x.order[0] = 1;
    x.order[1] = 0;
    const float low[] = {1, 0, 0, 2}, v[] = {10, 0, 0, 100};
    float out[] = {1, 1};
    kernel::add_outliers(t, x.view(), low, 4, 0, {v, 4, 1}, 0, 2, out, 2);
    CHECK((out[0] == 1 && out[1] == 1 + 100 * (5 - 2) + 10 * (7 - 1)));
  }
}

TEST_CASE("outlier_tile: every size of tables, ranges of sums, several vectors") {
  struct shape {
    index_t sums, places;
    int shift;
    index_t most;
  };
  for (const auto t : targets())
    for (const auto& s : {shape{64, 128, 0, 6},
                          {64, 256, 0, 3},
                          {64, 24, 0, 40},
                          {128, 128, 1, 3},
                          {80, 256, 2, 5},
                          {256, 40, 0, 60},
                          {16, 64, 0, 1},
                          {17, 64, 0, 1},
                          {18, 64, 0, 2},
                          {33, 32, 0, 1},
                          {128, 64, 0, 0}}) {
      const tile x(s.sums, s.places, s.most, 3);
      random_generator g(4);
      const index_t own = s.places >> s.shift;
      matrix<float> low(1, s.places), v(5, own + 2);
      for (float& y : low.values()) y = static_cast<float>(g.normal());
      for (float& y : v.values()) y = static_cast<float>(g.normal());
      for (const auto& [first, last] : {std::pair<index_t, index_t>{0, s.sums}, {3, s.sums - 1}, {5, 6}}) {
        matrix<float> out(5, last - first + 1, 0.5F), alone(5, out.cols(), 0.5F);
        kernel::add_outliers(t, x.view(), low.data(), s.places, s.shift, {v.data(), v.cols(), 5}, first, last,
                             out.data(), out.cols());
        for (index_t j = 0; j < 5; ++j)
          kernel::add_outliers(t, x.view(), low.data(), s.places, s.shift, {v.row(j).data(), v.cols(), 1},
                               first, last, alone.row(j).data(), alone.cols());
        CHECK(std::ranges::equal(out.values(), alone.values()));  // the same bits among other vectors
        double worst = 0;
        for (index_t j = 0; j < 5; ++j) {
          for (index_t i = first; i < last; ++i) {
            double expected = 0.5;
            const auto k = static_cast<std::size_t>(i);
            for (std::size_t e = 0; e < x.places[k].size(); ++e)
              expected += static_cast<double>(v(j, x.places[k][e] >> s.shift)) *
                          static_cast<double>(x.values[k][e] - low(0, x.places[k][e]));
            worst = std::max(worst, std::abs(static_cast<double>(out(j, i - first)) - expected));
          }
          CHECK(out(j, last - first) == 0.5F);
        }
        CHECK(worst <= 1e-4);
      }
    }
}

}  // namespace outlier_tile_tests
}  // namespace tersor
