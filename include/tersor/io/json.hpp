// tersor - JSON: reading files, and values with a checked type
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>      // std::int64_t
#include <filesystem>   // std::filesystem::path
#include <limits>       // std::numeric_limits
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <type_traits>  // std::is_integral_v
#include <utility>      // std::in_range

#include <tersor/core/error.hpp>
#include <tersor/core/nearest.hpp>
#include <tersor/io/file.hpp>
#include <tersor/io/json_value.hpp>

#if !defined(TERSOR_PRECOMPILED)
#include <tersor/io/json_parser.hpp>
#endif

namespace tersor::io {

/// Parses UTF-8 text. @param what names the text in errors (a file). Errors say the byte at which it is not
/// JSON, or the key that is there twice if duplicates are refused.
#if defined(TERSOR_PRECOMPILED)
json parse_json(std::string_view text, std::string_view what,
                duplicate_keys policy = duplicate_keys::last_wins);
#else
inline json parse_json(std::string_view text, std::string_view what,
                       duplicate_keys policy = duplicate_keys::last_wins) {
  return parse_json_text(text, what, policy);
}
#endif

/// A value on one line. What is not UTF-8 has replacement characters.
#if defined(TERSOR_PRECOMPILED)
std::string json_text(const json& value);
#else
inline std::string json_text(const json& value) { return write_json_text(value); }
#endif

/// `text` as a JSON string with its quotes. Text that is not UTF-8 cannot be one: an error. @param where
/// names it.
inline std::string quoted(const std::string& text, std::string_view where) {
  std::string result = json_text(text);
  require(parse_json(result, where).get_ref<const std::string&>() == text, where, result, "UTF-8 text");
  return result;
}

/// Parses a file.
inline json read_json_file(const std::filesystem::path& path,
                           duplicate_keys policy = duplicate_keys::last_wins) {
  return parse_json(read_text_file(path), path.string(), policy);
}

/// The JSON type of a value as errors call it: "null", "boolean", "number", "string", "array", "object".
inline std::string type_of(const json& value) { return value.type_name(); }

/// `value` as a T: bool, integer (in range of T; never from a number with a fraction), floating point,
/// std::string, std::vector of these, or json. @param where names the value in errors.
template <class T>
struct json_as {
  static T from(const json& value, const std::string& where) {
    if constexpr (std::is_same_v<T, json>) {
      return value;
    } else if constexpr (std::is_same_v<T, bool>) {
      require(value.is_boolean(), where, type_of(value), "a boolean");
      return value.template get<bool>();
    } else if constexpr (std::is_integral_v<T>) {
      require(value.is_number_integer(), where, value.is_number() ? json_text(value) : type_of(value),
              "an integer");
      const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.template get<std::uint64_t>())
                                                   : std::in_range<T>(value.template get<std::int64_t>());
      require(fits, where, json_text(value), "an integer from ", std::numeric_limits<T>::min(), " to ",
              std::numeric_limits<T>::max());
      return value.template get<T>();
    } else if constexpr (std::is_floating_point_v<T>) {
      require(value.is_number(), where, type_of(value), "a number");
      return value.template get<T>();
    } else {
      static_assert(std::is_same_v<T, std::string>,
                    "get<T>: T is bool, a number, std::string, json, or a vector of these");
      require(value.is_string(), where, type_of(value), "a string");
      return value.template get<std::string>();
    }
  }
};
template <class T>
struct json_as<std::vector<T>> {
  static std::vector<T> from(const json& value, const std::string& where) {
    require(value.is_array(), where, type_of(value), "an array");
    std::vector<T> result;
    result.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i)
      result.push_back(json_as<T>::from(value[i], concat(where, "[", i, "]")));
    return result;
  }
};

/// The member `key` of `object`, or an error that names it and the nearest key. @param where the file or
/// object.
inline const json& member(const json& object, std::string_view key, std::string_view where) {
  require(object.is_object(), where, type_of(object), "an object");
  const auto found = object.find(std::string(key));
  if (found == object.end()) {
    std::vector<std::string> keys;
    for (const auto& item : object.items()) keys.push_back(item.key());
    fail(where, "", concat("the key \"", key, "\"", suggestion(key, keys)));
  }
  return *found;
}

/// The member `key` as a T (see json_as); missing or of another type is an error that names `where` and the
/// key.
template <class T>
T get(const json& object, std::string_view key, std::string_view where) {
  return json_as<T>::from(member(object, key, where), concat(where, ": \"", key, "\""));
}

/// The same with a default, used where the key is missing or null (Hugging Face writes null for "not set").
template <class T>
T get(const json& object, std::string_view key, std::string_view where, T fallback) {
  require(object.is_object(), where, type_of(object), "an object");
  const auto found = object.find(std::string(key));
  if (found == object.end() || found->is_null()) return fallback;
  return json_as<T>::from(*found, concat(where, ": \"", key, "\""));
}

}  // namespace tersor::io
