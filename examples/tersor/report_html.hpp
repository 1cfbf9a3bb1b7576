// tersor - the report of a compression as one page of HTML
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <string>

#include <tersor/core/context.hpp>
#include <tersor/io/json.hpp>

namespace tersor::model {
class llama;
}

namespace command {

/// What `--report FILE` writes: a summary, plots and a table of all layers in one file that needs no other.
/// Without a file nothing is done.
class html_report {
 public:
  /// Finds before the work what would stop the page after it: no gnuplot, a file that exists already (without
  /// `replace`), a folder that is missing or cannot be written to.
  html_report(std::optional<std::string> file, bool replace);

  /// Singular values of the layers with the largest, the median and the smallest error, and of what was lost.
  /// Cost: two sets of eigenvalues of the smaller side n of each, 4/3 n³ operations in double.
  /// @param layers the rows of the JSON report.
  void add_spectra(const tersor::model::llama& before, const tersor::model::llama& after,
                   const tersor::io::ordered_json& layers, const tersor::context& ctx);

  /// @param title the model's name. @param report what `tersor compress --json` prints.
  void write(const std::string& title, const tersor::io::ordered_json& report) const;

 private:
  std::optional<std::string> file_;
  tersor::io::ordered_json spectra_ = tersor::io::ordered_json::array();
};

}  // namespace command
