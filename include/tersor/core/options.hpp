// tersor - option lists: one description of a technique's fields for parsing, validation, JSON, help and docs
// SPDX-License-Identifier: MIT
#pragma once

#include <array>        // std::array
#include <charconv>     // std::from_chars
#include <cmath>        // std::abs
#include <limits>       // std::numeric_limits
#include <optional>     // std::optional
#include <string>       // std::string
#include <tuple>        // std::apply
#include <type_traits>  // std::is_enum_v
#include <utility>      // std::pair
#include <vector>       // std::vector
#include <version>      // __cpp_lib_to_chars

#if !defined(__cpp_lib_to_chars)
#include <locale>   // std::locale
#include <sstream>  // std::istringstream
#endif

#include <tersor/core/error.hpp>
#include <tersor/core/nearest.hpp>

namespace tersor {

/// What a field means, next to its name and member.
struct option_doc {
  std::string_view help;      ///< one line
  std::string_view symbol{};  ///< the paper's symbol
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

/// One field of the aggregate T.
template <class T, class V>
struct option {
  std::string_view name;
  V T::*member;
  option_doc doc;
};
template <class T, class V>
option(std::string_view, V T::*, option_doc) -> option<T, V>;

namespace detail {
/// The number that all of `text` is.
template <class V>
std::optional<V> parse_number(std::string_view text) {
  V value{};
#if !defined(__cpp_lib_to_chars)  // libc++ before version 20 cannot read floating-point numbers
  if constexpr (std::is_floating_point_v<V>) {
    std::istringstream in{std::string(text)};
    in.imbue(std::locale::classic());
    if (text.empty() || text[0] == '+' || !(in >> std::noskipws >> value) || !in.eof()) return std::nullopt;
    return value;
  } else
#endif
  {
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
  }
}
}  // namespace detail

/// How values of V are read from text, written and described. Arithmetic types, bool and enumerations
/// (through an `option_names(E)` found by argument-dependent look-up, an array of {name, value}) are built
/// in; specialise for others.
template <class V>
struct option_text {
  static std::optional<V> parse(std::string_view text) {
    if constexpr (std::is_same_v<V, bool>) {
      if (text == "true" || text == "1") return true;
      if (text == "false" || text == "0") return false;
      return std::nullopt;
    } else if constexpr (std::is_enum_v<V>) {
      for (const auto& [n, e] : option_names(V{}))
        if (n == text) return e;
      return std::nullopt;
    } else {
      return detail::parse_number<V>(text);
    }
  }
  static std::string format(const V& value) {
    if constexpr (std::is_enum_v<V>) {
      for (const auto& [n, e] : option_names(V{}))
        if (e == value) return std::string(n);
      return "?";
    } else {
      return to_text(value);
    }
  }
  static std::string range(const option_doc& doc) {
    if constexpr (std::is_same_v<V, bool>) {
      return "true|false";
    } else if constexpr (std::is_enum_v<V>) {
      std::string s;
      for (const auto& [n, e] : option_names(V{})) s += concat(s.empty() ? "" : "|", n);
      return s;
    } else {
      return concat(bound(doc.min), " .. ", bound(doc.max));
    }
  }
  /// Of an integer option as an integer: "1000000", not "1e+06".
  static std::string bound(double x) {
    if (std::is_integral_v<V> && std::abs(x) < 1e15) return to_text(static_cast<long long>(x));
    return to_text(x);
  }
  static bool in_range(const V& value, const option_doc& doc) {
    if constexpr (std::is_enum_v<V> || std::is_same_v<V, bool>) {
      return true;
    } else {
      const auto x = static_cast<double>(value);
      return x >= doc.min && x <= doc.max;  // false for NaN
    }
  }
};

/// A technique with an option list: `static constexpr auto options()` returns a tuple of `option`.
template <class T>
concept has_options = requires {
  std::tuple_size<decltype(T::options())>::value;
};

/// f(option) for each field of T, in order.
template <has_options T, class F>
void for_each_option(F&& f) {
  std::apply([&](const auto&... o) { (f(o), ...); }, T::options());
}

/// Error unless every field of `technique` is inside its range; `id` is what the error calls it.
template <has_options T>
void validate_options(const T& technique, std::string_view id) {
  for_each_option<T>([&](const auto& o) {
    using V = std::remove_cvref_t<decltype(technique.*(o.member))>;
    const V& value = technique.*(o.member);
    if (!option_text<V>::in_range(value, o.doc))
      fail(concat(id, ": ", o.name), option_text<V>::format(value), option_text<V>::range(o.doc));
  });
}

/// Sets the field called `name` from text. Unknown names and unreadable or out-of-range values are errors.
template <has_options T>
void set_option(T& technique, std::string_view id, std::string_view name, std::string_view text) {
  bool found = false;
  std::vector<std::string_view> names;
  for_each_option<T>([&](const auto& o) {
    names.push_back(o.name);
    if (o.name != name) return;
    found = true;
    using V = std::remove_cvref_t<decltype(technique.*(o.member))>;
    const auto value = option_text<V>::parse(text);
    if (!value || !option_text<V>::in_range(*value, o.doc))
      fail(concat(id, ": ", name), text, option_text<V>::range(o.doc));
    technique.*(o.member) = *value;
  });
  if (found) return;
  const std::string close = suggestion(name, names);
  std::string list;
  for (const auto& n : names) list += concat(list.empty() ? "" : ", ", n);
  fail(concat(id, ": option"), name, close.empty() ? "one of " + list : "one of its options" + close);
}

/// One row of a technique's option table.
struct option_row {
  std::string name, default_value, range, symbol, help;
};
template <has_options T>
std::vector<option_row> option_table() {
  const T defaults{};
  std::vector<option_row> rows;
  for_each_option<T>([&](const auto& o) {
    using V = std::remove_cvref_t<decltype(defaults.*(o.member))>;
    rows.push_back({std::string(o.name), option_text<V>::format(defaults.*(o.member)),
                    option_text<V>::range(o.doc), std::string(o.doc.symbol), std::string(o.doc.help)});
  });
  return rows;
}

}  // namespace tersor
