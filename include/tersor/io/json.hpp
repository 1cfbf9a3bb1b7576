// tersor - JSON: the one header that includes nlohmann/json
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>      // std::size_t
#include <cstdint>      // std::int64_t
#include <filesystem>   // std::filesystem::path
#include <limits>       // std::numeric_limits
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <type_traits>  // std::is_integral_v
#include <utility>      // std::in_range, std::move
#include <vector>       // std::vector

#include <nlohmann/json.hpp>  // nlohmann::json

#include <tersor/core/error.hpp>
#include <tersor/core/nearest.hpp>
#include <tersor/io/file.hpp>

namespace tersor::io {

using json = nlohmann::json;
/// Keeps its keys in the order in which they were set: for files that people read.
using ordered_json = nlohmann::ordered_json;

/// What to do with an object that has the same key twice: keep the last value, as most readers do, or refuse
/// it.
enum class duplicate_keys { last_wins, refuse };

namespace detail {

/// Builds a value from parser events. Errors are remembered instead of thrown, so that this works with
/// exceptions switched off as well.
class json_builder : public nlohmann::json_sax<json> {
 public:
  explicit json_builder(duplicate_keys policy) : policy_(policy) {}

  bool null() override { return put(json()) != nullptr; }
  bool boolean(bool x) override { return put(json(x)) != nullptr; }
  bool number_integer(number_integer_t x) override { return put(json(x)) != nullptr; }
  bool number_unsigned(number_unsigned_t x) override { return put(json(x)) != nullptr; }
  bool number_float(number_float_t x, const string_t&) override { return put(json(x)) != nullptr; }
  bool string(string_t& x) override { return put(json(std::move(x))) != nullptr; }
  bool binary(binary_t&) override { return false; }  // has no text form
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& x) override {
    json& object = *open_.back();
    if (policy_ == duplicate_keys::refuse && object.contains(x)) {
      error_ = "each key once, but \"" + x + "\" is there twice";
      return false;
    }
    target_ = &object[x];
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception& e) override {
    error_ = concat("valid JSON (byte ", position, ": ", without_prefix(e.what()), ")");
    return false;
  }

  json result() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  static std::string without_prefix(const std::string& message) {
    const std::size_t end = message.find("] ");
    return end == std::string::npos ? message : message.substr(end + 2);
  }
  json* put(json&& value) {
    json* place = &root_;
    if (!open_.empty()) {
      if (open_.back()->is_array()) {
        open_.back()->push_back(json());
        place = &open_.back()->back();
      } else {
        place = target_;
      }
    }
    *place = std::move(value);
    return place;
  }
  bool open(json&& value) {
    // A container takes 64 bytes and more, its bracket one: a deep file must not become a huge value.
    if (open_.size() == deepest) {
      error_ = concat("valid JSON, nested at most ", deepest, " levels deep");
      return false;
    }
    open_.push_back(put(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  static constexpr std::size_t deepest = 256;
  duplicate_keys policy_;
  json root_;
  std::vector<json*> open_;  // the containers around the current position, outermost first
  json* target_ = nullptr;   // where the value of the last key goes
  std::string error_;
};

}  // namespace detail

/// Parses UTF-8 text. @param what names the text in errors (a file). Errors say the byte at which it is not
/// JSON, or the key that is there twice if duplicates are refused.
inline json parse_json(std::string_view text, std::string_view what,
                       duplicate_keys policy = duplicate_keys::last_wins) {
  // The parser takes a zero byte for the end of the text and would not look at what follows.
  const std::size_t zero = text.find('\0');
  if (zero != text.npos) fail(what, "", concat("valid JSON (byte ", zero + 1, ": a zero byte)"));
  detail::json_builder builder(policy);
  if (!json::sax_parse(text.begin(), text.end(), &builder)) fail(what, "", builder.error());
  return builder.result();
}

/// `text` as a JSON string with its quotes. Text that is not UTF-8 cannot be one: an error. @param where
/// names it.
inline std::string quoted(const std::string& text, std::string_view where) {
  std::string result =
      json(text).dump(-1, ' ', false, json::error_handler_t::ignore);  // drops what is not UTF-8
  const bool whole = parse_json(result, where).get_ref<const std::string&>() == text;
  require(whole, where, json(text).dump(-1, ' ', true, json::error_handler_t::replace), "UTF-8 text");
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
      require(value.is_number_integer(), where, value.is_number() ? value.dump() : type_of(value),
              "an integer");
      const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.template get<std::uint64_t>())
                                                   : std::in_range<T>(value.template get<std::int64_t>());
      require(fits, where, value.dump(), "an integer from ", std::numeric_limits<T>::min(), " to ",
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
