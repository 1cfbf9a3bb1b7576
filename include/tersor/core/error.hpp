// tersor - errors for bad input: which argument, its value, what was expected
// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>          // std::to_chars
#include <cmath>             // std::isnan
#include <cstddef>           // std::size_t
#include <cstdio>            // std::fputs
#include <cstdlib>           // std::abort
#include <initializer_list>  // std::initializer_list
#include <stdexcept>         // std::runtime_error
#include <string>            // std::string
#include <string_view>       // std::string_view
#include <type_traits>       // std::is_arithmetic_v
#include <utility>           // std::move

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

namespace detail {

/// A value that becomes text, or a view of one that is text, without its type: so that what makes and throws
/// messages, of which every header has dozens, is compiled once and not for every list of types.
class text_part {
 public:
  template <class T>
  text_part(const T& value) {  // NOLINT(google-explicit-constructor): lists of values convert
    if constexpr (std::is_same_v<T, bool>) {
      set(std::string_view(value ? "true" : "false"));
    } else if constexpr (std::is_same_v<T, float>) {
      kind_ = kind::single, single_ = value;
    } else if constexpr (std::is_floating_point_v<T>) {
      kind_ = kind::real, real_ = static_cast<double>(value);
    } else if constexpr (std::is_unsigned_v<T>) {
      kind_ = kind::natural, natural_ = value;
    } else if constexpr (std::is_arithmetic_v<T>) {
      kind_ = kind::integer;
      integer_ = value;  // NOLINT(bugprone-signed-char-misuse): a number, not a character
    } else {
      set(std::string_view(value));
    }
  }

  void append_to(std::string& s) const {
    if (kind_ == kind::text) {
      s.append(text_, size_);
      return;
    }
    char buffer[64];
    char* const end = buffer + sizeof buffer;
    switch (kind_) {
      case kind::integer:
        s.append(buffer, std::to_chars(buffer, end, integer_).ptr);
        break;
      case kind::natural:
        s.append(buffer, std::to_chars(buffer, end, natural_).ptr);
        break;
      case kind::single:
        s.append(std::isnan(single_) ? "nan" : std::string(buffer, std::to_chars(buffer, end, single_).ptr));
        break;
      default:  // libraries differ in whether they print a sign of NaN
        s.append(std::isnan(real_) ? "nan" : std::string(buffer, std::to_chars(buffer, end, real_).ptr));
    }
  }

 private:
  enum class kind : unsigned char { text, integer, natural, single, real };
  void set(std::string_view text) { kind_ = kind::text, text_ = text.data(), size_ = text.size(); }
  union {
    const char* text_;
    long long integer_;
    unsigned long long natural_;
    float single_;
    double real_;
  };
  std::size_t size_ = 0;
  kind kind_;
};

template <class = void>
std::string joined(std::initializer_list<text_part> parts) {
  std::string s;
  for (const text_part& part : parts) part.append_to(s);
  return s;
}
template <class = void>
[[noreturn]] void report(std::string_view argument, text_part value,
                         std::initializer_list<text_part> expected) {
  error e(std::string(argument), joined({value}), joined(expected));
#if TERSOR_HAS_EXCEPTIONS
  throw e;
#else
  on_error()(e);
  std::abort();
#endif
}
#if defined(TERSOR_PRECOMPILED)
extern template std::string joined(std::initializer_list<text_part>);
extern template void report(std::string_view, text_part, std::initializer_list<text_part>);
#endif

}  // namespace detail

/// The text of a value in an error: numbers in shortest form, strings as they are.
template <class T>
std::string to_text(const T& value) {
  return detail::joined({value});
}

/// Concatenates the texts of its arguments.
template <class... Parts>
std::string concat(const Parts&... parts) {
  return detail::joined({parts...});
}

/// Reports bad input. @param argument the argument, option or tensor; @param value what was found.
template <class Value>
[[noreturn]] void fail(std::string_view argument, const Value& value, std::string_view expected) {
  detail::report(argument, value, {expected});
}

/// `fail` unless `condition`. The expectation is only turned into text when it is needed.
template <class Value, class... Expected>
void require(bool condition, std::string_view argument, const Value& value, const Expected&... expected) {
  if (!condition) [[unlikely]]
    detail::report(argument, value, {expected...});
}

}  // namespace tersor
