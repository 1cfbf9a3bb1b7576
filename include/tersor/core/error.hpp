// tersor - errors for bad input: which argument, its value, what was expected
// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>     // std::to_chars
#include <cmath>        // std::isnan
#include <cstdio>       // std::fputs
#include <cstdlib>      // std::abort
#include <stdexcept>    // std::runtime_error
#include <string>       // std::string
#include <string_view>  // std::string_view
#include <type_traits>  // std::is_arithmetic_v
#include <utility>      // std::move

namespace tersor {

/// Thrown for every mistake of the caller or of a file: it names the argument or tensor, the value that was
/// found and what was expected. A broken invariant of the library itself is an `assert`, never a
/// `tersor::error`.
class error : public std::runtime_error {
 public:
  error(std::string argument, std::string value, std::string expected)
      : std::runtime_error(sentence(argument, value, expected)),
        argument_(std::move(argument)),
        value_(std::move(value)),
        expected_(std::move(expected)) {}

  const std::string& argument() const noexcept { return argument_; }
  const std::string& value() const noexcept { return value_; }
  const std::string& expected() const noexcept { return expected_; }

 private:
  static std::string sentence(const std::string& argument, const std::string& value,
                              const std::string& expected) {
    std::string s = argument;
    if (!value.empty()) s += " = " + value;
    if (!expected.empty()) s += ": expected " + expected;
    return s;
  }
  std::string argument_, value_, expected_;
};

/// Thrown where a caller's cancellation callback asked a long run to stop between two steps.
class cancelled : public std::runtime_error {
 public:
  cancelled() : std::runtime_error("cancelled by the caller") {}
};

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define TERSOR_HAS_EXCEPTIONS 1
#else
#define TERSOR_HAS_EXCEPTIONS 0
#endif

/// Where exceptions are off, errors go to this handler, which must not return. Default: print and abort.
using error_handler = void (*)(const error&);
inline error_handler& on_error() {
  static error_handler handler = [](const error& e) {
    std::fputs((std::string(e.what()) + "\n").c_str(), stderr);
  };
  return handler;
}

/// The text of a value in an error: numbers in shortest form, strings as they are.
template <class T>
std::string to_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(value)) return "nan";  // without the sign that some libraries print
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
    return std::string(buffer, end);
  } else if constexpr (std::is_arithmetic_v<T>) {
    return std::to_string(value);
  } else {
    return std::string(std::string_view(value));
  }
}

/// Concatenates the texts of its arguments.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string s;
  ((s += to_text(parts)), ...);
  return s;
}

/// Reports bad input. @param argument the argument, option or tensor; @param value what was found.
template <class Value>
[[noreturn]] void fail(std::string_view argument, const Value& value, std::string expected) {
  error e(std::string(argument), to_text(value), std::move(expected));
#if TERSOR_HAS_EXCEPTIONS
  throw e;
#else
  on_error()(e);
  std::abort();
#endif
}

/// `fail` unless `condition`. The expectation is only turned into text when it is needed.
template <class Value, class... Expected>
void require(bool condition, std::string_view argument, const Value& value, const Expected&... expected) {
  if (!condition) [[unlikely]]
    fail(argument, value, concat(expected...));
}

}  // namespace tersor
