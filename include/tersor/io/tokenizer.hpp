// tersor - BPE tokenizers, byte-level or of SentencePiece, as Hugging Face tokenizer.json files describe them
// SPDX-License-Identifier: MIT
#pragma once

// What is read: model BPE, of two kinds.
// - Byte-level (GPT-2, RoBERTa, Llama 3): the pre-tokenizers of pre_tokenizer.hpp; no normalizer; decoder
//   ByteLevel.
// - SentencePiece (Llama 2): spaces written as "\u2581", one more before the text if a normalizer Prepend
// says
//   so; no pre-tokenizer; characters that the vocabulary lacks become tokens "<0x00>" to "<0xFF>"
//   (byte_fallback), or the unknown token.
// Added tokens of both. Everything else is an error that names it. The post-processor, truncation and padding
// of the file are the caller's business: `encode` adds no beginning-of-text token.
//
// Guarantee: decode(encode(x)) == x for every byte string, UTF-8 or not, unless a byte-level file asks for a
// prefix space, or for added tokens that swallow the white space beside them. With SentencePiece, U+2581
// becomes a space, and text after an added token has the prefix space too. Cost of `encode`: O(n log n) in
// the longest word, and linear in the text; a word that occurs again is looked up.
//
//   const tersor::io::tokenizer tokens("model-folder");          // or the path of its tokenizer.json
//   std::vector<int> ids = tokens.encode("The artist is the creator of beautiful things.");
//   std::string text = tokens.decode(ids);

#include <algorithm>      // std::sort
#include <array>          // std::array
#include <cstddef>        // std::size_t
#include <filesystem>     // std::filesystem::path
#include <functional>     // std::hash
#include <optional>       // std::optional
#include <span>           // std::span
#include <string>         // std::string
#include <string_view>    // std::string_view
#include <unordered_map>  // std::unordered_map
#include <utility>        // std::pair
#include <vector>         // std::vector

#include <tersor/core/error.hpp>
#include <tersor/io/byte_pairs.hpp>
#include <tersor/io/file.hpp>
#include <tersor/io/json.hpp>
#include <tersor/io/pre_tokenizer.hpp>
#include <tersor/io/unicode_classes.hpp>

namespace tersor::io {

namespace detail {

/// The printable stand-in of each byte in a byte-level vocabulary: itself for visible Latin-1 characters, the
/// next unused code point from U+0100 for the others.
constexpr std::array<char32_t, 256> byte_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool visible = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
    alphabet[b] = visible ? b : next++;
  }
  return alphabet;
}

/// The bytes that a token of a byte-level vocabulary stands for; nothing if a character of it is no such
/// stand-in.
inline std::optional<std::string> bytes_of_token(std::string_view token) {
  static constexpr auto bytes = [] {
    std::array<int, 512> table{};
    table.fill(-1);
    const auto alphabet = byte_alphabet();
    for (std::size_t b = 0; b < 256; ++b) table[alphabet[b]] = static_cast<int>(b);
    return table;
  }();
  std::string result;
  for (std::size_t p = 0; p < token.size();) {
    const utf8_character c = decode_utf8(token, p);
    if (!c.valid || c.code >= bytes.size() || bytes[c.code] < 0) return std::nullopt;
    result += static_cast<char>(bytes[c.code]);
    p += c.length;
  }
  return result;
}

/// Lets a map of strings be searched with a string_view.
struct string_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
template <class T>
using string_map = std::unordered_map<std::string, T, string_hash, std::equal_to<>>;

/// The space of a SentencePiece vocabulary, U+2581.
inline constexpr std::string_view piece_space = "\xE2\x96\x81";

/// `text` with every `from` replaced by `to`.
inline std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (std::size_t done = 0;;) {
    const std::size_t found = text.find(from, done);
    result += text.substr(done, found - done);
    if (found == text.npos) return result;
    result += to;
    done = found + from.size();
  }
}

/// The byte of a token "<0xNN>", or nothing.
inline std::optional<char> byte_of_piece(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9', letter = c >= 'A' && c <= 'F';
    if (!digit && !letter) return std::nullopt;
    value = 16 * value + (digit ? c - '0' : c - 'A' + 10);
  }
  return static_cast<char>(value);
}

}  // namespace detail

/// A BPE tokenizer. Immutable after construction: one object may serve many threads.
class tokenizer {
 public:
  /// Reads `path`, a tokenizer.json or the folder that holds it.
  explicit tokenizer(const std::filesystem::path& path) : tokenizer(load(path)) {}
  /// From parsed JSON. @param where names it in errors.
  tokenizer(const json& file, std::string_view where) : where_(where) {
    read_normalizer(file);
    read_model(member(file, "model", where_));
    read_added_tokens(file);
    const json& words = member(file, "pre_tokenizer", where_);
    if (pieces_)
      require(words.is_null(), where_ + ": pre_tokenizer", type_of(words), "null beside this normalizer");
    else
      words_ = pre_tokenizer(words, where_ + ": pre_tokenizer");
    const json& decoder = member(file, "decoder", where_);
    require_type(decoder, "decoder", pieces_ ? "Sequence" : "ByteLevel");
  }

  /// The token ids of `text`. Added tokens (such as "<|endoftext|>") that occur in it become their ids. An
  /// error if the vocabulary lacks a byte of the text.
  std::vector<int> encode(std::string_view text) const {
    encoder state{{}, {}, {}};
    encode_between(text, 0, state);
    return std::move(state.ids);
  }

  /// The bytes that the ids stand for; without the space that `encode` put before a SentencePiece text.
  /// @param skip_special leaves out added tokens marked special.
  std::string decode(std::span<const int> ids, bool skip_special = false) const {
    std::string text;
    for (int id : ids)
      if (!(skip_special && is_special(id))) text += bytes(id);
    if (prefix_space_ && text.starts_with(' ')) text.erase(0, 1);
    return text;
  }

  /// One more than the largest id: the rows that an embedding table needs.
  int vocab_size() const { return static_cast<int>(tokens_.size()); }
  /// The id of a token as tokenizer.json spells it (a space is "Ġ"), if there is one.
  std::optional<int> token_to_id(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  /// Is there a token of that id? Models whose table is padded predict others too.
  bool contains(int id) const {
    return id >= 0 && static_cast<std::size_t>(id) < tokens_.size() &&
           tokens_[static_cast<std::size_t>(id)].used;
  }
  /// The bytes of one token.
  const std::string& bytes(int id) const { return at(id).bytes; }
  /// Whether an id is an added token marked special.
  bool is_special(int id) const { return at(id).special; }

 private:
  struct token {
    std::string bytes;
    bool used = false, special = false;
  };
  struct added_token {
    std::string content;
    int id;
    bool lstrip, rstrip;  // swallow the white space before, after
  };
  /// What one call of `encode` builds up; `words` says where in `pool` the ids of a word are.
  struct encoder {
    std::vector<int> ids, pool;
    detail::string_map<std::pair<std::size_t, std::size_t>> words;
  };

  static tokenizer load(const std::filesystem::path& path) {
    const auto file = std::filesystem::is_directory(path) ? path / "tokenizer.json" : path;
    return {read_json_file(file), file.string()};
  }

  const token& at(int id) const {
    require(contains(id), "token id", id, "an id of the vocabulary, below ", tokens_.size());
    return tokens_[static_cast<std::size_t>(id)];
  }

  // --- reading tokenizer.json ---

  void require_type(const json& part, std::string_view name, std::string_view expected) const {
    const std::string where = concat(where_, ": ", name);
    require(part.is_object(), where, part.is_null() ? "null" : type_of(part), expected);
    const auto type = get<std::string>(part, "type", where);
    require(type == expected, where, type, expected);
  }

  /// None: byte-level. Else that of SentencePiece: Replace " ", after a Prepend or alone.
  void read_normalizer(const json& file) {
    const auto found = file.find("normalizer");
    if (found == file.end() || found->is_null()) return;
    const std::string where = where_ + ": normalizer";
    const auto type = get<std::string>(*found, "type", where);
    const auto steps =
        type == "Sequence" ? get<std::vector<json>>(*found, "normalizers", where) : std::vector<json>{*found};
    constexpr std::string_view expected =
        "null for byte-level BPE; for that of SentencePiece, Prepend \"\u2581\" (or not) and Replace \" \" "
        "by "
        "\"\u2581\"";
    for (const json& step : steps) {
      const auto name = get<std::string>(step, "type", where);
      if (name == "Prepend" && !pieces_ && !prefix_space_) {
        const auto text = get<std::string>(step, "prepend", where);
        require(text == detail::piece_space, where + ": Prepend", text, expected);
        prefix_space_ = true;
      } else if (name == "Replace" && !pieces_) {
        const auto from = get<std::string>(member(step, "pattern", where), "String", where + ": pattern");
        const auto to = get<std::string>(step, "content", where);
        require(from == " " && to == detail::piece_space, where + ": Replace", concat(from, " by ", to),
                expected);
        pieces_ = true;
      } else {
        fail(where, name, std::string(expected));
      }
    }
    require(pieces_, where, type, expected);
  }

  token& assign(int id, std::string_view name) {
    // Tokens are a table by id: one absurd id must not take all memory.
    constexpr int most = 1 << 21;
    require(id >= 0 && id < most, concat(where_, ": id of \"", name, "\""), id, "0 to ", most - 1);
    if (static_cast<std::size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<std::size_t>(id) + 1);
    token& t = tokens_[static_cast<std::size_t>(id)];
    require(!t.used, concat(where_, ": id of \"", name, "\""), id, "an id that no other token has");
    t.used = true;
    ids_.emplace(name, id);
    return t;
  }

  void read_model(const json& model) {
    const std::string where = where_ + ": model";
    require(model.is_object(), where, type_of(model), "an object");
    // Files from before the type was written are BPE if they have merges.
    const auto type = get<std::string>(model, "type", where, model.contains("merges") ? "BPE" : "unknown");
    require(type == "BPE", where, type, "BPE");
    const auto dropout = get<double>(model, "dropout", where, 0.0);
    require(dropout == 0.0, where + ": dropout", dropout, "none: tokenization must be deterministic");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto affix = get<std::string>(model, key, where, "");
      require(affix.empty(), concat(where, ": ", key), affix, "none: byte-level BPE has no affixes");
    }
    ignore_merges_ = get<bool>(model, "ignore_merges", where, false);
    require(!(ignore_merges_ && pieces_), where + ": ignore_merges", "true", "false with a normalizer");
    const bool fallback = get<bool>(model, "byte_fallback", where, false);
    require(!fallback || pieces_, where + ": byte_fallback", "true", "false for byte-level BPE");
    byte_tokens_.fill(-1);

    const json& vocab = member(model, "vocab", where);
    require(vocab.is_object(), where + ": vocab", type_of(vocab), "an object: token to id");
    for (const auto& item : vocab.items()) {
      const int id = json_as<int>::from(item.value(), concat(where, ": vocab: \"", item.key(), "\""));
      token& t = assign(id, item.key());
      if (pieces_) {
        const auto byte = detail::byte_of_piece(item.key());
        t.bytes = byte && fallback ? std::string(1, *byte)
                                   : detail::replace_all(item.key(), detail::piece_space, " ");
        if (byte && fallback) byte_tokens_[static_cast<unsigned char>(*byte)] = id;
        continue;
      }
      const auto bytes = detail::bytes_of_token(item.key());
      t.bytes = bytes.value_or(item.key());
      if (!bytes) continue;  // stands for itself when decoded; no text is ever encoded to it
      if (bytes->size() == 1) pairs_.set_byte(static_cast<unsigned char>((*bytes)[0]), id);
      if (ignore_merges_) whole_words_.emplace(*bytes, id);
    }

    if (const auto unknown = get<std::string>(model, "unk_token", where, ""); pieces_ && !unknown.empty()) {
      const auto id = token_to_id(unknown);
      require(id.has_value(), where + ": unk_token", unknown, "a token of the vocabulary");
      unknown_ = *id;
    }

    const json& merges = member(model, "merges", where);
    require(merges.is_array(), where + ": merges", type_of(merges), "an array");
    pairs_.reserve(merges.size());
    for (std::size_t rank = 0; rank < merges.size(); ++rank)
      read_merge(merges[rank], rank, concat(where, ": merges[", rank, "]"));
  }

  /// "a b" or ["a", "b"].
  void read_merge(const json& value, std::size_t rank, const std::string& where) {
    std::string left, right;
    if (value.is_string()) {
      const auto both = value.get<std::string>();
      const std::size_t space = both.find(' ');
      require(space != both.npos && both.find(' ', space + 1) == both.npos, where, both,
              "two tokens and a space between");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else {
      const auto both = json_as<std::vector<std::string>>::from(value, where);
      require(both.size() == 2, where, both.size(), "two tokens");
      left = both[0];
      right = both[1];
    }
    const auto id_of = [&](const std::string& name) {
      const auto id = token_to_id(name);
      require(id.has_value(), where, name, "a token of the vocabulary");
      return *id;
    };
    pairs_.set_merge(id_of(left), id_of(right), rank, id_of(left + right));
  }

  void read_added_tokens(const json& file) {
    const auto list = file.find("added_tokens");
    if (list == file.end() || list->is_null()) return;
    const std::string where = where_ + ": added_tokens";
    require(list->is_array(), where, type_of(*list), "an array");
    for (const json& item : *list) {
      const auto content = get<std::string>(item, "content", where);
      const auto id = get<int>(item, "id", where);
      const std::string here = concat(where, ": \"", content, "\"");
      require(!content.empty(), where, "\"\"", "tokens that are not empty");
      require(!get<bool>(item, "single_word", here, false), here, "single_word",
              "a token that may stand inside a word");
      const auto known = token_to_id(content);
      if (known) require(*known == id, here, id, *known, ", its id in the vocabulary");
      token& t = known ? tokens_[static_cast<std::size_t>(id)] : assign(id, content);
      t.bytes = content;
      t.special = get<bool>(item, "special", here, false);
      const bool normalized = get<bool>(item, "normalized", here, !t.special);
      added_[normalized].push_back(
          {content, id, get<bool>(item, "lstrip", here, false), get<bool>(item, "rstrip", here, false)});
    }
    for (std::size_t pass : {0U, 1U}) {
      std::stable_sort(
          added_[pass].begin(), added_[pass].end(),
          [](const added_token& a, const added_token& b) { return a.content.size() > b.content.size(); });
      for (std::size_t i = 0; i < added_[pass].size(); ++i) {
        const std::string& content = added_[pass][i].content;
        by_content_[pass].try_emplace(content, i);
        auto& lengths = lengths_[pass][static_cast<unsigned char>(content[0])];
        if (lengths.empty() || lengths.back() != content.size()) lengths.push_back(content.size());
      }
    }
  }

  // --- encoding ---

  /// Added tokens first: those that see the text as it is (pass 0), then those that would see it normalized
  /// (pass 1, the same text here). At each place the longest one wins. What lies between them is split into
  /// words.
  void encode_between(std::string_view text, std::size_t pass, encoder& state) const {
    if (pass == 2 && pieces_) {
      if (text.empty()) return;
      const std::string spaces = detail::replace_all(text, " ", detail::piece_space);
      return encode_word(prefix_space_ ? std::string(detail::piece_space) + spaces : spaces, state);
    }
    if (pass == 2) {
      if (!text.empty()) words_.split(text, [&](std::string_view word) { encode_word(word, state); });
      return;
    }
    const auto match = [&](std::size_t p) -> const added_token* {
      for (const std::size_t length : lengths_[pass][static_cast<unsigned char>(text[p])]) {
        if (length > text.size() - p) continue;
        const auto found = by_content_[pass].find(text.substr(p, length));
        if (found != by_content_[pass].end()) return &added_[pass][found->second];
      }
      return nullptr;
    };
    std::size_t done = 0;
    for (std::size_t p = 0; p < text.size() && !added_[pass].empty();) {
      const added_token* found = match(p);
      if (found == nullptr) {
        ++p;
        continue;
      }
      std::size_t begin = p, end = p + found->content.size();
      if (found->lstrip) begin = begin_of_space_before(text, done, begin);
      if (found->rstrip) end = detail::end_of_run(text, end, unicode_class::space);
      encode_between(text.substr(done, begin - done), pass + 1, state);
      state.ids.push_back(found->id);
      done = p = end;
    }
    encode_between(text.substr(done), pass + 1, state);
  }

  /// Where the white space that ends at byte `p` begins, not before `from`.
  static std::size_t begin_of_space_before(std::string_view text, std::size_t from, std::size_t p) {
    while (p > from) {
      std::size_t begin = p - 1;
      while (begin > from && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U) --begin;
      const detail::text_character c = detail::character_at(text, begin);
      if (c.type != unicode_class::space || begin + c.length != p) break;
      p = begin;
    }
    return p;
  }

  void encode_word(std::string_view word, encoder& state) const {
    constexpr std::size_t longest_remembered = 64;  // longer words hardly come twice
    if (word.size() > longest_remembered) return encode_whole(word, state.ids);
    auto found = state.words.find(word);
    if (found == state.words.end()) {
      const std::size_t begin = state.pool.size();
      encode_whole(word, state.pool);
      found = state.words.emplace(word, std::pair(begin, state.pool.size())).first;
    }
    const auto pool = state.pool.begin();
    state.ids.insert(state.ids.end(), pool + static_cast<std::ptrdiff_t>(found->second.first),
                     pool + static_cast<std::ptrdiff_t>(found->second.second));
  }

  void encode_whole(std::string_view word, std::vector<int>& ids) const {
    if (ignore_merges_)
      if (const auto whole = whole_words_.find(word); whole != whole_words_.end())
        return ids.push_back(whole->second);
    if (pieces_) return encode_pieces(word, ids);
    pairs_.encode(word, ids, where_);
  }

  /// Characters, or the bytes of those that the vocabulary lacks, merged. Unknown ones side by side are one
  /// token.
  void encode_pieces(std::string_view word, std::vector<int>& ids) const {
    std::vector<int> symbols;
    for (std::size_t p = 0; p < word.size();) {
      const std::string_view character = word.substr(p, decode_utf8(word, p).length);
      p += character.size();
      if (const auto id = token_to_id(character)) {
        symbols.push_back(*id);
        continue;
      }
      const auto token_of = [&](char c) { return byte_tokens_[static_cast<unsigned char>(c)]; };
      if (std::ranges::all_of(character, [&](char c) { return token_of(c) >= 0; })) {
        for (const char c : character) symbols.push_back(token_of(c));
      } else {
        require(unknown_ >= 0, "text", character, "characters that the vocabulary of ", where_, " has");
        if (symbols.empty() || symbols.back() != unknown_) symbols.push_back(unknown_);
      }
    }
    pairs_.merge_tokens(symbols, ids);
  }

  std::string where_;
  std::vector<token> tokens_;            // by id
  detail::string_map<int> ids_;          // by the spelling of tokenizer.json
  detail::string_map<int> whole_words_;  // by bytes, only with ignore_merges
  byte_pairs pairs_;
  std::array<std::vector<added_token>, 2> added_;  // by pass, longest first
  std::array<detail::string_map<std::size_t>, 2> by_content_;
  std::array<std::array<std::vector<std::size_t>, 256>, 2> lengths_;  // by first byte, longest first
  pre_tokenizer words_;
  bool ignore_merges_ = false;
  bool pieces_ = false;        // SentencePiece
  bool prefix_space_ = false;  // before each text that it encodes
  std::array<int, 256> byte_tokens_{};
  int unknown_ = -1;
};

}  // namespace tersor::io
