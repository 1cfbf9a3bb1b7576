// tersor - adapters that Hugging Face PEFT saved give the logits that it computed
// SPDX-License-Identifier: MIT
//
// tests/data/peft is made by tests/interop/peft_folders.py.
#include <set>

#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/model/peft_model.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace peft_interop_tests {

const std::filesystem::path source = TERSOR_SOURCE_DIR;
const std::filesystem::path folders = source / "tests" / "data" / "peft";

/// max |ours - theirs| / max |theirs| where theirs [tokens, n] are equally spaced columns of the vocabulary.
double difference(const model::llama& m, std::span<const int> ids, const matrix<float>& theirs) {
  const auto ours = m.logits(m.forward(ids).view());
  const index_t step = ours.cols() / theirs.cols();
  double worst = 0, largest = 0;
  for (index_t t = 0; t < theirs.rows(); ++t)
    for (index_t j = 0; j < theirs.cols(); ++j) {
      worst = std::max(worst, std::abs(static_cast<double>(ours(t, j * step) - theirs(t, j))));
      largest = std::max(largest, std::abs(static_cast<double>(theirs(t, j))));
    }
  return worst / largest;
}

std::set<std::string> names() {
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folders))
    if (entry.is_directory()) found.insert(entry.path().filename().string());
  return found;
}

TEST_CASE("peft_interop: folders of PEFT, unmerged and merged") {
  const auto base = model::load_llama(source / "examples" / "data" / "lm");
  const auto modules = model::peft_modules(base);
  const io::safetensors_file logits(folders / "logits.safetensors");
  const auto ids = logits.read_vector<int>("ids");
  const auto plain = logits.read_matrix<float>("base");
  REQUIRE(difference(base, ids, plain) <= 1e-5);

  REQUIRE(names().size() + 2 == logits.tensors().size());
  for (const auto& name : names()) {
    INFO(name);
    const auto theirs = logits.read_matrix<float>(name);
    auto m = base;
    model::attach(m, io::read_peft(folders / name, modules));
    CHECK(difference(m, ids, theirs) <= 1e-5);
    model::merge_adapters(m);
    CHECK(difference(m, ids, theirs) <= 1e-5);
    CHECK(difference(base, ids, theirs) > 1e-2);  // it does something
  }
}

TEST_CASE("peft_interop: written again, a folder of PEFT keeps every tensor and field") {
  const auto modules = model::peft_modules(model::load_llama(source / "examples" / "data" / "lm"));
  const test::temporary_folder folder;
  for (const auto& name : names()) {
    INFO(name);
    io::write_peft(io::read_peft(folders / name, modules), folder / name);
    const io::safetensors_file theirs(folders / name / "adapter_model.safetensors"),
        ours(folder / name / "adapter_model.safetensors");
    REQUIRE(ours.tensors().size() == theirs.tensors().size());
    CHECK(ours.metadata() == theirs.metadata());
    for (const auto& t : theirs.tensors()) {
      INFO(t.name);
      REQUIRE(ours.contains(t.name));
      CHECK(ours.entry(t.name).dtype == t.dtype);
      CHECK(ours.entry(t.name).shape == t.shape);
      CHECK(std::ranges::equal(ours.bytes(t.name), theirs.bytes(t.name)));
    }
    CHECK(io::read_json_file(folder / name / "adapter_config.json") ==
          io::read_json_file(folders / name / "adapter_config.json"));
  }
}

}  // namespace peft_interop_tests
}  // namespace tersor
