// tersor - tests of io/compressed_tensors_sparse24.hpp: both names, wrong masks
// SPDX-License-Identifier: MIT
#include <tersor/io/compressed_tensors.hpp>

#include "io/layouts.hpp"

namespace tersor {
namespace compressed_tensors_sparse24_tests {

using test::bytes_of;
using test::holds;
using test::raw_linear;
using test::read_error;
using test::read_linear;
using test::stored;

TEST_CASE("compressed_tensors_sparse24: 2:4 of reals under both names") {
  for (const std::string stem : {"", "weight."}) {
    raw_linear linear("dense", nullptr);
    linear.settings["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
    linear.settings["config_groups"] = io::json::object();
    linear.add<index_t>(stem + "shape", {2, 1}, {2, 8});
    linear.add<float>(stem + "compressed", {2, 4}, {1, 0, 3, 4, 5, 6, 7, 8});  // a kept zero is stored
    linear.add<std::uint8_t>(stem + "bitmask", {2, 1}, {0b11000011, 0b10100101});
    linear.write();
    const auto op = read_linear(linear.folder);
    const auto w = op.to_dense();
    CHECK(op.kind() == "sparse_nm");
    CHECK(std::vector<float>(w.row(0).begin(), w.row(0).end()) == std::vector<float>{1, 0, 0, 0, 0, 0, 3, 4});
    CHECK(std::vector<float>(w.row(1).begin(), w.row(1).end()) == std::vector<float>{5, 0, 6, 0, 0, 7, 0, 8});
    test::replace_tensor(linear.folder, "a.b." + stem + "bitmask", dtype::u8, {2, 1},
                         bytes_of(std::vector<std::uint8_t>{0b11100001, 0b10100101}));
    CHECK(holds(read_error(linear.folder), {"a.b", "kept entries", "expected 2"}));
  }
}

TEST_CASE("compressed_tensors_sparse24: a mask without values is an error") {
  raw_linear linear("dense", nullptr);
  linear.settings["config_groups"] = io::json::object();
  linear.add<index_t>("shape", {2}, {1, 8});
  linear.add<std::uint8_t>("bitmask", {1, 1}, {0b00110011});
  linear.write();
  CHECK(holds(read_error(linear.folder), {"a.b.compressed"}));
}

}  // namespace compressed_tensors_sparse24_tests
}  // namespace tersor
