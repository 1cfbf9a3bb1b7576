// tersor - JSON text: parsing and writing
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>      // std::size_t
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <utility>      // std::move
#include <vector>       // std::vector

#include <tersor/core/error.hpp>
#include <tersor/io/json_value.hpp>

namespace tersor::io {

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

/// What `parse_json` returns.
inline json parse_json_text(std::string_view text, std::string_view what, duplicate_keys policy) {
  // The parser takes a zero byte for the end of the text and would not look at what follows.
  const std::size_t zero = text.find('\0');
  if (zero != text.npos) fail(what, "", concat("valid JSON (byte ", zero + 1, ": a zero byte)"));
  detail::json_builder builder(policy);
  if (!json::sax_parse(text.begin(), text.end(), &builder)) fail(what, "", builder.error());
  return builder.result();
}

/// What `json_text` returns.
inline std::string write_json_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tersor::io
