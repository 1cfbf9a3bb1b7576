// tersor - tests of kernel/aligned_bytes.hpp
// SPDX-License-Identifier: MIT
#include <tersor/kernel/aligned_bytes.hpp>

#include "catch.hpp"

namespace tersor {
namespace aligned_bytes_tests {

TEST_CASE("aligned_bytes: zeros at a cache line or a large page, shared by copies") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{3} << 20}) {
    kernel::aligned_bytes b(size);
    CHECK(b.size() == size);
    CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % (size > (1U << 21) ? 1U << 21 : 64U) == 0);
    for (std::size_t i = 0; i < size + 64; i += 61) REQUIRE(b.data()[i] == 0);
    const auto copy = b;
    if (size > 0) b.data()[size - 1] = 3;
    CHECK(std::as_const(copy).data() == b.data());
  }
  CHECK(kernel::aligned_bytes().size() == 0);
}

}  // namespace aligned_bytes_tests
}  // namespace tersor
