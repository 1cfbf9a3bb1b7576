// tersor - the report of a compression as one page of HTML
// SPDX-License-Identifier: MIT
#include "report_html.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "command.hpp"
#include "gnuplot.hpp"

#include <tersor/core/version.hpp>
#include <tersor/io/file.hpp>
#include <tersor/io/unicode_classes.hpp>
#include <tersor/linalg/eigh.hpp>
#include <tersor/model/llama.hpp>

namespace {

using tersor::io::ordered_json;

/// Text between tags or in an attribute. What XML has no place for, control characters and bytes that are no
/// UTF-8, is replaced.
std::string escape(std::string_view text) {
  std::string escaped;
  for (std::size_t at = 0; at < text.size();) {
    const auto c = tersor::io::decode_utf8(text, at);
    const auto bytes = text.substr(at, c.length);
    at += c.length;
    if (bytes == "&")
      escaped += "&amp;";
    else if (bytes == "<")
      escaped += "&lt;";
    else if (bytes == ">")
      escaped += "&gt;";
    else if (bytes == "\"")
      escaped += "&quot;";
    else if (bytes == "'")
      escaped += "&#39;";
    else if (!c.valid || (c.code < ' ' && c.code != '\n' && c.code != '\t') || (c.code & 0xFFFE) == 0xFFFE)
      escaped += '?';
    else
      escaped += bytes;
  }
  return escaped;
}

/// A title for gnuplot, within double quotes.
std::string plot_text(std::string_view text) {
  std::string plain = "\"";
  for (const char c : text)
    plain +=
        c < ' ' || c == 127 || c == '"' || c == '\\' || c == '`' ? std::string(1, '?') : std::string(1, c);
  return plain + '"';
}

std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.9g}", value) : "?"; }
double value_of(const ordered_json& j) { return j.is_number() ? j.get<double>() : std::nan(""); }

std::string bytes_text(double bytes) {
  return bytes < 1e6   ? fmt::format("{:.1f} KB", bytes / 1e3)
         : bytes < 1e9 ? fmt::format("{:.2f} MB", bytes / 1e6)
                       : fmt::format("{:.2f} GB", bytes / 1e9);
}

// ---- plots

struct series {
  std::string title;
  std::vector<std::pair<double, double>> points;
};
struct plot {
  std::string x_label, y_label;
  std::string settings;  ///< lines of gnuplot
  std::string style = "linespoints";
  std::vector<series> lines;
};

/// The drawing as an element of the page. Names within it get a prefix: a page has many drawings.
std::string draw(const plot& p, std::string_view prefix) {
  static constexpr const char* colors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                           "#c49000", "#56b4e9", "#555555"};
  std::string script =
      "set terminal svg size 480,330 dynamic noenhanced font 'sans-serif,14' linewidth 1.2\n"
      "set datafile missing '?'\nset border 3 linecolor rgb '#666666'\nset tics nomirror textcolor rgb "
      "'#333333'\n"
      "set grid ytics linecolor rgb '#cccccc' linewidth 0.6\nset key below samplen 1.5\n";
  script += fmt::format("set xlabel {} offset 0,0.5\nset ylabel {}\n{}", plot_text(p.x_label),
                        plot_text(p.y_label), p.settings);
  std::string plots;
  for (std::size_t i = 0; i < p.lines.size(); ++i) {
    script += fmt::format("$data{} << END_OF_DATA\n", i);
    for (const auto& [x, y] : p.lines[i].points) script += number(x) + ' ' + number(y) + '\n';
    script += "END_OF_DATA\n";
    plots += fmt::format("{}$data{} using 1:2 with {} pointtype 7 pointsize {} linecolor rgb '{}' title {}",
                         i == 0 ? "plot " : ", ", i, p.style, p.style == "points" ? 0.8 : 0.5,
                         colors[i % std::size(colors)], plot_text(p.lines[i].title));
  }
  auto svg = command::gnuplot(script + plots + '\n');
  const auto begin = svg.find("<svg");
  tersor::require(begin != std::string::npos, "plot", "an empty drawing", "SVG from gnuplot");
  svg.erase(0, begin);
  for (const std::string name : {"id=\"", "id='", "href='#", "href=\"#", "url(#"})
    for (std::size_t at = svg.find(name); at != std::string::npos; at = svg.find(name, at)) {
      at += name.size();
      svg.insert(at, prefix);
    }
  return svg;
}

/// A figure that has something to show, else nothing.
std::string figure(const std::string& caption, const plot& p, std::string_view prefix) {
  const bool any = std::ranges::any_of(p.lines, [](const series& s) {
    return std::ranges::any_of(
        s.points, [](const auto& xy) { return std::isfinite(xy.first) && std::isfinite(xy.second); });
  });
  if (!any) return {};
  return fmt::format("<figure>\n{}<figcaption>{}</figcaption>\n</figure>\n", draw(p, prefix),
                     escape(caption));
}

/// Where a layer stands in the plots: the first number in its name is its block, the last word its kind.
struct place {
  int block = -1;
  std::string kind;
};
place place_of(std::string_view name) {
  place p;
  for (std::size_t begin = 0; begin <= name.size();) {
    const auto end = std::min(name.find('.', begin), name.size());
    const auto word = name.substr(begin, end - begin);
    if (p.block < 0 && !word.empty() && word.size() < 9 &&
        word.find_first_not_of("0123456789") == std::string_view::npos)
      p.block = std::stoi(std::string(word));
    p.kind = word;
    begin = end + 1;
  }
  return p;
}

/// One line of points for each kind of layer, over the blocks; over the order of the layers where names have
/// no such form.
std::vector<series> by_kind(const ordered_json& layers, const auto& x, const auto& y) {
  std::vector<series> lines;
  int index = 0;
  for (const auto& l : layers) {
    const auto p = place_of(l["name"].get<std::string>());
    auto line = std::ranges::find(lines, p.kind, &series::title);
    if (line == lines.end()) line = lines.insert(lines.end(), {p.kind, {}});
    line->points.emplace_back(x(l, p.block >= 0 ? p.block : index), y(l));
    ++index;
  }
  return lines;
}

std::string plots_of(const ordered_json& report, const ordered_json& spectra) {
  const auto& layers = report["layers"];
  const bool weighted =
      std::ranges::all_of(layers, [](const auto& l) { return l["weighted_error"].is_number(); });
  const std::string error_name = weighted ? "error of the outputs" : "error of the weights";
  const auto block = [](const auto&, int n) { return static_cast<double>(n); };
  const auto error = [&](const auto& l) {
    return value_of(l[weighted ? "weighted_error" : "relative_error"]);
  };
  const auto bits = [](const auto& l) { return value_of(l["bits_per_weight"]); };
  const auto seconds = [](const auto& l) { return value_of(l["seconds"]); };
  const auto kilobytes = [](const auto& l, int) { return value_of(l["bytes"]) / 1e3; };
  const std::string from_zero = "set yrange [0:*]\n";
  double last = 0;  // block, or layer where names have none
  for (const auto& line : by_kind(layers, block, bits))
    for (const auto& point : line.points) last = std::max(last, point.first);
  const auto over_blocks =
      fmt::format("set xrange [-0.3:{}]\nset xtics {}\n", last + 0.3, std::max(1.0, std::ceil(last / 10)));

  std::string html = "<div class=\"plots\">\n";
  const double before = value_of(report["perplexity_before"]), after = value_of(report["perplexity_after"]);
  const double dense = value_of(report["bytes_before"]) / 1e6, small = value_of(report["bytes_after"]) / 1e6;
  html += figure("Size and quality of the model",
                 {.x_label = "file, MB",
                  .y_label = "perplexity",
                  .settings = "set xrange [0:*]\nset offsets 0, 0, graph 0.15, graph 0.15\n",
                  .style = "points",
                  .lines = {{"dense", {{dense, before}}}, {"compressed", {{small, after}}}}},
                 "quality-");
  html += figure("Size and error of each layer",
                 {.x_label = "stored, KB",
                  .y_label = error_name,
                  .settings = "set xrange [0:*]\n" + from_zero,
                  .style = "points",
                  .lines = by_kind(layers, kilobytes, error)},
                 "size-");
  html += figure("Error of each layer",
                 {.x_label = "block",
                  .y_label = error_name,
                  .settings = from_zero + over_blocks,
                  .lines = by_kind(layers, block, error)},
                 "error-");
  html += figure("Bits of each layer",
                 {.x_label = "block",
                  .y_label = "bits per weight",
                  .settings = from_zero + over_blocks,
                  .lines = by_kind(layers, block, bits)},
                 "bits-");
  html += figure("Time of each layer",
                 {.x_label = "block",
                  .y_label = "seconds",
                  .settings = from_zero + over_blocks,
                  .lines = by_kind(layers, block, seconds)},
                 "time-");
  html += "</div>\n";
  if (spectra.empty()) return html;
  html +=
      "<h2>Singular values</h2>\n<p>Of the layers with the largest, the median and the smallest error: the "
      "weight, and what compression took from it.</p>\n<div class=\"plots\">\n";
  for (std::size_t i = 0; i < spectra.size(); ++i) {
    const auto line = [&](const char* title, const ordered_json& values) {
      series s{title, {}};
      for (std::size_t k = 0; k < values.size(); ++k)
        s.points.emplace_back(static_cast<double>(k + 1), value_of(values[k]));
      return s;
    };
    const auto& s = spectra[i];
    html += figure(s["name"].get<std::string>(),
                   {.x_label = "index",
                    .y_label = "singular value",
                    .settings = fmt::format("set xrange [0:{}]\nset logscale y\nset format y '%.0e'\n",
                                            s["weight"].size()),
                    .style = "lines",
                    .lines = {line("weight", s["weight"]), line("error", s["error"])}},
                   fmt::format("spectrum{}-", i));
    if (s["rescaled"] == true)
      html +=
          "<p>The spec scales this layer's inputs before it compresses, so the error is not the "
          "difference from the weight of the file and is left out.</p>\n";
  }
  return html + "</div>\n";
}

// ---- text

std::string fact(std::string_view name, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value));
}

std::string summary(const ordered_json& report) {
  const auto& layers = report["layers"];
  const double before = value_of(report["bytes_before"]), after = value_of(report["bytes_after"]);
  std::string html =
      "<dl>\n" + fact("bits per weight", fmt::format("{:.3f}", value_of(report["bits_per_weight"])));
  html += fact("file", fmt::format("{} → {}", bytes_text(before), bytes_text(after)));
  html += fact("of its size", fmt::format("{:.1f} %", 100 * after / before));
  if (report["perplexity_after"].is_number()) {
    const double p = value_of(report["perplexity_before"]), q = value_of(report["perplexity_after"]);
    html += fact("perplexity", fmt::format("{:.4f} → {:.4f}", p, q));
    html += fact("change of it", fmt::format("{:+.2f} %", 100 * (q / p - 1)));
  }
  html += fact("layers compressed", fmt::format("{}", layers.size()));
  html += fact("time", fmt::format("{:.1f} s", value_of(report["seconds"])));
  html += fact("peak memory", bytes_text(value_of(report["peak_rss_bytes"])));
  html += "</dl>\n";
  if (!report["perplexity_after"].is_number())
    html += "<p>No perplexity was measured: --evaluate TEXT asks for it.</p>\n";
  return html;
}

std::string table(const ordered_json& layers) {
  std::string html =
      "<div class=\"scroll\"><table>\n<thead><tr><th>layer</th><th>shape</th><th>bits</th><th>bytes</th>"
      "<th>error of the weights</th><th>of the "
      "outputs</th><th>seconds</th><th>notes</th></tr></thead>\n<tbody>\n";
  const auto fixed = [](const ordered_json& j, int digits) {
    return j.is_number() ? fmt::format("{:.{}f}", j.get<double>(), digits) : std::string("–");
  };
  for (const auto& l : layers) {
    std::string notes;
    if (l.contains("notes"))
      for (const auto& note : l["notes"]) notes += (notes.empty() ? "" : "; ") + note.get<std::string>();
    html += fmt::format(
        "<tr><td>{}</td><td>{} × "
        "{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        escape(l["name"].get<std::string>()), l["shape"][0].get<std::int64_t>(),
        l["shape"][1].get<std::int64_t>(), fixed(l["bits_per_weight"], 3), l["bytes"].get<std::size_t>(),
        fixed(l["relative_error"], 4), fixed(l["weighted_error"], 4), fixed(l["seconds"], 2), escape(notes));
  }
  return html + "</tbody>\n</table></div>\n";
}

// Light and dark; two columns of plots, or one in a narrow window; a wide table scrolls by itself.
constexpr std::string_view style = R"(
:root { color-scheme: light dark; --text: #1c1c1c; --quiet: #5c5c5c; --page: #ffffff; --card: #f4f4f2; --line: #d8d8d4; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e3; --quiet: #a5a5a0; --page: #191a1b; --card: #242628; --line: #3a3c3f; }
  figure svg { filter: invert(0.9) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--page); }
h1 { font-size: 1.5rem; margin: 0 0 0.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
code { font: 0.95em ui-monospace, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0.75rem; margin: 1rem 0; }
dl div { background: var(--card); border-radius: 0.4rem; padding: 0.6rem 0.8rem; }
dt { color: var(--quiet); font-size: 0.85rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 0.4rem; padding: 0.6rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: 0.9rem; text-align: center; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
td:last-child { white-space: normal; min-width: 10rem; }
footer { margin-top: 2rem; color: var(--quiet); font-size: 0.85rem; }
)";

}  // namespace

command::html_report::html_report(std::optional<std::string> file, bool replace) : file_(std::move(file)) {
  if (!file_) return;
  require_gnuplot("--report");
  tersor::require(replace || !std::filesystem::exists(std::filesystem::symlink_status(*file_)), "--report",
                  *file_, "a file that does not exist yet, or --force");
  const tersor::io::file_writer writable(*file_);
}

void command::html_report::add_spectra(const tersor::model::llama& before, const tersor::model::llama& after,
                                       const ordered_json& layers, const tersor::context& ctx) {
  if (!file_ || layers.empty()) return;
  std::vector<std::size_t> order(layers.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, std::ranges::greater{},
                           [&](std::size_t i) { return layers[i]["relative_error"].get<double>(); });
  const auto singular_values = [&](const tersor::matrix<float>& w) {
    const auto k = std::min(w.rows(), w.cols());
    tersor::matrix<double> square(k, k);
    tersor::linalg::gram(w.rows() < w.cols() ? w.view().transposed() : w.view(), square.view(), ctx);
    auto values = tersor::linalg::eigenvalues(square.view());
    std::ranges::reverse(values);
    // squares below the rounding of the largest one say nothing
    const double least = values.empty() ? 0 : 1e-14 * values.front();
    for (double& v : values) v = v > least ? std::sqrt(v) : std::nan("");
    return values;
  };
  const std::set<std::size_t> chosen{order.front(), order[order.size() / 2], order.back()};
  for (const std::size_t i : order) {
    if (!chosen.contains(i)) continue;
    const auto name = layers[i]["name"].get<std::string>();
    const auto w = before.linear(name).to_dense();
    auto error = after.linear(name).to_dense();
    double norm = 0, lost = 0;
    for (std::size_t k = 0; k < error.values().size(); ++k) {
      error.values()[k] -= w.values()[k];
      norm += std::pow(static_cast<double>(w.values()[k]), 2);
      lost += std::pow(static_cast<double>(error.values()[k]), 2);
    }
    // An equivalent transformation (AWQ, SmoothQuant) changed the weight before it was compressed.
    const double reported = layers[i]["relative_error"].get<double>();
    const bool rescaled = std::abs(std::sqrt(lost) - reported * std::sqrt(norm)) > 1e-3 * std::sqrt(norm);
    spectra_.push_back({{"name", name},
                        {"weight", singular_values(w)},
                        {"error", rescaled ? std::vector<double>() : singular_values(error)},
                        {"rescaled", rescaled}});
  }
}

void command::html_report::write(const std::string& title, const ordered_json& report) const {
  if (!file_) return;
  std::string html = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n";
  html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n";
  html +=
      fmt::format("<title>{} compressed</title>\n<style>{}</style>\n</head>\n<body>\n", escape(title), style);
  html += fmt::format("<h1>{}</h1>\n<p><code>{}</code></p>\n", escape(title),
                      escape(report["spec"].get<std::string>()));
  html += summary(report) + plots_of(report, spectra_);
  html += "<h2>Layers</h2>\n" + table(report["layers"]);
  html += fmt::format(
      "<footer>Bits count all that is stored: scales, zero points, positions. Errors are relative, of the "
      "weights |W - Ŵ| / |W|, of the outputs |(W - Ŵ) X| / |W X| on the calibration data. tersor "
      "{}.{}.{}</footer>\n</body>\n</html>\n",
      TERSOR_VERSION_MAJOR, TERSOR_VERSION_MINOR, TERSOR_VERSION_PATCH);
  tersor::io::write_text_file(*file_, html);
}
