// tersor - tests of byte-level pre-tokenizers
// SPDX-License-Identifier: MIT
#include <tersor/io/pre_tokenizer.hpp>

#include <random>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace pre_tokenizer_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;

namespace {

using words = std::vector<std::string>;

constexpr const char* gpt2 = R"({"type": "ByteLevel", "add_prefix_space": false})";
constexpr const char* bytes_only = R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})";

std::string llama3(const char* digits) {
  return concat(
      R"x({"type": "Split", "pattern": {"Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N})x",
      digits,
      R"x(| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated"})x");
}
std::string sequence(std::string_view first, std::string_view last = bytes_only) {
  return concat(R"({"type": "Sequence", "pretokenizers": [)", first, ", ", last, "]}");
}

words split(std::string_view pre_tokenizer_json, std::string_view text) {
  words result;
  pre_tokenizer(parse_json(pre_tokenizer_json, "file"), "file").split(text, [&](std::string_view word) {
    result.emplace_back(word);
  });
  return result;
}

}  // namespace

// By hand, from the patterns.
TEST_CASE("pre-tokenizer: the GPT-2 pattern") {
  CHECK(split(gpt2, "").empty());
  CHECK(split(gpt2, "It's the year 1890!?") == words{"It", "'s", " the", " year", " 1890", "!?"});
  CHECK(split(gpt2, "we'll WE'LL") == words{"we", "'ll", " WE", "'", "LL"});
  CHECK(split(gpt2, "a  b \n") == words{"a", " ", " b", " \n"});
  CHECK(split(gpt2, "caf\xC3\xA9\xC2\xBD x\xFF") == words{"caf\xC3\xA9", "\xC2\xBD", " x", "\xFF"});
}

TEST_CASE("pre-tokenizer: the Llama-3 pattern, with one and with three digits at once") {
  const auto three = sequence(llama3("{1,3}"));
  CHECK(split(three, "It'S 18907") == words{"It", "'S", " ", "189", "07"});
  CHECK(split(sequence(llama3("")), "a 12") == words{"a", " ", "1", "2"});
  CHECK(split(three, "-x (y) ") == words{"-x", " (", "y", ")", " "});
  CHECK(split(three, "a \n\n b") == words{"a", " \n\n", " b"});
  CHECK(split(three, "end.\n\nx") == words{"end", ".\n\n", "x"});
}

TEST_CASE("pre-tokenizer: digits, a space before the text, no pattern") {
  CHECK(split(bytes_only, "a b 12") == words{"a b 12"});
  CHECK(split(sequence(R"({"type": "Digits", "individual_digits": true})"), "a12b") ==
        words{"a", "1", "2", "b"});
  CHECK(split(sequence(R"({"type": "Digits"})"), "a12b") == words{"a", "12", "b"});
  const char* prefix = R"({"type": "ByteLevel"})";
  CHECK(split(prefix, "a b") == words{" a", " b"});
  CHECK(split(prefix, " a b") == words{" a", " b"});
}

TEST_CASE("pre-tokenizer: no byte is lost and no word is empty") {
  std::mt19937 random(5);
  const std::string alphabets[] = {" \n\r'aB1.\xC3\xA9", "\x80\xFF\xE2\x9C x\t"};
  for (const auto& description : {std::string(gpt2), sequence(llama3("{1,3}")), std::string(bytes_only)})
    for (int n = 0; n < 500; ++n) {
      const auto& alphabet = alphabets[n % 2];
      std::string text(1 + random() % 20, ' '), joined;
      for (char& c : text) c = alphabet[random() % alphabet.size()];
      for (const auto& word : split(description, text)) {
        CHECK_FALSE(word.empty());
        joined += word;
      }
      CHECK(joined == text);
    }
}

TEST_CASE("pre-tokenizer: what it does not read is refused by name") {
  const auto refusal = [](std::string_view description) {
    return error_of([&] { split(description, "x"); });
  };
  CHECK(holds(refusal("null"), {"file", "null", "ByteLevel"}));
  CHECK(holds(refusal(R"({"type": "Metaspace"})"), {"file", "Metaspace", "ByteLevel"}));
  CHECK(holds(refusal(sequence(R"({"type": "Whitespace"})")), {"file[0]", "Whitespace"}));
  CHECK(holds(refusal(sequence(gpt2, R"({"type": "Digits"})")), {"file[0]", "ByteLevel"}));
  CHECK(holds(refusal(sequence(llama3("{1,4}"))), {"file[0]", "pattern", "{1,4}"}));
  auto removed = llama3("");
  removed.replace(removed.find("Isolated"), 8, "Removed");
  CHECK(holds(refusal(sequence(removed)), {"file[0]", "behavior", "Removed"}));
}

}  // namespace pre_tokenizer_tests
