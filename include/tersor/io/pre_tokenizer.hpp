// tersor - byte-level pre-tokenizers: text into the words inside which tokens are merged
// SPDX-License-Identifier: MIT
#pragma once

// What is read: ByteLevel, or a Sequence of Split (the GPT-2 or the Llama-3 pattern) and Digits that ends
// with ByteLevel, as the "pre_tokenizer" of a Hugging Face tokenizer.json describes it. The patterns are
// matched by hand-written scanners; everything else is an error that names it.
//
//   const tersor::io::pre_tokenizer words(file["pre_tokenizer"], "tokenizer.json: pre_tokenizer");
//   words.split("In 1890", [](std::string_view word) { ... });  // "In", " 1890"

#include <cstddef>      // std::size_t
#include <limits>       // std::numeric_limits
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <vector>       // std::vector

#include <tersor/core/error.hpp>
#include <tersor/io/json.hpp>
#include <tersor/io/unicode_classes.hpp>

namespace tersor::io {

namespace detail {

struct text_character {
  char32_t code;
  std::size_t length;
  unicode_class type;
};

/// The character at byte `p` of `text`; a byte that is not UTF-8 is of class `other`.
inline text_character character_at(std::string_view text, std::size_t p) {
  const utf8_character c = decode_utf8(text, p);
  return {c.code, c.length, c.valid ? class_of(c.code) : unicode_class::other};
}

/// The end of the run of `type` that begins at or after byte `p`, at most `most` characters long.
inline std::size_t end_of_run(std::string_view text, std::size_t p, unicode_class type,
                              std::size_t most = std::numeric_limits<std::size_t>::max()) {
  for (; p < text.size() && most > 0; --most) {
    const text_character c = character_at(text, p);
    if (c.type != type) break;
    p += c.length;
  }
  return p;
}

/// `\s+(?!\S)|\s+` at byte p: a run of white space without its last character, which belongs to the word that
/// follows; all of it at the end of the text or if it is a single character.
inline std::size_t end_of_space(std::string_view text, std::size_t p) {
  std::size_t end = p, last = p;
  while (end < text.size()) {
    const text_character c = character_at(text, end);
    if (c.type != unicode_class::space) break;
    last = end;
    end += c.length;
  }
  return end == text.size() || last == p ? end : last;
}

/// The length of an English contraction ('s 't 'm 'd 're 've 'll) at byte p, or 0.
inline std::size_t contraction(std::string_view text, std::size_t p, bool any_case) {
  if (text[p] != '\'') return 0;
  const auto letter = [&](std::size_t k) -> char {
    if (p + k >= text.size()) return 0;
    const char c = text[p + k];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char a = letter(1), b = letter(2);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  // U+017F, the long s, is an s when case does not matter.
  return any_case && text.substr(p + 1, 2) == "\xC5\xBF" ? 3 : 0;
}

/// The GPT-2 pattern: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// The end of the word that begins at byte p.
inline std::size_t end_of_gpt2_word(std::string_view text, std::size_t p) {
  if (const std::size_t length = contraction(text, p, false)) return p + length;
  text_character c = character_at(text, p);
  std::size_t body = p;
  if (c.code == ' ' && p + 1 < text.size()) {
    c = character_at(text, p + 1);
    body = p + 1;
  }
  return c.type == unicode_class::space ? end_of_space(text, p) : end_of_run(text, body, c.type);
}

/// The Llama-3 (cl100k) pattern: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}|
/// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
inline std::size_t end_of_llama3_word(std::string_view text, std::size_t p, std::size_t digits) {
  if (const std::size_t length = contraction(text, p, true)) return p + length;
  const auto newline = [&](std::size_t k) { return k < text.size() && (text[k] == '\r' || text[k] == '\n'); };
  const text_character c = character_at(text, p);
  if (c.type == unicode_class::letter) return end_of_run(text, p, c.type);
  if (c.type == unicode_class::number) return end_of_run(text, p, c.type, digits);
  const std::size_t after = p + c.length;
  const unicode_class next = after < text.size() ? character_at(text, after).type : unicode_class::space;
  if (!newline(p) && next == unicode_class::letter) return end_of_run(text, after, next);
  if (c.type == unicode_class::other || (c.code == ' ' && next == unicode_class::other)) {
    std::size_t end = end_of_run(text, c.type == unicode_class::other ? p : after, unicode_class::other);
    while (newline(end)) ++end;
    return end;
  }
  const std::size_t run = end_of_run(text, p, unicode_class::space);
  for (std::size_t end = run; end > p; --end)
    if (newline(end - 1)) return end;
  return end_of_space(text, p);
}

}  // namespace detail

/// Splits text without losing a byte, except that a file may ask for a space before the text.
class pre_tokenizer {
 public:
  pre_tokenizer() = default;
  /// @param part the JSON of the pre-tokenizer; @param where names it in errors.
  pre_tokenizer(const json& part, const std::string& where) {
    require(part.is_object(), where, part.is_null() ? "null" : type_of(part),
            "ByteLevel, or a Sequence that ends with it");
    if (get<std::string>(part, "type", where) != "Sequence") {
      read_last_stage(part, where);
      return;
    }
    const json& list = member(part, "pretokenizers", where);
    require(list.is_array() && !list.empty(), where, "Sequence", "a list that ends with ByteLevel");
    for (std::size_t i = 0; i + 1 < list.size(); ++i) read_stage(list[i], concat(where, "[", i, "]"));
    read_last_stage(list.back(), concat(where, "[", list.size() - 1, "]"));
  }

  /// Calls f(word) for each word in order; a word is valid during the call.
  template <class F>
  void split(std::string_view text, F&& f) const {
    split_from(0, text, f);
  }

 private:
  /// One step of splitting.
  struct stage {
    enum kind { gpt2, llama3, digits, prefix_space } kind;
    std::size_t digits_at_once = 0;
  };

  void read_last_stage(const json& part, const std::string& where) {
    const auto type = get<std::string>(part, "type", where);
    require(type == "ByteLevel", where, type,
            "ByteLevel, or a Sequence of Split and Digits that ends with it");
    if (get<bool>(part, "add_prefix_space", where, true)) stages_.push_back({stage::prefix_space});
    if (get<bool>(part, "use_regex", where, true)) stages_.push_back({stage::gpt2});
  }

  void read_stage(const json& part, const std::string& where) {
    const auto type = get<std::string>(part, "type", where);
    if (type == "Digits") {
      const bool single = get<bool>(part, "individual_digits", where, false);
      stages_.push_back({stage::digits, single ? 1 : std::numeric_limits<std::size_t>::max()});
      return;
    }
    require(type == "Split", where, type, "Split or Digits before ByteLevel");
    const auto pattern = get<std::string>(member(part, "pattern", where), "Regex", where + ": pattern");
    const auto behavior = get<std::string>(part, "behavior", where);
    const bool invert = get<bool>(part, "invert", where, false);
    // The patterns match all of any text, so that keeping the matches is the same as isolating them.
    require((behavior == "Isolated" && !invert) || (behavior == "Removed" && invert), where + ": behavior",
            behavior + (invert ? ", inverted" : ""), "Isolated");
    static constexpr std::string_view head =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}";
    static constexpr std::string_view tail = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    if (pattern == "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")
      stages_.push_back({stage::gpt2});
    else if (pattern == concat(head, "{1,3}", tail))
      stages_.push_back({stage::llama3, 3});
    else if (pattern == concat(head, tail))
      stages_.push_back({stage::llama3, 1});
    else
      fail(where + ": pattern", pattern,
           "the GPT-2 pattern or the Llama-3 pattern (with 1 or 1 to 3 digits at once)");
  }

  template <class F>
  void split_from(std::size_t index, std::string_view text, F& f) const {
    if (index == stages_.size()) return f(text);
    const stage& s = stages_[index];
    if (s.kind == stage::prefix_space) {
      if (text.starts_with(' ')) return split_from(index + 1, text, f);
      return split_from(index + 1, " " + std::string(text), f);
    }
    for (std::size_t p = 0; p < text.size();) {
      const std::size_t end = end_of_piece(s, text, p);
      split_from(index + 1, text.substr(p, end - p), f);
      p = end;
    }
  }

  static std::size_t end_of_piece(const stage& s, std::string_view text, std::size_t p) {
    if (s.kind == stage::gpt2) return detail::end_of_gpt2_word(text, p);
    if (s.kind == stage::llama3) return detail::end_of_llama3_word(text, p, s.digits_at_once);
    const auto is_number = [&](std::size_t k) {
      return detail::character_at(text, k).type == unicode_class::number;
    };
    if (is_number(p)) return detail::end_of_run(text, p, unicode_class::number, s.digits_at_once);
    while (p < text.size() && !is_number(p)) p += detail::character_at(text, p).length;
    return p;
  }

  std::vector<stage> stages_;
};

}  // namespace tersor::io
