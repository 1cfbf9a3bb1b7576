// tersor - tests of checkpoints
// SPDX-License-Identifier: MIT
#include <tersor/io/checkpoint.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include <cmath>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace checkpoint_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;

namespace {

const std::vector<float> six{1, 2, 3, 4, 5, 6};

/// Writes a file in which each of the tensors `names` is [2, 3] with the values of `six`.
void write(const std::filesystem::path& path, std::initializer_list<const char*> names) {
  safetensors_writer writer;
  for (const char* name : names) writer.add(name, dtype::f32, {2, 3}, std::as_bytes(std::span(six)));
  writer.write(path);
}
std::string open_error(const std::filesystem::path& path) {
  return error_of([&] { checkpoint model(path); });
}
constexpr const char* index_name = "model.safetensors.index.json";

}  // namespace

TEST_CASE("checkpoint: a file and a folder with one file") {
  const temporary_folder folder;
  write(folder / "model.safetensors", {"b", "a"});
  for (const auto& path : {folder.path(), folder / "model.safetensors"}) {
    const checkpoint model(path);
    CHECK(model.names() == std::vector<std::string_view>{"a", "b"});
    CHECK(model.folder() == folder.path());
    CHECK(model.data_bytes() == 48);
    CHECK(model.file_bytes() == std::filesystem::file_size(folder / "model.safetensors"));
    CHECK(model.read_tensor<float>("a") == six);
    CHECK(model.read_matrix<double>("b")(1, 2) == 6);
  }
}

TEST_CASE("checkpoint: shards are one checkpoint") {
  const temporary_folder folder;
  write(folder / "model-00001-of-00002.safetensors", {"x.weight", "y.weight"});
  write(folder / "model-00002-of-00002.safetensors", {"a.weight"});
  folder.file(index_name, R"({"metadata": {"total_size": 1}, "weight_map": {
      "a.weight": "model-00002-of-00002.safetensors", "x.weight": "model-00001-of-00002.safetensors",
      "y.weight": "model-00001-of-00002.safetensors"}})");
  for (const auto& path : {folder.path(), folder / index_name}) {
    checkpoint opened(path);
    const checkpoint model = std::move(opened);  // names and mappings survive a move
    CHECK(model.files().size() == 2);
    CHECK(model.names() == std::vector<std::string_view>{"x.weight", "y.weight", "a.weight"});
    CHECK(model.data_bytes() == 72);
    CHECK(model.file_bytes() == std::filesystem::file_size(folder / "model-00001-of-00002.safetensors") +
                                    std::filesystem::file_size(folder / "model-00002-of-00002.safetensors"));
    for (std::string_view name : model.names()) {
      CHECK(model.contains(name));
      CHECK(model.entry(name).shape == std::vector<tersor::index_t>{2, 3});
      CHECK(model.bytes(name).size() == 24);
      CHECK(model.read_tensor<float>(name) == six);
    }
    CHECK_FALSE(model.contains("b.weight"));
    CHECK(holds(error_of([&] { model.entry("a.weigth"); }),
                {folder.path().string(), "a.weigth", "did you mean \"a.weight\"?"}));
    CHECK(holds(error_of([&] { model.read_vector<float>("a.weight"); }),
                {"model-00002-of-00002.safetensors", "a.weight", "rank 1"}));
  }
}

TEST_CASE("checkpoint: an index that does not fit its files is refused") {
  const temporary_folder folder;
  write(folder / "one.safetensors", {"a", "b"});
  write(folder / "two.safetensors", {"c"});
  const auto with = [&](std::string_view weight_map) {
    folder.file(index_name, concat(R"({"weight_map": )", weight_map, "}"));
    return open_error(folder.path());
  };
  CHECK(with(R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})").empty());
  CHECK(holds(with(R"({"a": "one.safetensors", "b": "one.safetensors", "c": "three.safetensors"})"),
              {index_name, "three.safetensors", "\"c\""}));
  CHECK(holds(with(R"({"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"})"),
              {index_name, "\"b\"", "two.safetensors"}));
  CHECK(holds(with(R"({"a": "one.safetensors", "c": "two.safetensors"})"),
              {index_name, "\"b\"", "one.safetensors"}));
  CHECK(holds(with(R"({"a": "one.safetensors", "a": "two.safetensors"})"), {index_name, "\"a\"", "twice"}));
  CHECK(holds(with(R"({"a": 1})"), {index_name, "\"a\"", "a string"}));
  CHECK(
      holds(with(R"({"a": "../one.safetensors"})"), {index_name, "../one.safetensors", "beside the index"}));
  CHECK(holds(with(R"({"a": ".."})"), {index_name, "beside the index"}));
  CHECK(holds(with(R"({"a": ""})"), {index_name, "beside the index"}));
  CHECK(holds(with("[]"), {index_name, "weight_map", "an object"}));
  folder.file(index_name, R"({"weight_mapp": {}})");
  CHECK(holds(open_error(folder.path()), {index_name, "weight_map", "did you mean \"weight_mapp\"?"}));
  write(folder / "two.safetensors", {"c", "a"});
  CHECK(holds(with(R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})"),
              {"two.safetensors", "\"a\"", "one.safetensors as well"}));
  folder.file("two.safetensors", "damaged");
  CHECK(holds(with(R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})"),
              {"two.safetensors", "at least 8 bytes"}));
}

TEST_CASE("checkpoint: nothing there") {
  const temporary_folder folder;
  CHECK(holds(open_error(folder.path()), {folder.path().string(), "model.safetensors"}));
  CHECK(holds(open_error(folder / "none"), {"none", "an existing file"}));
  CHECK(checkpoint(folder.file("e.safetensors", tersor::test::u64(2) + "{}")).names().empty());
}

TEST_CASE("checkpoint: the embedded language model") {
  const checkpoint model(std::filesystem::path(TERSOR_SOURCE_DIR) / "examples/data/lm");
  CHECK(model.contains("model.embed_tokens.weight"));
  const matrix<float> embedding = model.read_matrix<float>("model.embed_tokens.weight");
  CHECK(embedding.rows() == 4096);  // vocab_size and hidden_size of config.json
  CHECK(embedding.cols() == 256);
  require_finite(embedding.view(), "embedding");
  std::uint64_t bytes = 0;
  for (std::string_view name : model.names()) {
    CHECK(model.entry(name).dtype == dtype::bf16);
    bytes += model.bytes(name).size();
  }
  CHECK(bytes == model.data_bytes());
  CHECK(model.file_bytes() == 11547040);
}

}  // namespace checkpoint_tests
