// tersor - adapters that Hugging Face PEFT saved give the logits that it computed
// SPDX-License-Identifier: MIT
//
// tests/data/peft is made by tests/interop/peft_folders.py.
#include <set>

#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/model/peft_model.hpp>

#include "catch.hpp"

namespace tersor {
namespace {

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

TEST_CASE("peft_interop: folders of PEFT, unmerged and merged") {
  const auto base = model::load_llama(source / "examples" / "data" / "lm");
  const auto modules = model::peft_modules(base);
  const io::safetensors_file logits(folders / "logits.safetensors");
  const auto ids = logits.read_vector<int>("ids");
  const auto plain = logits.read_matrix<float>("base");
  REQUIRE(difference(base, ids, plain) <= 1e-5);

  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folders))
    if (entry.is_directory()) names.insert(entry.path().filename().string());
  REQUIRE(names.size() + 2 == logits.tensors().size());
  for (const auto& name : names) {
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

}  // namespace
}  // namespace tersor
