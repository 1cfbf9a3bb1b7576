// tersor - tests of the byte-level BPE tokenizer
// SPDX-License-Identifier: MIT
#include <tersor/io/tokenizer.hpp>

#include <random>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace tokenizer_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;

namespace {

const std::filesystem::path root = TERSOR_SOURCE_DIR;
const std::filesystem::path lm = root / "examples/data/lm";

/// A vocabulary that can be checked by hand: the 256 bytes, then a few merges.
json small() {
  json file = read_json_file(lm / "tokenizer.json");
  json vocab = json::object();
  for (const auto& [name, id] : file["model"]["vocab"].get<std::map<std::string, int>>())
    if (id <= 256) vocab[name] = id;
  vocab["ab"] = 257;
  vocab["abc"] = 258;
  vocab["bc"] = 259;
  file["model"]["vocab"] = vocab;
  file["model"]["merges"] = json::parse(R"(["b c", ["a", "b"], "ab c", "a bc"])");
  return file;
}

std::string load_error(const json& file) {
  return error_of([&] { tokenizer(file, "file"); });
}

}  // namespace

TEST_CASE("tokenizer: of many added tokens the longest is found without trying each") {
  json file = small();
  auto token = file["added_tokens"][0];
  constexpr int count = 20000;
  for (int i = 0; i < count; ++i) {
    token["id"] = 260 + i;
    token["content"] = "a" + std::to_string(i) + (i % 2 == 0 ? "" : "a");
    file["added_tokens"].push_back(token);
  }
  const tokenizer t(file, "file");
  std::string text;
  for (int i = 0; i < 200000; ++i) text += "a-";  // each a begins like all of them
  const std::string whole = text + "a12" + "a1a" + "a10b";
  CHECK(t.decode(t.encode(whole)) == whole);
  CHECK(t.encode("a12") == std::vector<int>{260 + 12});
  CHECK(t.encode("a11a") == std::vector<int>{260 + 11});
}

TEST_CASE("unicode: classes") {  // Unicode 16.0, general categories L* and N*, property White_Space
  CHECK(class_of('a') == unicode_class::letter);
  CHECK(class_of('Z') == unicode_class::letter);
  CHECK(class_of('5') == unicode_class::number);
  CHECK(class_of(' ') == unicode_class::space);
  CHECK(class_of('_') == unicode_class::other);
  CHECK(class_of(0) == unicode_class::other);
  CHECK(class_of(0x1C) == unicode_class::other);  // a separator for Python, but no White_Space
  CHECK(class_of(0x85) == unicode_class::space);
  CHECK(class_of(0xAA) == unicode_class::letter);    // feminine ordinal indicator
  CHECK(class_of(0xBD) == unicode_class::number);    // one half, No
  CHECK(class_of(0x301) == unicode_class::other);    // combining acute, Mn
  CHECK(class_of(0x2167) == unicode_class::number);  // Roman eight, Nl
  CHECK(class_of(0x3000) == unicode_class::space);
  CHECK(class_of(0x4E00) == unicode_class::letter);
  CHECK(class_of(0x1F600) == unicode_class::other);
  CHECK(class_of(0x323AF) == unicode_class::letter);  // last of CJK extension H
  CHECK(class_of(0x10FFFF) == unicode_class::other);
  std::array<int, 4> count{};
  for (char32_t c = 0; c < 0x110000; ++c) ++count[static_cast<std::size_t>(class_of(c))];
  CHECK(count == std::array<int, 4>{0x110000 - 141028 - 1911 - 25, 141028, 1911, 25});
}

TEST_CASE("unicode: UTF-8 decoding") {  // RFC 3629
  for (char32_t c : {0x0U, 0x7FU, 0x80U, 0x7FFU, 0x800U, 0xD7FFU, 0xE000U, 0xFFFFU, 0x10000U, 0x10FFFFU}) {
    std::string s;
    if (c < 0x80) {
      s += static_cast<char>(c);
    } else {
      const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
      s += static_cast<char>((0xF0U << (3 - more)) | c >> (6 * more));
      for (int k = more - 1; k >= 0; --k) s += static_cast<char>(0x80U | (c >> (6 * k) & 0x3FU));
    }
    const utf8_character d = decode_utf8(s, 0);
    CHECK(d.valid);
    CHECK(d.code == c);
    CHECK(d.length == s.size());
    for (std::size_t n = 1; n < s.size(); ++n)
      CHECK_FALSE(decode_utf8(std::string_view(s).substr(0, n), 0).valid);
  }
  for (std::string_view bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                               "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    CHECK_FALSE(decode_utf8(bad, 0).valid);
    CHECK(decode_utf8(bad, 0).length == 1);
  }
}

TEST_CASE("tokenizer: merges by rank, leftmost first, by hand") {
  const tokenizer t(small(), "small");
  const int a = *t.token_to_id("a"), b = *t.token_to_id("b"), c = *t.token_to_id("c");
  CHECK(t.encode("").empty());
  CHECK(t.encode("abc") == std::vector<int>{258});  // b c before a b, then a bc
  CHECK(t.encode("ab") == std::vector<int>{257});
  CHECK(t.encode("bcbc") == std::vector<int>{259, 259});
  CHECK(t.encode("abab") == std::vector<int>{257, 257});
  CHECK(t.encode("cba") == std::vector<int>{c, b, a});
  CHECK(t.encode("aabc") == std::vector<int>{a, 258});
  CHECK(t.encode("a b") == std::vector<int>{a, *t.token_to_id("Ġ"), b});
  CHECK(t.vocab_size() == 260);
  CHECK(t.bytes(258) == "abc");
  CHECK(t.bytes(*t.token_to_id("Ġ")) == " ");
  CHECK_FALSE(t.token_to_id("abcd").has_value());
  CHECK(t.is_special(0));
  CHECK_FALSE(t.is_special(a));
  CHECK(t.encode("ab<|endoftext|>ab") == std::vector<int>{257, 0, 257});
  const std::vector<int> ids{257, 0, 257};
  CHECK(t.decode(ids) == "ab<|endoftext|>ab");
  CHECK(t.decode(ids, true) == "abab");
}

TEST_CASE("tokenizer: a pair with two ranks has the later one") {
  json file = small();
  file["model"]["merges"] = json::parse(R"(["b c", "a b", "b c"])");  // a b has rank 1, b c rank 2
  const tokenizer t(file, "small");
  CHECK(t.encode("abc") == std::vector<int>{257, *t.token_to_id("c")});
}

// Every byte string comes back, UTF-8 or not.
TEST_CASE("tokenizer: decode(encode(x)) == x") {
  const tokenizer t(lm);
  std::string every;
  for (int b = 0; b < 256; ++b) every += static_cast<char>(b);
  CHECK(t.decode(t.encode(every)) == every);
  std::mt19937 random(3);
  for (int n = 0; n < 300; ++n) {
    std::string s(random() % 60, ' ');
    const auto kind = random() % 3;
    for (char& c : s)
      c = static_cast<char>(kind == 0 ? random() % 256 : kind == 1 ? random() % 128 : 0x20 + random() % 8);
    CHECK(t.decode(t.encode(s)) == s);
  }
  const std::string text = read_text_file(lm / "calibration.txt");
  CHECK(t.decode(t.encode(text)) == text);
}

// A word of half a million letters: the merge loop must not be quadratic, and equals the loop over every
// pair.
TEST_CASE("tokenizer: long words") {
  const tokenizer t(small(), "small");
  std::string word;
  for (int n = 0; n < 100000; ++n) word += "abcab";
  const std::vector<int> ids = t.encode(word);
  REQUIRE(ids.size() == 200000);
  CHECK(ids[0] == 258);
  CHECK(ids[1] == 257);
  CHECK(t.decode(ids) == word);
}

// Expected: ids of the reference implementation, stored beside the model.
TEST_CASE("tokenizer: the evaluation text of the embedded model") {
  const tokenizer t(lm / "tokenizer.json");
  const json reference = read_json_file(lm / "reference.json");
  const std::string text = read_text_file(lm / "evaluation.txt");
  std::vector<int> ids{0};
  const std::vector<int> encoded = t.encode(text);
  ids.insert(ids.end(), encoded.begin(), encoded.end());
  CHECK(ids.size() == get<std::size_t>(reference, "eval_tokens", "reference.json"));
  CHECK(ids.size() == 114316);
  const auto first = get<std::vector<int>>(reference, "ids_first_128", "reference.json");
  CHECK(std::vector<int>(ids.begin(), ids.begin() + 128) == first);
  CHECK(t.decode(encoded) == text);
  CHECK(t.vocab_size() == 4096);
}

// Expected: Hugging Face tokenizers 0.23.3, see tests/data/io/make_tokenizer_cases.py.
TEST_CASE("tokenizer: agrees with the reference on every kind of file it reads") {
  const json base = read_json_file(lm / "tokenizer.json");
  const json data = read_json_file(root / "tests/data/io/tokenizer_cases.json");
  REQUIRE(data["groups"].size() == 11);
  for (const json& group : data["groups"]) {
    json file = base;
    file.merge_patch(group["patch"]);
    const tokenizer t(file, group["name"].get<std::string>());
    for (const json& item : group["cases"]) {
      const auto text = item["text"].get<std::string>();
      INFO(group["name"].get<std::string>() << ": " << item["text"].dump(-1, ' ', true));
      const std::vector<int> ids = t.encode(text);
      CHECK(ids == item["ids"].get<std::vector<int>>());
      if (group["lossless"].get<bool>()) CHECK(t.decode(ids) == text);
    }
  }
}

// Expected: Hugging Face tokenizers 0.23.3, see tests/data/io/make_piece_cases.py.
TEST_CASE("tokenizer: SentencePiece vocabularies agree with the reference") {
  const json data = read_json_file(root / "tests/data/io/piece_cases.json");
  REQUIRE(data["groups"].size() == 2);
  for (const json& group : data["groups"]) {
    json file = data["tokenizer"];
    file.merge_patch(group["patch"]);
    const tokenizer t(file, "pieces");
    for (const json& item : group["cases"]) {
      INFO(item["text"].dump(-1, ' ', true));
      const auto ids = t.encode(item["text"].get<std::string>());
      CHECK(ids == item["ids"].get<std::vector<int>>());
      CHECK(t.decode(ids) == item["decoded"].get<std::string>());
    }
    CHECK(t.is_special(1));
    CHECK(t.bytes(*t.token_to_id("<0x41>")) == "A");
    CHECK(t.decode(t.encode("\xFF\xC3(")) == "\xFF\xC3(");  // bytes that are not UTF-8
  }
}

TEST_CASE("tokenizer: SentencePiece characters that the vocabulary lacks") {
  json file = read_json_file(root / "tests/data/io/piece_cases.json")["tokenizer"];
  const auto bytes = tokenizer(file, "pieces").encode("\u00fcx");
  CHECK(bytes.size() > 2);
  file["model"]["byte_fallback"] = false;
  // Side by side they are one unknown token.
  const tokenizer unknown(file, "pieces");
  const auto ids = unknown.encode("a\u00fc\u00fca\u00fc");
  CHECK(std::count(ids.begin(), ids.end(), 0) == 2);
  file["model"]["unk_token"] = nullptr;
  CHECK(holds(error_of([&] { tokenizer(file, "pieces").encode("\u00fc"); }), {"text", "\u00fc", "pieces"}));
}

TEST_CASE("tokenizer: SentencePiece files it does not read are refused by name") {
  const json good = read_json_file(root / "tests/data/io/piece_cases.json")["tokenizer"];
  const auto with = [&](const char* pointer, const json& value) {
    json file = good;
    file[json::json_pointer(pointer)] = value;
    return load_error(file);
  };
  CHECK(with("/normalizer", good["normalizer"]).empty());
  CHECK(holds(with("/normalizer/normalizers/0/prepend", "_"), {"normalizer: Prepend", "_"}));
  CHECK(holds(with("/normalizer/normalizers/1/content", "_"), {"normalizer: Replace", "  by _"}));
  CHECK(holds(with("/normalizer/normalizers/1", {{"type", "NFKC"}}), {"normalizer", "NFKC"}));
  CHECK(holds(with("/normalizer", good["normalizer"]["normalizers"][0]), {"normalizer", "Prepend"}));
  CHECK(holds(with("/pre_tokenizer", {{"type", "Metaspace"}}), {"pre_tokenizer", "object", "null"}));
  CHECK(holds(with("/decoder", {{"type", "ByteLevel"}}), {"decoder", "ByteLevel", "Sequence"}));
  CHECK(holds(with("/model/ignore_merges", true), {"ignore_merges"}));
  CHECK(holds(with("/model/unk_token", "<none>"), {"unk_token", "<none>"}));
  json bytes = small();
  bytes["model"]["byte_fallback"] = true;
  CHECK(holds(load_error(bytes), {"byte_fallback"}));
}

TEST_CASE("tokenizer: files it does not read are refused by name") {
  json file = small();
  SECTION("kinds") {
    file["model"]["type"] = "Unigram";
    CHECK(holds(load_error(file), {"file", "model", "Unigram", "BPE"}));
    file = small();
    file["normalizer"] = {{"type", "NFC"}};
    CHECK(holds(load_error(file), {"normalizer", "NFC"}));
    file = small();
    file["pre_tokenizer"] = {{"type", "Metaspace"}};
    CHECK(holds(load_error(file), {"pre_tokenizer", "Metaspace", "ByteLevel"}));
    file["pre_tokenizer"] = nullptr;
    CHECK(holds(load_error(file), {"pre_tokenizer", "null"}));
    file["pre_tokenizer"] = json::parse(
        R"({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "ByteLevel"}]})");
    CHECK(holds(load_error(file), {"pre_tokenizer[0]", "Whitespace"}));
    file["pre_tokenizer"] = json::parse(
        R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel"}]})");
    CHECK(holds(load_error(file), {"pre_tokenizer[0]", "pattern", "\\w+"}));
    file["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits"}]})");
    CHECK(holds(load_error(file), {"pre_tokenizer[0]", "Digits"}));
    file["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": []})");
    CHECK(holds(load_error(file), {"pre_tokenizer", "Sequence"}));
    file = small();
    file["decoder"] = {{"type", "WordPiece"}};
    CHECK(holds(load_error(file), {"decoder", "WordPiece"}));
    file = small();
    file["model"]["dropout"] = 0.1;
    CHECK(holds(load_error(file), {"dropout", "0.1"}));
    file = small();
    file["model"]["end_of_word_suffix"] = "</w>";
    CHECK(holds(load_error(file), {"end_of_word_suffix", "</w>"}));
  }
  SECTION("vocabulary and merges") {
    file["model"]["vocab"]["ab"] = 258;
    CHECK(holds(load_error(file), {"258", "no other token"}));
    file["model"]["vocab"]["ab"] = -1;
    CHECK(holds(load_error(file), {"ab", "-1"}));
    file["model"]["vocab"]["ab"] = 1 << 21;  // a table of so many tokens
    CHECK(holds(load_error(file), {"ab", "2097152", "0 to 2097151"}));
    file["model"]["vocab"]["ab"] = "257";
    CHECK(holds(load_error(file), {"ab", "an integer"}));
    file = small();
    for (const char* broken : {R"(["ab"])", R"(["a b c"])", R"([["a"]])", R"([["a", "b", "c"]])", R"([7])"}) {
      file["model"]["merges"] = json::parse(broken);
      CHECK(holds(load_error(file), {"merges[0]"}));
    }
    file["model"]["merges"] = json::parse(R"(["b c", "a xyz"])");
    CHECK(holds(load_error(file), {"merges[1]", "xyz", "vocabulary"}));
    file["model"]["merges"] = json::parse(R"(["c b"])");
    CHECK(holds(load_error(file), {"merges[0]", "cb", "vocabulary"}));
    file["model"].erase("merges");
    CHECK(holds(load_error(file), {"model", "merges"}));
    file.erase("model");
    CHECK(holds(load_error(file), {"model"}));
  }
  SECTION("added tokens") {
    CHECK(tokenizer(file, "file").contains(259));
    CHECK_FALSE(tokenizer(file, "file").contains(260));
    CHECK_FALSE(tokenizer(file, "file").contains(-1));
    file["added_tokens"][0]["single_word"] = true;
    CHECK(holds(load_error(file), {"<|endoftext|>", "single_word"}));
    file = small();
    file["added_tokens"][0]["id"] = 5;
    CHECK(holds(load_error(file), {"<|endoftext|>", "5"}));
    file["added_tokens"][0]["content"] = "";
    CHECK(holds(load_error(file), {"added_tokens", "not empty"}));
  }
  SECTION("text and ids") {
    file["model"]["vocab"].erase("z");
    const tokenizer t(file, "file");
    CHECK(holds(error_of([&] { t.encode("fuzz"); }), {"byte 122", "file"}));
    CHECK(holds(error_of([&] { t.bytes(-1); }), {"-1"}));
    CHECK(holds(error_of([&] { t.bytes(260); }), {"260"}));
    CHECK(holds(error_of([&] { t.bytes(*tokenizer(small(), "x").token_to_id("z")); }),
                {"token id"}));  // a hole
  }
  SECTION("no file") {
    CHECK(holds(error_of([] { tokenizer("/nowhere"); }), {"/nowhere"}));
  }
}

}  // namespace tokenizer_tests
