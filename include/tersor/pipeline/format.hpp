// tersor - reports through fmt: fmt::print("{}\n", result.report)
// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>  // fmt::formatter

#include <tersor/solve/report.hpp>

/// "4.156 bits per weight, 26.2 KB, error 0.0793 (weighted 0.0457), 0.12 s"
template <>
struct fmt::formatter<tersor::solve::report> {
  constexpr auto parse(fmt::format_parse_context& ctx) { return ctx.begin(); }
  template <class Context>
  auto format(const tersor::solve::report& r, Context& ctx) const {
    auto out = fmt::format_to(ctx.out(), "{:.3f} bits per weight, {:.1f} KB, error {:.4g}", r.bits_per_weight,
                              static_cast<double>(r.bytes) / 1e3, r.relative_error);
    if (r.weighted_error) out = fmt::format_to(out, " (weighted {:.4g})", *r.weighted_error);
    return fmt::format_to(out, ", {:.2f} s", r.seconds);
  }
};
