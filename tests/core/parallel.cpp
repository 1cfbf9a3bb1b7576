// tersor - tests of core/parallel.hpp
// SPDX-License-Identifier: MIT
#include "catch.hpp"

#include <atomic>
#include <cmath>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <tersor/core/parallel.hpp>

namespace tersor::parallel_tests {
namespace {

context with_threads(int threads) {
  context ctx;
  ctx.threads = threads;
  return ctx;
}

}  // namespace

TEST_CASE("each task runs once") {
  for (const int threads : {0, 1, 2, 3, 8})
    for (const index_t count : {0, 1, 2, 7, 100, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
      parallel_for(count, with_threads(threads), [&](index_t i) { ++runs[static_cast<std::size_t>(i)]; });
      int wrong = 0;
      for (const auto& r : runs) wrong += r != 1;
      CHECK(wrong == 0);
    }
  int runs = 0;
  parallel_for(-3, with_threads(4), [&](index_t) { ++runs; });
  CHECK(runs == 0);
}

TEST_CASE("chunks cover the range in the same cut for any number of threads") {
  for (const index_t count : {0, 1, 63, 64, 65, 1000}) {
    for (const int threads : {1, 4}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
      std::atomic<int> bad_cut{0};
      parallel_chunks(count, 64, with_threads(threads), [&](index_t begin, index_t end) {
        if (begin % 64 != 0 || end <= begin || (end - begin != 64 && end != count)) ++bad_cut;
        for (index_t i = begin; i < end; ++i) ++runs[static_cast<std::size_t>(i)];
      });
      int wrong = 0;
      for (const auto& r : runs) wrong += r != 1;
      CHECK(wrong == 0);
      CHECK(bad_cut == 0);
    }
  }
}

TEST_CASE("partial sums added in order are the same bits for any number of threads") {
  constexpr index_t count = 5000, grain = 37;
  const auto sum = [&](int threads) {
    std::vector<float> partial(static_cast<std::size_t>((count + grain - 1) / grain));
    parallel_chunks(count, grain, with_threads(threads), [&](index_t begin, index_t end) {
      float s = 0;
      for (index_t i = begin; i < end; ++i) s += std::sin(static_cast<float>(i));
      partial[static_cast<std::size_t>(begin / grain)] = s;
    });
    float total = 0;
    for (const float s : partial) total += s;
    return total;
  };
  const float serial = sum(1);
  for (const int threads : {2, 3, 5, 16})
    for (int repeat = 0; repeat < 5; ++repeat) CHECK(sum(threads) == serial);
}

TEST_CASE("the exception of the smallest index is thrown") {
  for (const int threads : {1, 2, 4, 9}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      try {
        parallel_for(200, with_threads(threads), [](index_t i) {
          if (i % 50 == 17) throw std::runtime_error(std::to_string(i));
        });
        FAIL("no exception came out");
      } catch (const std::runtime_error& e) {
        CHECK(std::string(e.what()) == "17");
      }
    }
  }
}

TEST_CASE("a loop runs again after an exception") {
  const auto ctx = with_threads(4);
  CHECK_THROWS_AS(parallel_for(10, ctx, [](index_t) { fail("x", 1, "2"); }), error);
  std::atomic<int> runs{0};
  std::atomic<int> threads_seen{0};
  parallel_for(4, ctx, [&](index_t) {
    ++runs;
    if (detail::inside_parallel) ++threads_seen;
  });
  CHECK(runs == 4);
  CHECK(threads_seen == 4);
  CHECK_FALSE(detail::inside_parallel);
}

TEST_CASE("after an exception no further task is begun") {
  for (const int threads : {1, 2, 4}) {
    std::atomic<int> begun{0};
    CHECK_THROWS_AS(parallel_for(100000, with_threads(threads),
                                 [&](index_t i) {
                                   ++begun;
                                   if (i == 3) throw std::runtime_error("stop");
                                 }),
                    std::runtime_error);
    CHECK(begun < 100000);
  }
}

TEST_CASE("an inner loop runs in order on the thread of its outer task") {
  const auto ctx = with_threads(4);
  std::atomic<int> elsewhere{0}, out_of_order{0}, runs{0};
  parallel_for(8, ctx, [&](index_t) {
    const auto outer = std::this_thread::get_id();
    index_t last = -1;
    parallel_for(50, ctx, [&](index_t j) {
      if (std::this_thread::get_id() != outer) ++elsewhere;
      if (j != last + 1) ++out_of_order;
      last = j;
      ++runs;
    });
  });
  CHECK(elsewhere == 0);
  CHECK(out_of_order == 0);
  CHECK(runs == 400);
}

}  // namespace tersor::parallel_tests
