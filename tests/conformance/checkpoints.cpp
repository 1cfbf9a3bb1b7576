// tersor - checkpoints as compressed-tensors and bitsandbytes wrote them, against what these decode them to
// SPDX-License-Identifier: MIT
#include <tersor/io/every_layout.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include <cmath>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace checkpoints_tests {

TEST_CASE("checkpoints: every linear of the packages has the values that they decode it to") {
  const auto root = std::filesystem::path(TERSOR_SOURCE_DIR) / "tests" / "data" / "checkpoints";
  int count = 0;
  for (const auto& folder : std::filesystem::directory_iterator(root)) {
    if (!folder.is_directory()) continue;
    ++count;
    const std::string name = folder.path().filename().string();
    INFO(name);
    const io::checkpoint files(folder.path()), expected(folder.path() / "expected.safetensors");
    const auto layout = io::layout_of(files);
    REQUIRE(layout->linears(files) == std::vector<std::string>{"layer"});
    const auto tensors = layout->tensors(files, "layer");
    CHECK(tensors.size() == files.names().size());
    const auto op = layout->read(files, "layer");
    const auto w = op.to_dense();
    const auto type = expected.entry("layer.weight").dtype;
    const auto reference = expected.read_matrix<float>("layer.weight");
    REQUIRE(w.rows() == reference.rows());
    REQUIRE(w.cols() == reference.cols());
    // NVFP4 divides two scales that the operator multiplies; all others are the same number, rounded once
    const float tolerance = name.starts_with("ct_nvfp4") ? 0x1p-22F : 0.0F;
    for (index_t i = 0; i < w.size(); ++i)
      CHECK(std::fabs(round_to(type, w.data()[i]) - reference.data()[i]) <=
            tolerance * std::fabs(reference.data()[i]));
  }
  CHECK(count == 17);
}

TEST_CASE("checkpoints: a linear of the package is written as the package wrote it") {
  const auto root = std::filesystem::path(TERSOR_SOURCE_DIR) / "tests" / "data" / "checkpoints";
  const io::compressed_tensors_writer writer;
  // not FP8 of one scale, whose scales are written one for each output, and integers of 8 bits with zero
  // points, which are written as packed ones
  for (const char* name : {"ct_int4_group", "ct_int4_zeros", "ct_int3_channel", "ct_int5_zeros",
                           "ct_int8_token", "ct_int8_static", "ct_fp8_channel", "ct_fp8_block", "ct_nvfp4",
                           "ct_nvfp4_a4", "ct_mxfp4", "ct_mxfp4_a4"}) {
    INFO(name);
    const io::checkpoint theirs(root / name);
    const test::temporary_folder folder;
    io::safetensors_writer file;
    const auto note = writer.write(file, "layer", io::layout_of(theirs)->read(theirs, "layer"));
    file.write(folder / "model.safetensors");
    const io::checkpoint ours(folder.path());
    for (const auto tensor : theirs.names()) {
      INFO(tensor);
      // activations of 4 bits are not rounded here, and their scale is not kept
      if (tensor == "layer.input_global_scale") continue;
      REQUIRE(ours.contains(tensor));
      CHECK(ours.entry(tensor).dtype == theirs.entry(tensor).dtype);
      CHECK(ours.entry(tensor).shape == theirs.entry(tensor).shape);
      if (tensor == "layer.weight_global_scale") {  // several have the same reciprocal
        const float a = ours.read_tensor<float>(tensor)[0], b = theirs.read_tensor<float>(tensor)[0];
        CHECK(1.0F / a == 1.0F / b);
      } else {
        CHECK(std::ranges::equal(ours.bytes(tensor), theirs.bytes(tensor)));
      }
    }
    const auto settings = io::read_json_file(root / name / "config.json")["quantization_config"];
    const auto& weights = settings["config_groups"]["group_0"]["weights"];
    CHECK(note["format"] == settings["format"].get<std::string>());
    for (const char* key :
         {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic"}) {
      INFO(key);
      const auto found = weights.find(key);
      CHECK(note["weights"].contains(key) == (found != weights.end()));
      if (found != weights.end()) CHECK(io::json::parse(note["weights"][key].dump()) == *found);
    }
  }
}

}  // namespace checkpoints_tests
}  // namespace tersor
