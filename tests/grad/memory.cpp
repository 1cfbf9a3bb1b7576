// tersor - tests of grad/memory.hpp
// SPDX-License-Identifier: MIT
#include <tersor/grad/memory.hpp>

#include "catch.hpp"

namespace tersor {
namespace memory_tests {

using grad::buffer;
using grad::memory_pool;

TEST_CASE("memory: bytes alive and their peak") {
  const auto pool = std::make_shared<memory_pool<double>>();
  {
    const buffer<double> a(pool, 3, 4);
    CHECK(pool->current() == 96);
    {
      const buffer<double> b(pool, matrix<double>(1, 2, 5.0));
      CHECK(b.get()(0, 1) == 5.0);
      CHECK(pool->current() == 112);
    }
    CHECK(pool->current() == 96);
  }
  CHECK(pool->current() == 0);
  CHECK(pool->peak() == 112);
  pool->reset_peak();
  CHECK(pool->peak() == 0);
  pool->count(10);
  pool->count(-10);
  CHECK(pool->peak() == 10);
}

TEST_CASE("memory: a block is handed out again to who asks for its shape") {
  const auto pool = std::make_shared<memory_pool<float>>();
  const float* where = nullptr;
  {
    buffer<float> a(pool, 20, 30);
    where = a.data();
  }
  const buffer<float> other(pool, 30, 20);
  CHECK(other.rows() == 30);
  const buffer<float> same(pool, 20, 30);
  (void)where;  // the first may have been dropped: what waits never takes the sum above the peak
  CHECK(pool->peak() == 2 * 2400);
}

TEST_CASE("memory: buffers move, and can be released") {
  const auto pool = std::make_shared<memory_pool<float>>();
  buffer<float> a(pool, 2, 2);
  buffer<float> b(std::move(a));
  CHECK_FALSE(static_cast<bool>(a));
  CHECK(pool->current() == 16);
  a = std::move(b);
  CHECK(a.rows() == 2);
  const matrix<float> own = a.release();
  CHECK(own.rows() == 2);
  CHECK(pool->current() == 0);
  buffer<float> empty(pool, 0, 5);
  CHECK(empty.cols() == 5);
  empty = buffer<float>(pool, 1, 1);
  CHECK(pool->current() == 4);
}

TEST_CASE("memory: a shared buffer goes with the last that refers to it") {
  const auto pool = std::make_shared<memory_pool<float>>();
  auto a = share(buffer<float>(pool, 2, 3));
  auto b = a;
  a = nullptr;
  CHECK(pool->current() == 24);
  CHECK(b->cols() == 3);
  b = nullptr;
  CHECK(pool->current() == 0);
}

}  // namespace memory_tests
}  // namespace tersor
