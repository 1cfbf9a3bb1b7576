// tersor - tokenizers in GGUF files: to and from Hugging Face's tokenizer.json
// SPDX-License-Identifier: MIT
#pragma once

// Keys (ggml-org/llama.cpp, src/llama-vocab.cpp): tokenizer.ggml.model "gpt2" (byte-level BPE: tokens, merges
// "a b", tokenizer.ggml.pre, which names the pattern that splits text into words) or "llama" (SentencePiece
// BPE: tokens, scores, add_space_prefix), and token_type. Both become the JSON that io::tokenizer reads, so a
// GGUF file and a folder with that tokenizer.json tokenize alike.
//
//   const tersor::io::gguf_file file("model.gguf");
//   const tersor::io::tokenizer tokens(tersor::io::tokenizer_json(file), "model.gguf");

#include <algorithm>      // std::stable_sort
#include <array>          // std::array
#include <cmath>          // std::isnan
#include <cstdint>        // std::int32_t
#include <set>            // std::set
#include <string>         // std::string
#include <string_view>    // std::string_view
#include <unordered_map>  // std::unordered_map
#include <vector>         // std::vector

#include <tersor/io/gguf_writer.hpp>
#include <tersor/io/text_start.hpp>
#include <tersor/io/tokenizer.hpp>

namespace tersor::io {

/// What a token is, with the numbers that files hold. An undefined one is read as a normal one.
enum class gguf_token : std::int32_t {
  undefined = 0,
  normal = 1,
  unknown = 2,
  control = 3,
  user = 4,
  unused = 5,
  byte = 6
};

namespace detail {

/// The patterns that split text into words.
enum class gguf_words {
  gpt2,          ///< the GPT-2 pattern
  gpt2_digits,   ///< after single digits
  llama3,        ///< the Llama-3 pattern, up to 3 digits at once
  llama3_digits  ///< the same with single digits
};
struct gguf_pre {
  std::string_view name;
  gguf_words words;
  bool ignore_merges = false;  ///< a word that is a token is that token
  bool add_bos = false;        ///< where tokenizer.ggml.add_bos_token is missing
};
/// Values of tokenizer.ggml.pre; the first with its pattern and flags is the one that is written. Files
/// without the key or with "default" are from before it was there, when all text was split by the GPT-2
/// pattern.
inline constexpr std::array<gguf_pre, 34> gguf_pres{{
    {"gpt-2", gguf_words::gpt2},
    {"default", gguf_words::gpt2},
    {"phi-2", gguf_words::gpt2},
    {"mpt", gguf_words::gpt2},
    {"olmo", gguf_words::gpt2},
    {"jais", gguf_words::gpt2},
    {"trillion", gguf_words::gpt2},
    {"exaone4", gguf_words::gpt2},
    {"gigachat", gguf_words::gpt2},
    {"a.x-4.0", gguf_words::gpt2},
    {"mellum", gguf_words::gpt2},
    {"granite-docling", gguf_words::gpt2},
    {"smollm", gguf_words::gpt2_digits},
    {"starcoder", gguf_words::gpt2_digits},
    {"refact", gguf_words::gpt2_digits},
    {"command-r", gguf_words::gpt2_digits},
    {"codeshell", gguf_words::gpt2_digits},
    {"exaone", gguf_words::gpt2_digits},
    {"minerva-7b", gguf_words::gpt2_digits},
    {"mellum2", gguf_words::gpt2_digits},
    {"llama-bpe", gguf_words::llama3, true, true},
    {"llama3", gguf_words::llama3, true, true},
    {"llama-v3", gguf_words::llama3, true, true},
    {"falcon3", gguf_words::llama3, true, true},
    {"pixtral", gguf_words::llama3, true, true},
    {"dbrx", gguf_words::llama3},
    {"smaug-bpe", gguf_words::llama3},
    {"glm4", gguf_words::llama3},
    {"chatglm-bpe", gguf_words::llama3},
    {"qwen2", gguf_words::llama3_digits},
    {"deepseek-r1-qwen", gguf_words::llama3_digits},
    {"stablelm2", gguf_words::llama3_digits},
    {"megrez", gguf_words::llama3_digits},
    {"hunyuan", gguf_words::llama3_digits},
}};

inline const gguf_pre& find_gguf_pre(std::string_view name, std::string_view where) {
  std::string known;
  for (const auto& p : gguf_pres) {
    if (p.name == name) return p;
    known += concat(known.empty() ? "" : ", ", p.name);
  }
  fail(concat(where, ": tokenizer.ggml.pre"), name, "one of " + known);
}

inline json byte_level_part(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}
inline constexpr const char* gpt2_pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
inline json split_part(const std::string& pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}
inline json pre_tokenizer_part(gguf_words words) {
  const auto sequence = [](json first, bool use_regex) -> json {
    return {{"type", "Sequence"},
            {"pretokenizers", json::array({std::move(first), byte_level_part(use_regex)})}};
  };
  if (words == gguf_words::gpt2) return byte_level_part(true);
  if (words == gguf_words::gpt2_digits)
    return sequence({{"type", "Digits"}, {"individual_digits", true}}, true);
  const std::string pattern = concat("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}",
                                     words == gguf_words::llama3 ? "{1,3}" : "",
                                     "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+");
  return sequence(split_part(pattern), false);
}

/// The splits of the tokens of a SentencePiece vocabulary into two tokens, best score first: what the
/// algorithm that merges by score would merge.
inline json merges_of_scores(const std::vector<std::string_view>& tokens, const std::vector<float>& scores,
                             const std::vector<std::int32_t>& types) {
  std::unordered_map<std::string_view, std::size_t> ids;
  std::set<std::size_t> lengths;  // few, however long a token is: parts of other lengths are no tokens
  const auto normal = static_cast<std::int32_t>(gguf_token::normal);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (types[i] <= normal && !tokens[i].empty() && ids.emplace(tokens[i], i).second)
      lengths.insert(tokens[i].size());
  struct split {
    float score;
    std::size_t id, length;  // of the token, of its left part
  };
  std::vector<split> splits;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (types[i] > normal) continue;
    for (const std::size_t n : lengths) {
      if (n >= tokens[i].size()) break;
      if (lengths.contains(tokens[i].size() - n) && ids.contains(tokens[i].substr(0, n)) &&
          ids.contains(tokens[i].substr(n)))
        splits.push_back({scores[i], i, n});
    }
  }
  std::stable_sort(splits.begin(), splits.end(),
                   [](const split& a, const split& b) { return a.score > b.score; });
  json merges = json::array();
  for (const auto& s : splits)
    merges.push_back(
        {std::string(tokens[s.id].substr(0, s.length)), std::string(tokens[s.id].substr(s.length))});
  return merges;
}

}  // namespace detail

/// Does the file ask for a beginning-of-text token before every text?
inline bool adds_bos(const gguf_file& file) {
  const bool pieces = file.get<std::string>("tokenizer.ggml.model") == "llama";
  const auto pre = file.get<std::string>("tokenizer.ggml.pre", "default");
  const bool usual = pieces || detail::find_gguf_pre(pre, file.path().string()).add_bos;
  return file.get<bool>("tokenizer.ggml.add_bos_token", usual);
}
/// The ids of the tokens that begin and end a text; -1 for none. SentencePiece has 1 and 2 where the file
/// names no others.
inline int bos_token_id(const gguf_file& file) {
  const bool pieces = file.get<std::string>("tokenizer.ggml.model") == "llama";
  return file.get<int>("tokenizer.ggml.bos_token_id", pieces ? 1 : -1);
}
inline int eos_token_id(const gguf_file& file) {
  const bool pieces = file.get<std::string>("tokenizer.ggml.model") == "llama";
  return file.get<int>("tokenizer.ggml.eos_token_id", pieces ? 2 : -1);
}

/// The tokenizer of a GGUF file as tokenizer.json. Another model than "gpt2" and "llama", an unknown `pre`,
/// or lists that do not fit together are errors that name the key.
inline json tokenizer_json(const gguf_file& file) {
  const std::string where = file.path().string(), prefix = "tokenizer.ggml.";
  const auto model = file.get<std::string>(prefix + "model");
  require(model == "gpt2" || model == "llama", concat(where, ": ", prefix, "model"), model,
          "\"gpt2\" or \"llama\"");
  const bool pieces = model == "llama";
  const auto tokens = file.get<std::vector<std::string_view>>(prefix + "tokens");
  const auto normal = static_cast<std::int32_t>(gguf_token::normal);
  const auto types = file.get(prefix + "token_type", std::vector<std::int32_t>(tokens.size(), normal));
  require(types.size() == tokens.size(), concat(where, ": ", prefix, "token_type"), types.size(),
          tokens.size(), " elements, as many as tokens");

  // one without a text has the name that llama.cpp gives it
  const auto text_of = [&](std::size_t i) {
    return tokens[i].empty() ? concat("[EMPTY_", i, "]") : std::string(tokens[i]);
  };
  json vocab = json::object(), added = json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::string token = text_of(i);
    const std::string place = concat(where, ": ", prefix, "tokens[", i, "]");
    // JSON holds UTF-8 alone.
    for (std::size_t p = 0; p < token.size();) {
      const auto c = decode_utf8(token, p);
      require(c.valid, place, "", "UTF-8 text");
      p += c.length;
    }
    const auto [known, fresh] = vocab.emplace(token, i);
    require(fresh, place, token, "each token once: ", json_text(*known), " is the same");
    require(types[i] >= 0 && types[i] <= static_cast<std::int32_t>(gguf_token::byte),
            concat(where, ": ", prefix, "token_type[", i, "]"), types[i], "0 (undefined) to 6 (byte)");
    const auto type = static_cast<gguf_token>(types[i]);
    if (type != gguf_token::control && type != gguf_token::user && type != gguf_token::unknown) continue;
    added.push_back({{"id", i},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != gguf_token::user}});
  }
  json bpe{{"type", "BPE"},
           {"dropout", nullptr},
           {"unk_token", nullptr},
           {"continuing_subword_prefix", nullptr},
           {"end_of_word_suffix", nullptr},
           {"fuse_unk", pieces},
           {"byte_fallback", pieces},
           {"ignore_merges", false},
           {"vocab", std::move(vocab)}};
  json result{{"version", "1.0"},      {"truncation", nullptr},    {"padding", nullptr},
              {"normalizer", nullptr}, {"pre_tokenizer", nullptr}, {"post_processor", nullptr}};
  if (pieces) {
    const auto scores = file.get<std::vector<float>>(prefix + "scores");
    require(scores.size() == tokens.size(), concat(where, ": ", prefix, "scores"), scores.size(),
            tokens.size(), " elements, as many as tokens");
    for (const float score : scores)
      require(!std::isnan(score), concat(where, ": ", prefix, "scores"), score, "numbers");
    bpe["merges"] = detail::merges_of_scores(tokens, scores, types);
    const auto unknown = file.get<std::size_t>(prefix + "unknown_token_id", 0);
    require(unknown < tokens.size(), concat(where, ": ", prefix, "unknown_token_id"), unknown, "an id below ",
            tokens.size());
    bpe["unk_token"] = text_of(unknown);
    const bool space = file.get<bool>(prefix + "add_space_prefix", true);
    const std::string mark(detail::piece_space);
    json steps = json::array(), back = json::array();
    if (space) steps.push_back({{"type", "Prepend"}, {"prepend", mark}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}});
    back.push_back({{"type", "Replace"}, {"pattern", {{"String", mark}}}, {"content", " "}});
    back.push_back({{"type", "ByteFallback"}});
    back.push_back({{"type", "Fuse"}});
    if (space) back.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    result["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
    result["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(back)}};
  } else {
    const auto& pre = detail::find_gguf_pre(file.get<std::string>(prefix + "pre", "default"), where);
    bpe["ignore_merges"] = pre.ignore_merges;
    bpe["merges"] = file.get<std::vector<std::string>>(prefix + "merges");
    result["pre_tokenizer"] = detail::pre_tokenizer_part(pre.words);
    result["decoder"] = detail::byte_level_part(true);
  }
  std::vector<std::pair<std::string, int>> start;
  if (adds_bos(file)) {
    const int bos = bos_token_id(file);
    require(bos >= 0 && static_cast<std::size_t>(bos) < tokens.size(),
            concat(where, ": ", prefix, "bos_token_id"), bos, "an id below ", tokens.size(),
            ", as it is put before every text");
    start.emplace_back(text_of(static_cast<std::size_t>(bos)), bos);
  }
  result["post_processor"] = text_start_template(start);
  result["added_tokens"] = std::move(added);
  result["model"] = std::move(bpe);
  return result;
}

namespace detail {

/// The value of tokenizer.ggml.pre that stands for the pre-tokenizer of a tokenizer.json.
inline std::string_view gguf_pre_of(const json& tokenizer_file, std::string_view where) {
  const json& part = member(tokenizer_file, "pre_tokenizer", where);
  const bool ignore = get<bool>(member(tokenizer_file, "model", where), "ignore_merges", where, false);
  // Two descriptions are the same if they are so without what cannot change a split; and the GPT-2 pattern
  // may be a Split of its own.
  const auto essence = [](json p) {
    const auto clean = [](json& step) {
      step.erase("trim_offsets");
      if (step.value("type", "") != "ByteLevel")
        for (const char* key : {"add_prefix_space", "use_regex"}) step.erase(key);
    };
    clean(p);
    if (const auto steps = p.find("pretokenizers"); steps != p.end()) {
      for (json& step : *steps) clean(step);
      json split = split_part(gpt2_pattern), bytes = byte_level_part(false);
      clean(bytes);
      if (*steps == json::array({split, bytes})) {
        p = byte_level_part(true);
        clean(p);
      }
    }
    return p;
  };
  require(part.is_object(), concat(where, ": pre_tokenizer"), type_of(part), "an object");
  for (const auto& p : gguf_pres)
    if (p.ignore_merges == ignore && essence(part) == essence(pre_tokenizer_part(p.words))) return p.name;
  fail(concat(where, ": pre_tokenizer"), json_text(part),
       concat("a pattern that tokenizer.ggml.pre has a name for, with ignore_merges ", ignore));
}

}  // namespace detail

/// Writes a tokenizer.json as the keys tokenizer.ggml.*. @param vocabulary rows of the embedding table: ids
/// without a token become unused ones. @param bos, eos ids or -1. @param add_bos whether `bos` is put before
/// a text. @param where names the JSON in errors.
inline void set_tokenizer(gguf_writer& out, const json& file, index_t vocabulary, int bos, int eos,
                          bool add_bos, std::string_view where) {
  const tokenizer checked(file, where);  // what cannot be read must not be written
  require(checked.vocab_size() <= vocabulary, concat(where, ": tokens"), checked.vocab_size(), "at most ",
          vocabulary, ", the rows of the embedding table");
  const json& model = member(file, "model", where);
  const bool pieces = file.contains("normalizer") && !file["normalizer"].is_null();
  const bool fallback = get<bool>(model, "byte_fallback", where, false);
  const auto n = static_cast<std::size_t>(vocabulary);
  std::vector<std::string> tokens(n);
  std::vector<std::int32_t> types(n, static_cast<std::int32_t>(gguf_token::unused));
  const auto place = [&](std::size_t id, const std::string& text, gguf_token type) {
    tokens[id] = text;
    types[id] = static_cast<std::int32_t>(type);
  };
  for (const auto& item : member(model, "vocab", where).items()) {
    const bool byte = pieces && fallback && detail::byte_of_piece(item.key()).has_value();
    place(item.value().get<std::size_t>(), item.key(), byte ? gguf_token::byte : gguf_token::normal);
  }
  const auto unknown = get<std::string>(model, "unk_token", where, "");
  if (const auto list = file.find("added_tokens"); list != file.end() && !list->is_null())
    for (const json& item : *list) {
      const auto content = get<std::string>(item, "content", where);
      place(get<std::size_t>(item, "id", where), content,
            !get<bool>(item, "special", where, false) ? gguf_token::user
            : pieces && content == unknown            ? gguf_token::unknown
                                                      : gguf_token::control);
    }
  for (std::size_t i = 0; i < n; ++i)
    if (types[i] == static_cast<std::int32_t>(gguf_token::unused)) tokens[i] = concat("[PAD", i, "]");

  out.set("tokenizer.ggml.model", pieces ? "llama" : "gpt2");
  if (!pieces) out.set("tokenizer.ggml.pre", detail::gguf_pre_of(file, where));
  std::vector<std::string> merges;
  std::vector<float> scores(n, 0.0F);
  for (const json& m : member(model, "merges", where)) {
    const bool pair = m.is_array();
    if (!pieces) {
      merges.push_back(pair ? concat(m[0].get<std::string>(), " ", m[1].get<std::string>())
                            : m.get<std::string>());
      continue;
    }
    auto text = pair ? m[0].get<std::string>() + m[1].get<std::string>() : m.get<std::string>();
    if (!pair) text.erase(text.find(' '), 1);
    auto& score = scores[static_cast<std::size_t>(*checked.token_to_id(text))];
    // The first of a token's merges counts: a score has no second.
    if (score == 0.0F) score = -static_cast<float>(merges.size() + 1);
    merges.emplace_back();
  }
  // Tokens that no merge makes come last, as their scores make them mergeable.
  for (std::size_t i = 0; i < n; ++i)
    if (scores[i] == 0.0F && types[i] == static_cast<std::int32_t>(gguf_token::normal))
      scores[i] = -static_cast<float>(merges.size() + 1);
  out.set("tokenizer.ggml.tokens", tokens);
  if (pieces) out.set("tokenizer.ggml.scores", scores);
  out.set("tokenizer.ggml.token_type", types);
  if (!pieces) out.set("tokenizer.ggml.merges", merges);
  if (pieces && !unknown.empty())
    out.set("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(*checked.token_to_id(unknown)));
  if (bos >= 0) out.set("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(bos));
  if (eos >= 0) out.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(eos));
  out.set("tokenizer.ggml.add_bos_token", add_bos);
  if (pieces) {
    const auto& steps = file["normalizer"];
    const std::string text = json_text(steps);
    out.set("tokenizer.ggml.add_space_prefix", text.find("\"Prepend\"") != text.npos);
  }
}

}  // namespace tersor::io
