// tersor - tests of byte-pair encoding
// SPDX-License-Identifier: MIT
#include <tersor/io/byte_pairs.hpp>

#include <random>

#include "catch.hpp"
#include "io/temporary_folder.hpp"

namespace byte_pairs_tests {

using namespace tersor;
using namespace tersor::io;
using tersor::test::error_of;
using tersor::test::holds;

namespace {

std::vector<int> encode(const byte_pairs& pairs, std::string_view word) {
  std::vector<int> ids;
  pairs.encode(word, ids, "vocabulary");
  return ids;
}

struct rule {
  int left, right, id;
};

/// The definition: merge the leftmost pair of the lowest rank until there is none.
std::vector<int> by_definition(const std::vector<rule>& rules, std::string_view word) {
  std::vector<int> ids(word.begin(), word.end());
  for (;;) {
    std::size_t best = rules.size(), place = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      for (std::size_t rank = 0; rank < best; ++rank)
        if (rules[rank].left == ids[i] && rules[rank].right == ids[i + 1]) {
          best = rank;
          place = i;
        }
    if (best == rules.size()) return ids;
    ids[place] = rules[best].id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

}  // namespace

TEST_CASE("byte pairs: by hand") {
  byte_pairs pairs;
  for (const char c : {'a', 'b', 'c'}) pairs.set_byte(static_cast<unsigned char>(c), c);
  CHECK(encode(pairs, "").empty());
  CHECK(encode(pairs, "abc") == std::vector<int>{'a', 'b', 'c'});
  pairs.set_merge('b', 'c', 0, 300);
  pairs.set_merge('a', 'b', 1, 301);
  pairs.set_merge('a', 'a', 2, 302);
  CHECK(encode(pairs, "abc") == std::vector<int>{'a', 300});
  CHECK(encode(pairs, "aaaaa") == std::vector<int>{302, 302, 'a'});  // leftmost first
  pairs.set_merge('b', 'c', 3, 300);                                 // the later rank counts
  CHECK(encode(pairs, "abc") == std::vector<int>{301, 'c'});
  std::vector<int> ids{7};
  pairs.encode("ab", ids, "vocabulary");
  CHECK(ids == std::vector<int>{7, 301});
  CHECK(holds(error_of([&] { encode(pairs, "ax"); }), {"byte 120", "vocabulary"}));
}

TEST_CASE("byte pairs: the queue gives what the definition gives") {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    byte_pairs pairs;
    std::vector<int> tokens{'a', 'b', 'c'};
    for (const int c : tokens) pairs.set_byte(static_cast<unsigned char>(c), c);
    std::vector<rule> rules;
    for (int id = 256; id < 256 + static_cast<int>(random() % 12); ++id) {
      const rule r{tokens[random() % tokens.size()], tokens[random() % tokens.size()], id};
      const bool there = std::any_of(rules.begin(), rules.end(), [&](const rule& other) {
        return other.left == r.left && other.right == r.right;
      });
      if (there) continue;
      pairs.set_merge(r.left, r.right, rules.size(), id);
      rules.push_back(r);
      tokens.push_back(id);
    }
    std::string word(random() % 30, ' ');
    for (char& c : word) c = static_cast<char>('a' + random() % 3);
    CHECK(encode(pairs, word) == by_definition(rules, word));
  }
}

TEST_CASE("byte pairs: tokens are merged like bytes") {
  byte_pairs pairs;
  pairs.set_merge(7, 8, 0, 9);
  pairs.set_merge(9, 9, 1, 10);
  std::vector<int> ids{1};
  pairs.merge_tokens(std::vector<int>{7, 8, 7, 8, 7}, ids);
  CHECK(ids == std::vector<int>{1, 10, 7});
}

}  // namespace byte_pairs_tests
