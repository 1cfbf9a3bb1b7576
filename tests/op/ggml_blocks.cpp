// tersor - tests of op/ggml_blocks.hpp
// SPDX-License-Identifier: MIT
#include <tersor/op/ggml_blocks.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

#include <tersor/io/operator_archive.hpp>
#include <tersor/quant/ggml_encode.hpp>

namespace tersor {
namespace ggml_blocks_tests {

using test::error_of;
using test::holds;

matrix<float> numbers(index_t rows, index_t cols) {
  matrix<float> w(rows, cols);
  for (index_t i = 0; i < w.size(); ++i) w.data()[i] = static_cast<float>((i * 37) % 101 - 50) / 16.0F;
  return w;
}

TEST_CASE("ggml blocks: products are those of the decoded matrix, in the order of rows that was asked for") {
  const auto w = numbers(5, 64);
  const auto bytes = quant::encode(ggml_type::q8_0, w.view(), {});
  const op::ggml_blocks plain(ggml_type::q8_0, 5, 64, bytes, nullptr);
  const std::vector<std::int32_t> order{4, 2, 0, 1, 3};
  const op::ggml_blocks ordered(ggml_type::q8_0, 5, 64, bytes, nullptr, order);
  const auto a = plain.to_dense(), b = ordered.to_dense();
  for (index_t r = 0; r < 5; ++r)
    for (index_t j = 0; j < 64; ++j) {
      CHECK(std::abs(a(r, j) - w(r, j)) < 0.02F);
      CHECK(b(r, j) == a(order[static_cast<std::size_t>(r)], j));
    }
  const auto x = numbers(3, 64);
  matrix<float> y(3, 5), z(3, 64);
  ordered.apply(x.view(), y.view());
  ordered.apply_transposed(y.view(), z.view());
  for (index_t t = 0; t < 3; ++t)
    for (index_t r = 0; r < 5; ++r) {
      double sum = 0;
      for (index_t j = 0; j < 64; ++j) sum += static_cast<double>(x(t, j)) * static_cast<double>(b(r, j));
      CHECK(std::abs(static_cast<double>(y(t, r)) - sum) < 1e-3);
    }
}

TEST_CASE("ggml blocks: memory of an owner is used in place, and files give it back") {
  const auto w = numbers(4, 32);
  const auto held =
      std::make_shared<const std::vector<std::byte>>(quant::encode(ggml_type::q4_0, w.view(), {}));
  const op::ggml_blocks op(ggml_type::q4_0, 4, 32, *held, held);
  CHECK(op.bytes().data() == held->data());
  CHECK(op.storage().bytes() == 4 * 18);
  const test::temporary_folder folder;
  io::safetensors_writer file;
  io::operator_writer out(file);
  const op::any_operator any(op);
  out.add("w", any);
  out.finish();
  file.write(folder / "w.safetensors");
  const io::checkpoint files(folder / "w.safetensors");
  const auto back = io::operator_reader(files).read("w");
  CHECK(back.kind() == "ggml_blocks");
  CHECK(back.to_dense() == op.to_dense());
}

TEST_CASE("ggml blocks: what is wrong is named") {
  const std::vector<std::byte> bytes(18);
  CHECK(holds(error_of([&] { op::ggml_blocks(ggml_type::f16, 1, 9, bytes, nullptr); }),
              {"type", "F16", "Q4_0, Q4_1", "IQ1_M", "NVFP4"}));
  CHECK(holds(error_of([&] { op::ggml_blocks(ggml_type::q4_0, 1, 31, bytes, nullptr); }), {"columns", "31"}));
  CHECK(holds(error_of([&] { op::ggml_blocks(ggml_type::q4_0, 2, 32, bytes, nullptr); }),
              {"bytes", "18", "36"}));
  const std::vector<std::int32_t> order{1};
  CHECK(holds(error_of([&] { op::ggml_blocks(ggml_type::q4_0, 1, 32, bytes, nullptr, order); }),
              {"order", "1"}));
}

}  // namespace ggml_blocks_tests
}  // namespace tersor
