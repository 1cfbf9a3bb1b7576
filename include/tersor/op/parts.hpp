// tersor - the parts of a composed operator: a fixed list of types, or any number of any_operators
// SPDX-License-Identifier: MIT
#pragma once

#include <tuple>   // std::tuple
#include <vector>  // std::vector

#include <tersor/op/any_operator.hpp>

namespace tersor::op {

/// `operator_parts<A, B>` holds an A and a B; `operator_parts<>` holds what a file or a text spec says.
template <class... Ops>
class operator_parts {
 public:
  operator_parts() = default;
  explicit operator_parts(Ops... ops) : ops_(std::move(ops)...) {}
  static constexpr std::size_t size() { return sizeof...(Ops); }
  template <class F>
  void for_each(F&& f) const {
    std::apply([&](const Ops&... op) { (f(op), ...); }, ops_);
  }
  template <std::size_t I>
  const auto& get() const {
    return std::get<I>(ops_);
  }

 private:
  std::tuple<Ops...> ops_;
};

template <>
class operator_parts<> {
 public:
  operator_parts() = default;
  explicit operator_parts(std::vector<any_operator> ops) : ops_(std::move(ops)) {}
  std::size_t size() const { return ops_.size(); }
  template <class F>
  void for_each(F&& f) const {
    for (const auto& op : ops_) f(op);
  }
  const any_operator& operator[](std::size_t i) const { return ops_[i]; }

 private:
  std::vector<any_operator> ops_;
};

namespace detail {

template <class Parts>
void save_parts(const Parts& parts, archive_writer& out) {
  save_archive a{out};
  a.attribute("parts", static_cast<index_t>(parts.size()));
  index_t i = 0;
  parts.for_each([&](const auto& op) { a.part(std::to_string(i++), op); });
}

inline operator_parts<> load_parts(archive_reader& in) {
  load_archive a{in};
  index_t n = 0;
  a.attribute("parts", n);
  require(n >= 1 && n <= 64, concat(in.where(), ": parts"), n, "1 .. 64");
  std::vector<any_operator> ops(static_cast<std::size_t>(n));
  for (index_t i = 0; i < n; ++i) a.part(std::to_string(i), ops[static_cast<std::size_t>(i)]);
  return operator_parts<>(std::move(ops));
}

}  // namespace detail

}  // namespace tersor::op
