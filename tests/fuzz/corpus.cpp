// tersor - the fuzzers' files in the ordinary tests: what is whole is read, what is broken is a named error
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <tersor/io/file.hpp>

#include "catch.hpp"
#include "fuzz/targets.hpp"
#include "io/temporary_folder.hpp"

namespace tersor {
namespace corpus_tests {

const std::map<std::string, void (*)(std::string_view)> targets{
    {"safetensors", fuzz::safetensors}, {"gguf", fuzz::gguf}, {"tokenizer", fuzz::tokenizer},
    {"config", fuzz::config},           {"peft", fuzz::peft}, {"spec", fuzz::spec},
    {"layouts", fuzz::layouts}};

TEST_CASE("corpus: whole files are read, broken ones end in an error that names what is wrong") {
  const auto corpus = std::filesystem::path(TERSOR_SOURCE_DIR) / "tests" / "fuzz" / "corpus";
  for (const auto& [target, read] : targets) {
    std::size_t whole = 0, broken = 0;
    for (const auto& entry : std::filesystem::directory_iterator(corpus / target)) {
      const std::string name = entry.path().filename().string();
      CAPTURE(target, name);
      const std::string bytes = io::read_text_file(entry.path());
      std::string argument, expected;
      try {
        read(bytes);
        ++whole;
        CHECK(name.starts_with("good-"));
      } catch (const error& e) {
        ++broken;
        INFO(e.what());
        CHECK(name.starts_with("bad-"));
        CHECK(!e.argument().empty());
        CHECK(!e.expected().empty());
      }
    }
    CAPTURE(target);
    CHECK(whole > 0);
    CHECK(broken > 0);
  }
}

// Every file that is whole, cut anywhere or with a byte changed, is read or refused, and nothing else.
TEST_CASE("corpus: cut and changed files are read or refused") {
  const auto corpus = std::filesystem::path(TERSOR_SOURCE_DIR) / "tests" / "fuzz" / "corpus";
  for (const auto& [target, read] : targets)
    for (const auto& entry : std::filesystem::directory_iterator(corpus / target)) {
      const std::string name = entry.path().filename().string(), bytes = io::read_text_file(entry.path());
      CAPTURE(target, name);
      if (!name.starts_with("good-")) continue;
      const std::size_t step = std::max<std::size_t>(1, bytes.size() / 40);
      for (std::size_t i = 0; i < bytes.size(); i += step) {
        std::string changed = bytes;
        changed[i] = static_cast<char>(changed[i] ^ 0x41);
        for (const std::string& text : {bytes.substr(0, i), changed}) try {
            read(text);
          } catch (const error& e) {
            CHECK(!e.argument().empty());
          }
      }
    }
}

}  // namespace corpus_tests
}  // namespace tersor
