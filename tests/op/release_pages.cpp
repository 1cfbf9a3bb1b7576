// tersor - tests of op/release_pages.hpp: who is told to let go of what
// SPDX-License-Identifier: MIT
#include <tersor/op/release_pages.hpp>

#include "catch.hpp"

namespace tersor {
namespace release_pages_tests {

/// Memory that counts how often it was given back, and what.
struct counted_memory {
  std::vector<std::byte> bytes;
  mutable int released = 0;

  static void release(const void* owner, std::span<const std::byte> part) {
    const auto& memory = *static_cast<const counted_memory*>(owner);
    memory.released += part.data() == memory.bytes.data() && part.size() == memory.bytes.size();
  }
};

TEST_CASE("release_pages: memory of an owner is given back, other operators stay as they are") {
  const auto reals = std::make_shared<counted_memory>();
  reals->bytes.resize(2 * 32 * 4);
  const op::any_operator dense =
      op::dense(2, 32, real_array(dtype::f32, reals->bytes, reals, counted_memory::release));
  op::release_pages(dense);
  CHECK(reals->released == 1);

  const auto blocks = std::make_shared<counted_memory>();
  blocks->bytes.resize(2 * 34);  // Q8_0: a scale as F16 and 32 codes
  op::release_pages(
      op::ggml_blocks(ggml_type::q8_0, 2, 32, blocks->bytes, blocks, {}, counted_memory::release));
  CHECK(blocks->released == 1);
  // rows in another order are a copy of its own
  const std::vector<std::int32_t> order{1, 0};
  op::release_pages(
      op::ggml_blocks(ggml_type::q8_0, 2, 32, blocks->bytes, blocks, order, counted_memory::release));
  CHECK(blocks->released == 1);
  // nobody to tell
  op::release_pages(op::ggml_blocks(ggml_type::q8_0, 2, 32, blocks->bytes, blocks));
  op::release_pages(op::dense(matrix<float>(2, 3).view()));
  CHECK(blocks->released == 1);
}

}  // namespace release_pages_tests
}  // namespace tersor
