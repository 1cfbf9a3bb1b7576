// tersor - example: operators are put together, measured part by part, written and read back
// SPDX-License-Identifier: MIT
//
// Shows: W = low rank + quantized + sparse outliers as one operator; permuted, scaled and product; bytes of
// every stored tensor; a safetensors file with any of them. Alone (nlohmann-json3-dev):
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/compose_operators.cpp && ./a.out
#include <cstdio>
#include <numeric>

#include <tersor/io/operator_archive.hpp>
#include <tersor/lowrank/svd.hpp>
#include <tersor/op/permuted.hpp>
#include <tersor/op/product.hpp>
#include <tersor/op/scaled.hpp>
#include <tersor/op/sparse_csr.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/quant/rtn.hpp>

namespace {

void print(const char* name, const tersor::matrix<float>& w, const tersor::op::any_operator& op) {
  const auto report = tersor::solve::measure(w.view(), op, nullptr);
  std::printf("%-26s %6.3f bits per weight, error %.4f\n", name, report.bits_per_weight,
              report.relative_error);
  for (const auto& part : op.storage().parts)
    std::printf("    %-20s %6zu bytes\n", part.name.c_str(), part.bytes);
}

}  // namespace

int main() {
  namespace op = tersor::op;
  using tersor::index_t;
  constexpr index_t out = 128, in = 192;
  tersor::random_generator random(1);
  tersor::matrix<float> w(out, in), rest(out, in);
  tersor::matrix<std::uint8_t> outlier(out, in);
  for (index_t i = 0; i < out; ++i)  // rank 2, noise
    for (index_t j = 0; j < in; ++j)
      w(i, j) =
          static_cast<float>(i % 8 - 4) + static_cast<float>(j % 6 - 3) + static_cast<float>(random.normal());
  for (index_t k = 0; k < 64; ++k) w(7 * k % out, 31 * k % in) = 40.0F;  // outliers

  // low rank + quantized + sparse: each part is fitted to what the others leave.
  for (index_t i = 0; i < w.size(); ++i) {
    outlier.data()[i] = std::abs(w.data()[i]) > 20.0F;
    rest.data()[i] = outlier.data()[i] ? 0.0F : w.data()[i];
  }
  const op::sparse_csr sparse(w.view(), outlier, tersor::dtype::bf16);
  const auto two =
      (tersor::lowrank::svd{.rank = 2} + tersor::quant::rtn{.bits = 3}).compress({.weight = rest});
  const op::any_operator sum = op::sum(two.op, sparse);
  print("4 bit", w, tersor::quant::rtn{.bits = 4}(w).op);
  print("low rank + 3 bit + sparse", w, sum);

  // Rows and columns in other units and another order: W = diag(2) (inner P) with P a reversal of the inputs.
  std::vector<std::int32_t> order(in);
  std::iota(order.rbegin(), order.rend(), 0);
  const op::any_operator other = op::scaled<>(
      op::permuted<>(sum, order), tersor::store_as(tersor::dtype::f32, std::vector<float>(out, 2.0F)), {});
  // A product: the last factor sees the input first.
  const op::any_operator chain = op::product(op::dense(tersor::matrix<float>(16, out, 0.125F).view()), other);

  // One file with all of them.
  const auto path = std::filesystem::temp_directory_path() / "tersor_compose_operators.safetensors";
  tersor::io::safetensors_writer file;
  tersor::io::operator_writer operators(file);
  operators.add("sum", sum);
  operators.add("chain", chain);
  operators.finish();
  file.write(path);
  const tersor::io::checkpoint files(path);
  const auto back = tersor::io::operator_reader(files).read("chain");
  std::printf("%s of %td x %td from the file: %s, %ju bytes\n", back.kind().data(), back.rows(), back.cols(),
              back.to_dense() == chain.to_dense() ? "the same values" : "OTHER VALUES", files.file_bytes());
  std::filesystem::remove(path);
}
