// tersor - JSON text, compiled once
// SPDX-License-Identifier: MIT
#include <tersor/io/json.hpp>
#include <tersor/io/json_parser.hpp>

namespace tersor::io {

json parse_json(std::string_view text, std::string_view what, duplicate_keys policy) {
  return parse_json_text(text, what, policy);
}
std::string json_text(const json& value) { return write_json_text(value); }

}  // namespace tersor::io
