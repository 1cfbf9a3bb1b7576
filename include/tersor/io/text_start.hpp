// tersor - the tokens that a model expects before a text
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional

#include <tersor/io/file.hpp>
#include <tersor/io/json.hpp>

namespace tersor::io {

/// What a tokenizer.json puts before a text: the special tokens at the head of its TemplateProcessing's
/// `single`, none with other post-processors. Nothing if it has none at all, which leaves it to other files.
inline std::optional<std::vector<int>> text_start(const json& tokenizer, const std::string& where) {
  const std::string place = where + ": post_processor";
  const auto part = get<json>(tokenizer, "post_processor", where, json());
  if (part.is_null()) return std::nullopt;
  const bool sequence = get<std::string>(part, "type", place) == "Sequence";
  std::vector<int> start;
  for (const json& step : sequence ? get<std::vector<json>>(part, "processors", place) : std::vector{part}) {
    if (get<std::string>(step, "type", place) != "TemplateProcessing") continue;
    const json& special = member(step, "special_tokens", place);
    for (const json& piece : get<std::vector<json>>(step, "single", place)) {
      if (!piece.is_object() || !piece.contains("SpecialToken")) break;
      const auto name = get<std::string>(piece["SpecialToken"], "id", place);
      const auto ids = get<std::vector<int>>(member(special, name, place), "ids", place);
      start.insert(start.end(), ids.begin(), ids.end());
    }
  }
  return start;
}

/// The same of a model's folder. Without a post-processor "add_bos_token" of tokenizer_config.json decides
/// whether `bos` is there (no, where it says nothing), and without that file `bos` is. @param bos
/// bos_token_id of config.json, or -1.
inline std::vector<int> text_start(const json& tokenizer, const std::filesystem::path& folder, int bos) {
  if (const auto start = text_start(tokenizer, (folder / "tokenizer.json").string())) return *start;
  const auto settings = folder / "tokenizer_config.json";
  const bool wanted = !std::filesystem::exists(settings) ||
                      get<bool>(read_json_file(settings), "add_bos_token", settings.string(), false);
  return wanted && bos >= 0 ? std::vector<int>{bos} : std::vector<int>();
}

/// A post-processor that puts these tokens, [content, id], before a text.
inline json text_start_template(const std::vector<std::pair<std::string, int>>& start) {
  json single = json::array(), special = json::object();
  for (const auto& [content, id] : start) {
    single.push_back({{"SpecialToken", {{"id", content}, {"type_id", 0}}}});
    special[content] = {{"id", content}, {"ids", {id}}, {"tokens", {content}}};
  }
  json pair = single;
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace tersor::io
