// tersor - tests of tokenizers in GGUF files
// SPDX-License-Identifier: MIT
#include <tersor/io/gguf_tokenizer.hpp>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace gguf_tokenizer_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;
using tersor::test::temporary_folder;

namespace {

const std::filesystem::path root = TERSOR_SOURCE_DIR;

json embedded() { return read_json_file(root / "examples/data/lm/tokenizer.json"); }
json pieces() { return read_json_file(root / "tests/data/io/piece_cases.json")["tokenizer"]; }

/// What a file says whose keys `set` writes.
template <class F, class G>
auto written(F&& set, G&& look) {
  const temporary_folder folder;
  gguf_writer out;
  set(out);
  out.write(folder / "a.gguf", [](const gguf_tensor&) { return std::vector<std::byte>(); });
  const gguf_file file(folder / "a.gguf");
  return look(file);
}
json through_gguf(const json& tokenizer_file, index_t vocabulary) {
  return written(
      [&](gguf_writer& out) { set_tokenizer(out, tokenizer_file, vocabulary, 0, 0, true, "json"); },
      [](const gguf_file& f) { return tokenizer_json(f); });
}

/// A vocabulary of single letters.
void letters(gguf_writer& out) {
  out.set("tokenizer.ggml.model", "gpt2");
  out.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "<x>", "<y>"});
  out.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{1, 1, 1, 3, 4});
}

/// A vocabulary with scores and a token without a text, whose ids of special tokens are the usual ones.
void sentence_pieces(gguf_writer& out) {
  out.set("tokenizer.ggml.model", "llama");
  out.set("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "a", ""});
  out.set("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -1, -2});
  out.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{2, 3, 3, 0, 3});
  out.set("tokenizer.ggml.add_space_prefix", false);
}

}  // namespace

TEST_CASE("gguf tokenizer: what a file says nothing of is as in llama.cpp") {
  written(sentence_pieces, [](const gguf_file& f) {
    CHECK(adds_bos(f));
    CHECK(bos_token_id(f) == 1);
    CHECK(eos_token_id(f) == 2);
    const auto file = tokenizer_json(f);
    CHECK(text_start(file, "t") == std::vector<int>{1});
    const tokenizer t(file, "t");
    CHECK(t.encode("aa") == std::vector<int>{3, 3});
    CHECK(t.token_to_id("[EMPTY_4]") == 4);
    return 0;
  });
  // such a token has its name in all places
  written(
      [](gguf_writer& out) {
        sentence_pieces(out);
        out.set("tokenizer.ggml.bos_token_id", 4U);
        out.set("tokenizer.ggml.unknown_token_id", 4U);
      },
      [](const gguf_file& f) {
        const auto file = tokenizer_json(f);
        CHECK(file["post_processor"]["special_tokens"]["[EMPTY_4]"]["ids"] == json{4});
        CHECK(file["model"]["unk_token"] == "[EMPTY_4]");
        return 0;
      });
}

TEST_CASE("gguf tokenizer: the beginning-of-text token goes both ways") {
  for (const bool add : {false, true}) {
    written([&](gguf_writer& out) { set_tokenizer(out, embedded(), 4096, 5, 6, add, "json"); },
            [&](const gguf_file& f) {
              CHECK(adds_bos(f) == add);
              CHECK(bos_token_id(f) == 5);
              CHECK(eos_token_id(f) == 6);
              CHECK(text_start(tokenizer_json(f), "t") == (add ? std::vector<int>{5} : std::vector<int>()));
              return 0;
            });
  }
}

TEST_CASE("gguf tokenizer: a long token of a SentencePiece vocabulary is compared at the lengths of others") {
  const std::string longest(300'000, 'a');
  const auto merges = written(
      [&](gguf_writer& out) {
        out.set("tokenizer.ggml.model", "llama");
        out.set("tokenizer.ggml.tokens",
                std::vector<std::string>{"<unk>", "<s>", "</s>", "a", longest.substr(1), longest});
        out.set("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -1, -2, -3});
        out.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{2, 3, 3, 1, 1, 1});
      },
      [](const gguf_file& f) { return tokenizer_json(f)["model"]["merges"]; });
  REQUIRE(merges.size() == 2);
  CHECK(merges[0] == json{"a", longest.substr(1)});
  CHECK(merges[1] == json{longest.substr(1), "a"});
}

TEST_CASE("gguf tokenizer: a byte-level tokenizer.json comes back as it was") {
  const auto file = embedded();
  const auto back = through_gguf(file, 4096);
  for (const char* part : {"pre_tokenizer", "normalizer"}) CHECK(back[part] == file[part]);
  CHECK(back["model"]["vocab"] == file["model"]["vocab"]);
  CHECK(back["added_tokens"] == file["added_tokens"]);
  const tokenizer ours(file, "json"), theirs(back, "gguf");
  const auto text = read_text_file(root / "examples/data/lm/calibration.txt").substr(0, 20000);
  CHECK(ours.encode(text) == theirs.encode(text));
  CHECK(theirs.is_special(0));
}

TEST_CASE("gguf tokenizer: every kind of byte-level tokenizer.json that a value of pre stands for") {
  const json data = read_json_file(root / "tests/data/io/tokenizer_cases.json");
  std::set<std::string> kinds;
  for (const json& group : data["groups"]) {
    json file = embedded();
    file.merge_patch(group["patch"]);
    const auto name = group["name"].get<std::string>();
    INFO(name);
    // a prefix space, digits together, no pattern: there is no such value
    const auto e = error_of([&] { through_gguf(file, 4200); });
    if (!e.empty()) {
      CHECK(holds(e, {"json: pre_tokenizer"}));
      continue;
    }
    kinds.insert(name);
    const tokenizer theirs(through_gguf(file, 4200), "gguf");
    if (name == "added tokens") continue;  // lstrip and rstrip have no place in GGUF
    for (const json& item : group["cases"])
      CHECK(theirs.encode(item["text"].get<std::string>()) == item["ids"].get<std::vector<int>>());
  }
  CHECK(kinds == std::set<std::string>{"as it is", "GPT-2 pattern as Split", "Llama-3 pattern",
                                       "Llama-3 pattern, single digits", "single digits", "merges as strings",
                                       "added tokens"});
}

TEST_CASE("gguf tokenizer: the values of pre") {
  const auto of = [](const char* pre) {
    return written(
        [&](gguf_writer& out) {
          letters(out);
          out.set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
          out.set("tokenizer.ggml.bos_token_id", 3U);
          if (*pre != 0) out.set("tokenizer.ggml.pre", pre);
        },
        [](const gguf_file& f) { return std::pair(tokenizer_json(f), adds_bos(f)); });
  };
  CHECK(of("") == of("gpt-2"));
  CHECK(of("default") == of("gpt-2"));
  CHECK(of("smollm").first["pre_tokenizer"]["pretokenizers"][0]["type"] == "Digits");
  CHECK(of("llama-bpe").first["model"]["ignore_merges"] == true);
  CHECK(of("llama-bpe").second);
  CHECK_FALSE(of("qwen2").second);
  CHECK_FALSE(of("dbrx").first["model"]["ignore_merges"].get<bool>());
  CHECK(of("llama-bpe").first["pre_tokenizer"] == of("dbrx").first["pre_tokenizer"]);
  CHECK(holds(error_of([&] { of("tekken"); }), {"tokenizer.ggml.pre", "tekken", "llama-bpe", "smollm"}));
  const tokenizer t(of("gpt-2").first, "t");
  CHECK(t.encode("ab<x>ba<y>") == std::vector<int>{2, 3, 1, 0, 4});
  CHECK(t.is_special(3));
  CHECK_FALSE(t.is_special(4));
  // every pattern can be written by its first name
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2"})
    CHECK(io::detail::gguf_pre_of(of(pre).first, "x") == pre);
}

TEST_CASE("gguf tokenizer: SentencePiece by scores") {
  const json data = read_json_file(root / "tests/data/io/piece_cases.json");
  for (const json& group : data["groups"]) {
    json file = pieces();
    file.merge_patch(group["patch"]);
    const auto back = through_gguf(file, 702);
    const tokenizer t(back, "gguf");
    CHECK(back["normalizer"] == file["normalizer"]);
    CHECK(back["model"]["byte_fallback"] == true);
    CHECK(back["model"]["unk_token"] == "<unk>");
    CHECK(t.bytes(701) == "[PAD701]");
    for (const json& item : group["cases"]) {
      INFO(item["text"].dump(-1, ' ', true));
      const auto ids = t.encode(item["text"].get<std::string>());
      CHECK(ids == item["ids"].get<std::vector<int>>());
      CHECK(t.decode(ids) == item["decoded"].get<std::string>());
    }
  }
}

// By hand: "abc" by ab then abc, although bc alone has a better score than abc.
TEST_CASE("gguf tokenizer: the best score is merged first") {
  const auto file = [](std::vector<float> scores) {
    return written(
        [&](gguf_writer& out) {
          out.set("tokenizer.ggml.model", "llama");
          out.set("tokenizer.ggml.tokens",
                  std::vector<std::string>{"<unk>", "a", "b", "c", "ab", "bc", "abc"});
          out.set("tokenizer.ggml.scores", scores);
          out.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{2, 1, 1, 1, 1, 1, 1});
          out.set("tokenizer.ggml.add_space_prefix", false);
        },
        [](const gguf_file& f) { return tokenizer_json(f); });
  };
  CHECK(tokenizer(file({0, 0, 0, 0, -1, -2, -3}), "t").encode("abcbc") == std::vector<int>{6, 5});
  CHECK(tokenizer(file({0, 0, 0, 0, -2, -1, -3}), "t").encode("abcab") == std::vector<int>{6, 4});
  CHECK(file({0, 0, 0, 0, -2, -1, -3})["model"]["merges"].size() == 4);
}

TEST_CASE("gguf tokenizer: what is wrong is named") {
  const auto verdict = [](auto set) {
    return error_of([&] { written(set, [](const gguf_file& f) { return tokenizer_json(f); }); });
  };
  CHECK(holds(verdict([](gguf_writer&) {}), {"tokenizer.ggml.model"}));
  CHECK(holds(verdict([](gguf_writer& out) { out.set("tokenizer.ggml.model", "bert"); }),
              {"a.gguf", "bert", "gpt2"}));
  CHECK(holds(verdict([](gguf_writer& out) { letters(out); }), {"tokenizer.ggml.merges"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                out.set("tokenizer.ggml.model", "gpt2");
                out.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "a"});
              }),
              {"tokens[1]", "each token once"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                out.set("tokenizer.ggml.model", "gpt2");
                out.set("tokenizer.ggml.tokens", std::vector<std::string>{"\xFF"});
              }),
              {"tokens[0]", "UTF-8"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                out.set("tokenizer.ggml.model", "gpt2");
                out.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
                out.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{1});
              }),
              {"token_type", "1", "2 elements"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                out.set("tokenizer.ggml.model", "gpt2");
                out.set("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
                out.set("tokenizer.ggml.token_type", std::vector<std::int32_t>{7});
              }),
              {"token_type[0]", "7"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                sentence_pieces(out);
                out.set("tokenizer.ggml.bos_token_id", 9U);
              }),
              {"bos_token_id", "9", "below 5"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                letters(out);
                out.set("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
                out.set("tokenizer.ggml.add_bos_token", true);
              }),
              {"bos_token_id", "-1"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                out.set("tokenizer.ggml.model", "llama");
                out.set("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
                out.set("tokenizer.ggml.scores", std::vector<float>{std::nanf("")});
              }),
              {"scores", "nan"}));
  CHECK(holds(verdict([](gguf_writer& out) {
                out.set("tokenizer.ggml.model", "llama");
                out.set("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
                out.set("tokenizer.ggml.scores", std::vector<float>{});
              }),
              {"scores", "0", "1 elements"}));
  gguf_writer out;
  CHECK(holds(error_of([&] { set_tokenizer(out, embedded(), 4000, 0, 0, true, "json"); }),
              {"json: tokens", "4096", "4000"}));
}

}  // namespace gguf_tokenizer_tests
