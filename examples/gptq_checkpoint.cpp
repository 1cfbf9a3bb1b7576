// tersor - example: the tensors of a GPTQ checkpoint, written for other programs and read from them
// SPDX-License-Identifier: MIT
//
// Shows: an operator packed as AutoGPTQ and its successors store a layer (qweight, qzeros, scales, g_idx); a
// safetensors file with these tensors; back to an operator with the same codes. Alone (nlohmann-json3-dev):
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/gptq_checkpoint.cpp && ./a.out
#include <cstdio>

#include <tersor/io/checkpoint.hpp>
#include <tersor/io/safetensors_writer.hpp>
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/gptq_layout.hpp>

int main() {
  using tersor::index_t;
  constexpr index_t out = 64, in = 256, group = 128;
  constexpr auto variant = tersor::quant::gptq_variant::v2;  // "gptq" is v1, "gptq_v2" is v2
  tersor::random_generator random(1);
  tersor::matrix<float> w(out, in), x(1024, in);
  for (float& v : w.values()) v = static_cast<float>(random.normal());
  for (float& v : x.values()) v = static_cast<float>(random.normal() * (1 + random.uniform()));
  tersor::calib::statistics inputs(in);
  inputs.add(x);
  const tersor::quant::gptq method{.bits = 4, .group_size = group, .act_order = true};
  const tersor::op::quantized op = method(w, inputs).op;

  // Written ...
  const auto path = std::filesystem::temp_directory_path() / "tersor_gptq_checkpoint.safetensors";
  const auto tensors = tersor::quant::gptq_pack(op, variant);
  tersor::io::safetensors_writer file;
  const auto add = [&](const char* name, tersor::dtype type, const auto& m) {
    file.add(std::string("layer.") + name, type, {m.rows(), m.cols()}, std::as_bytes(m.values()));
  };
  add("qweight", tersor::dtype::i32, tensors.qweight);
  add("qzeros", tersor::dtype::i32, tensors.qzeros);
  add("scales", tersor::dtype::f16, tensors.scales);
  file.add("layer.g_idx", tersor::dtype::i32, {in}, std::as_bytes(std::span(tensors.g_idx)));
  file.write(path);

  // ... and read.
  const tersor::io::checkpoint files(path);
  for (const auto& e : files.files().front().tensors()) {
    std::printf("%-14s %-4s", e.name.c_str(), std::string(tersor::name(e.dtype)).c_str());
    for (const index_t extent : e.shape) std::printf(" %td", extent);
    std::printf("\n");
  }
  const tersor::quant::gptq_tensors read{
      files.read_matrix<std::int32_t>("layer.qweight"), files.read_matrix<std::int32_t>("layer.qzeros"),
      files.read_matrix<tersor::f16>("layer.scales"), files.read_vector<std::int32_t>("layer.g_idx")};
  const auto back = tersor::quant::gptq_unpack(read, method.bits, group, variant);
  const bool same = back.codes() == op.codes() && back.to_dense() == op.to_dense();
  std::printf("%s, %.4f bits per weight\n", same ? "the same codes and values" : "OTHER VALUES",
              tersor::op::bits_per_weight(back));
  std::filesystem::remove(path);
}
