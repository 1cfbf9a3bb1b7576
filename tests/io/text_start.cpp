// tersor - tests of io/text_start.hpp
// SPDX-License-Identifier: MIT
#include <tersor/io/text_start.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace text_start_tests {

using test::error_of;
using test::holds;
using test::temporary_folder;

const io::json byte_level{{"type", "ByteLevel"}, {"trim_offsets", false}};

io::json with(const io::json& post_processor) { return {{"post_processor", post_processor}}; }

TEST_CASE("text start: the special tokens at the head of a template") {
  using ids = std::vector<int>;
  const auto start = [](const io::json& part) { return io::text_start(with(part), "t.json"); };
  const auto llama3 = io::text_start_template({{"<|begin_of_text|>", 128000}});
  CHECK(start(llama3) == ids{128000});
  CHECK(start({{"type", "Sequence"}, {"processors", {byte_level, llama3}}}) == ids{128000});
  CHECK(start(io::text_start_template({{"[gMASK]", 3}, {"<sop>", 4}})) == ids{3, 4});
  CHECK(start(io::text_start_template({})) == ids());
  CHECK(start(byte_level) == ids());
  // a token at the end of a text does not stand before it
  auto ending = llama3;
  std::swap(ending["single"][0], ending["single"][1]);
  CHECK(start(ending) == ids());
  CHECK_FALSE(start(nullptr));
  CHECK_FALSE(io::text_start(io::json::object(), "t.json"));
}

TEST_CASE("text start: without a post-processor the folder decides") {
  const temporary_folder folder;
  const auto none = with(nullptr);
  using ids = std::vector<int>;
  CHECK(io::text_start(none, folder.path(), 7) == ids{7});
  CHECK(io::text_start(none, folder.path(), -1).empty());
  const auto settings = [&](const io::json& j) {
    io::write_text_file(folder / "tokenizer_config.json", j.dump());
  };
  settings({{"add_bos_token", true}});
  CHECK(io::text_start(none, folder.path(), 7) == ids{7});
  settings({{"add_bos_token", false}});
  CHECK(io::text_start(none, folder.path(), 7).empty());
  settings({{"bos_token", "<s>"}});  // as with GPT-2's tokenizer, which adds none
  CHECK(io::text_start(none, folder.path(), 7).empty());
  CHECK(io::text_start(with(io::text_start_template({{"<s>", 1}})), folder.path(), 7) == ids{1});
}

TEST_CASE("text start: what is wrong is named") {
  const auto verdict = [](const io::json& part) {
    return error_of([&] { (void)io::text_start(with(part), "t.json"); });
  };
  CHECK(holds(verdict("x"), {"t.json: post_processor", "string"}));
  CHECK(holds(verdict({{"type", 3}}), {"post_processor", "type", "number"}));
  CHECK(holds(verdict({{"type", "Sequence"}}), {"processors"}));
  auto broken = io::text_start_template({{"<s>", 1}});
  broken["special_tokens"].erase("<s>");
  CHECK(holds(verdict(broken), {"post_processor", "<s>"}));
  broken["special_tokens"]["<s>"] = {{"ids", {1.5}}};
  CHECK(holds(verdict(broken), {"ids", "1.5", "integer"}));
}

}  // namespace text_start_tests
}  // namespace tersor
