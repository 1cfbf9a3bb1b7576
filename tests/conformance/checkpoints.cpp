// tersor - checkpoints as compressed-tensors and bitsandbytes wrote them, against what these decode them to
// SPDX-License-Identifier: MIT
#include <tersor/io/every_layout.hpp>

#include <cmath>

#include "catch.hpp"

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
    const float tolerance = name == "ct_nvfp4" ? 0x1p-22F : 0.0F;
    for (index_t i = 0; i < w.size(); ++i)
      CHECK(std::fabs(round_to(type, w.data()[i]) - reference.data()[i]) <=
            tolerance * std::fabs(reference.data()[i]));
  }
  CHECK(count == 11);
}

}  // namespace checkpoints_tests
}  // namespace tersor
