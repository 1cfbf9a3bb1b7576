// tersor - byte-pair encoding: the bytes of a word merged by rank
// SPDX-License-Identifier: MIT
#pragma once

#include <array>          // std::array
#include <cstddef>        // std::size_t
#include <cstdint>        // std::uint64_t
#include <limits>         // std::numeric_limits
#include <queue>          // std::priority_queue
#include <span>           // std::span
#include <string_view>    // std::string_view
#include <tuple>          // std::tie
#include <unordered_map>  // std::unordered_map
#include <vector>         // std::vector

#include <tersor/core/error.hpp>

namespace tersor::io {

/// The token of each byte and the merges of token pairs. Cost of `encode`: O(n log n) in the word's bytes.
class byte_pairs {
 public:
  byte_pairs() { byte_ids_.fill(-1); }
  void set_byte(unsigned char byte, int id) { byte_ids_[byte] = id; }
  void reserve(std::size_t merges) { merges_.reserve(merges); }
  /// Tokens `left` and `right` side by side become `id`; low ranks go first. A pair that is there twice has
  /// its later rank, as in the reference.
  void set_merge(int left, int right, std::size_t rank, int id) {
    merges_[pair_key(left, right)] = {rank, id};
  }

  /// Appends the ids of one word to `ids`: its bytes, merged. A byte without a token is an error, which says
  /// that `where` lacks it.
  void encode(std::string_view word, std::vector<int>& ids, std::string_view where) const {
    std::vector<int> bytes(word.size());
    for (std::size_t i = 0; i < word.size(); ++i) {
      const auto byte = static_cast<unsigned char>(word[i]);
      require(byte_ids_[byte] >= 0, "text", concat("byte ", static_cast<int>(byte)),
              "bytes that the vocabulary of ", where, " has");
      bytes[i] = byte_ids_[byte];
    }
    merge_tokens(bytes, ids);
  }

  /// Appends `tokens` to `ids` after again and again the merge of the lowest rank, leftmost first. Symbols
  /// form a linked list; a queue holds the possible merges, of which outdated ones are skipped.
  void merge_tokens(std::span<const int> tokens, std::vector<int>& ids) const {
    struct symbol {
      int id;
      std::size_t previous, next;
    };
    struct candidate {
      std::size_t rank, left;
      int id;
      // The queue's top is its largest: lowest rank, then leftmost.
      bool operator<(const candidate& other) const {
        return std::tie(other.rank, other.left) < std::tie(rank, left);
      }
    };
    constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    constexpr int merged = -1;
    std::vector<symbol> symbols(tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i)
      symbols[i] = {tokens[i], i == 0 ? none : i - 1, i + 1 == tokens.size() ? none : i + 1};
    std::priority_queue<candidate> queue;
    const auto find = [&](std::size_t left) {
      const std::size_t right = symbols[left].next;
      return right == none ? merges_.end() : merges_.find(pair_key(symbols[left].id, symbols[right].id));
    };
    const auto propose = [&](std::size_t left) {
      if (const auto m = find(left); m != merges_.end()) queue.push({m->second.rank, left, m->second.id});
    };
    for (std::size_t i = 0; i < symbols.size(); ++i) propose(i);
    while (!queue.empty()) {
      const candidate best = queue.top();
      queue.pop();
      if (symbols[best.left].id == merged) continue;
      if (const auto m = find(best.left); m == merges_.end() || m->second.id != best.id) continue;
      const std::size_t right = symbols[best.left].next;
      symbols[best.left].id = best.id;
      symbols[best.left].next = symbols[right].next;
      symbols[right].id = merged;
      if (symbols[best.left].next != none) symbols[symbols[best.left].next].previous = best.left;
      propose(best.left);
      if (symbols[best.left].previous != none) propose(symbols[best.left].previous);
    }
    for (const symbol& s : symbols)
      if (s.id != merged) ids.push_back(s.id);
  }

 private:
  struct merge {
    std::size_t rank;
    int id;
  };
  static std::uint64_t pair_key(int left, int right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
  }

  std::array<int, 256> byte_ids_{};  // -1: not in the vocabulary
  std::unordered_map<std::uint64_t, merge> merges_;
};

}  // namespace tersor::io
