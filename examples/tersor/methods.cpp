// tersor - tersor methods: the catalog
// SPDX-License-Identifier: MIT
#include "command.hpp"

#include <tersor/pipeline/report_json.hpp>

void command::add_methods(CLI::App& app) {
  struct options {
    bool json = false;
    std::string id;
  };
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("methods", "List the techniques, or the options of one");
  sub->add_option("METHOD", o->id, "Show this one's options");
  sub->add_flag("--json", o->json, "JSON on standard output");
  sub->callback([o] {
    const auto catalog = tersor::pipeline::standard_catalog();
    if (o->json) {
      print_json(tersor::pipeline::to_json(catalog));
      return;
    }
    if (o->id.empty()) {
      for (const auto& e : catalog.entries())
        fmt::print("{:<12} {:<8} {:<15} {:<11} {}\n", e.info.id, e.info.family,
                   tersor::option_text<tersor::solve::stage_kind>::format(e.kind), e.info.arxiv,
                   e.info.title);
      fmt::print("\ntersor methods METHOD shows the options of one.\n");
      return;
    }
    const auto& e = catalog.find(o->id);
    fmt::print("{}: {}\n{}{}\n#include <{}>\nGuarantee: {}\n\n", e.info.id, e.info.title,
               e.info.arxiv.empty() ? "" : "arXiv:", e.info.arxiv, e.info.header, e.info.guarantee);
    for (const auto& option : e.options)
      fmt::print("  {:<18} {:<14} {:<44} {}\n", option.name, option.default_value, option.range, option.help);
  });
}
