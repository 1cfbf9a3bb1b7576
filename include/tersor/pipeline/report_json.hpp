// tersor - reports and the catalog as JSON
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/io/json.hpp>
#include <tersor/pipeline/compress.hpp>

namespace tersor::pipeline {

/// One layer's row of `tersor compress --json`. With `timing` false it holds only what does not change from
/// run to run.
inline io::ordered_json to_json(const layer_report& l, bool timing = true) {
  io::ordered_json j{{"name", l.name},
                     {"shape", {l.rows, l.cols}},
                     {"bits_per_weight", l.report.bits_per_weight},
                     {"bytes", l.report.bytes},
                     {"relative_error", l.report.relative_error}};
  j["weighted_error"] =
      l.report.weighted_error ? io::ordered_json(*l.report.weighted_error) : io::ordered_json(nullptr);
  if (timing) j["seconds"] = l.report.seconds;
  if (!l.report.notes.empty()) j["notes"] = l.report.notes;
  return j;
}
/// The same back again; what the row does not have (the largest error) is 0.
inline layer_report layer_report_from(const io::json& j, const std::string& where) {
  const auto shape = io::get<std::vector<index_t>>(j, "shape", where);
  require(shape.size() == 2, where + ": shape", shape.size(), "two extents");
  layer_report l{io::get<std::string>(j, "name", where), shape[0], shape[1], {}};
  l.report.bits_per_weight = io::get<double>(j, "bits_per_weight", where);
  l.report.bytes = io::get<std::size_t>(j, "bytes", where);
  l.report.relative_error = io::get<double>(j, "relative_error", where);
  if (j.contains("weighted_error") && !j["weighted_error"].is_null())
    l.report.weighted_error = io::get<double>(j, "weighted_error", where);
  l.report.seconds = io::get<double>(j, "seconds", where, 0.0);
  l.report.notes = io::get<std::vector<std::string>>(j, "notes", where, {});
  return l;
}
inline io::ordered_json to_json(const compression_report& r, bool timing = true) {
  io::ordered_json layers = io::ordered_json::array();
  for (const auto& l : r.layers) layers.push_back(to_json(l, timing));
  return layers;
}

inline io::ordered_json to_json(const catalog& c) {
  io::ordered_json list = io::ordered_json::array();
  for (const auto& e : c.entries()) {
    io::ordered_json options = io::ordered_json::array();
    for (const auto& o : e.options)
      options.push_back({{"name", o.name},
                         {"default", o.default_value},
                         {"range", o.range},
                         {"symbol", o.symbol},
                         {"help", o.help}});
    list.push_back({{"id", e.info.id},
                    {"family", e.info.family},
                    {"kind", option_text<solve::stage_kind>::format(e.kind)},
                    {"title", e.info.title},
                    {"arxiv", e.info.arxiv},
                    {"header", e.info.header},
                    {"guarantee", e.info.guarantee},
                    {"options", std::move(options)}});
  }
  return list;
}

}  // namespace tersor::pipeline
