// tersor - tersor compress: a smaller checkpoint and a report
// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include "command.hpp"

#include <tersor/model/evaluate.hpp>
#include <tersor/pipeline/report_json.hpp>

namespace {

struct options {
  std::string model, spec, calibration, evaluate, out;
  tersor::index_t calibration_windows = 0;
  tersor::model::evaluation_options evaluation;
  bool dense_activations = false, one_pass = false, force = false, json = false;
  command::run_options run;
};

void print(const tersor::io::ordered_json& j) {
  for (const auto& l : j["layers"]) {
    fmt::print(
        "{:<42} {:>7.3f} bits {:>10} bytes  error {:.4f}{}  {:.2f} s\n", l["name"].get<std::string>(),
        l["bits_per_weight"].get<double>(), l["bytes"].get<std::size_t>(), l["relative_error"].get<double>(),
        l["weighted_error"].is_number() ? fmt::format(" (weighted {:.4f})", l["weighted_error"].get<double>())
                                        : "",
        l["seconds"].get<double>());
    if (l.contains("notes"))
      for (const auto& note : l["notes"]) fmt::print("    {}\n", note.get<std::string>());
  }
  fmt::print("{}\n{:.3f} bits per weight in the compressed layers; {} -> {} bytes; {:.1f} s\n",
             j["spec"].get<std::string>(), j["bits_per_weight"].get<double>(),
             j["bytes_before"].get<std::size_t>(), j["bytes_after"].get<std::size_t>(),
             j["seconds"].get<double>());
  if (j["perplexity_after"].is_number())
    fmt::print("perplexity {:.4f} -> {:.4f}\n", j["perplexity_before"].get<double>(),
               j["perplexity_after"].get<double>());
}

void run(const options& o) {
  namespace fs = std::filesystem;
  const auto recipe = tersor::pipeline::recipe::parse(o.spec);
  if (!o.out.empty())
    tersor::require(o.force || !fs::exists(o.out), "--out", o.out,
                    "a folder that does not exist yet, or --force");
  const auto ctx = o.run.context();
  auto m = tersor::model::load_llama(o.model);
  const tersor::io::tokenizer tokenizer{fs::path(o.model)};

  tersor::io::ordered_json j{{"spec", recipe.text()}};
  std::vector<int> evaluation;
  tersor::io::ordered_json before = nullptr, after = nullptr;
  if (!o.evaluate.empty()) {
    evaluation = command::encode(m, tokenizer, tersor::io::read_text_file(o.evaluate));
    before = tersor::model::perplexity(m, evaluation, o.evaluation, ctx).perplexity;
  }
  std::vector<std::vector<int>> calibration;
  if (!o.calibration.empty()) {
    const auto ids = command::encode(m, tokenizer, tersor::io::read_text_file(o.calibration));
    calibration = tersor::pipeline::windows_of(ids, o.evaluation.window, o.calibration_windows);
    tersor::require(!calibration.empty(), o.calibration + ": tokens", ids.size(), "at least one window of ",
                    o.evaluation.window);
  }
  const tersor::pipeline::schedule_options schedule{
      .true_sequential = !o.one_pass,
      .propagate = o.dense_activations ? tersor::pipeline::propagation::dense
                                       : tersor::pipeline::propagation::compressed};
  const auto report = tersor::pipeline::compress(m, recipe, calibration, schedule, ctx);
  const tersor::io::ordered_json provenance{{"spec", recipe.text()},
                                            {"layers", tersor::pipeline::to_json(report, false)}};
  tersor::model::llama_file file(m);
  file.metadata("tersor.report", provenance.dump());
  if (!evaluation.empty()) after = tersor::model::perplexity(m, evaluation, o.evaluation, ctx).perplexity;
  if (!o.out.empty()) tersor::model::save_llama(file, o.model, o.out, o.force);

  j["bits_per_weight"] = report.bits_per_weight();
  j["bytes_before"] = tersor::io::checkpoint(o.model).file_bytes();
  j["bytes_after"] = file.file_size();
  j["perplexity_before"] = before;
  j["perplexity_after"] = after;
  j["seconds"] = report.seconds;
  j["peak_rss_bytes"] = command::peak_rss_bytes();
  j["layers"] = tersor::pipeline::to_json(report);
  if (o.json)
    fmt::print("{}\n", j.dump(2));
  else
    print(j);
}

}  // namespace

void command::add_compress(CLI::App& app) {
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("compress", "Compress a model and measure what that did");
  sub->add_option("MODEL", o->model, "Folder with config.json, tokenizer.json and weights")->required();
  sub->add_option("--with", o->spec,
                  "What to do, e.g. \"awq|gptq(bits=3)+svd(rank=16); *.down_proj: gptq(bits=8)\"")
      ->required();
  sub->add_option("--calibration", o->calibration, "Text for methods that need data");
  sub->add_option("--calibration-windows", o->calibration_windows, "Windows of it at most; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--evaluate", o->evaluate, "Text whose perplexity is measured before and after");
  sub->add_option("--window", o->evaluation.window, "Tokens per window, of calibration and evaluation")
      ->capture_default_str();
  sub->add_option("--max-windows", o->evaluation.max_windows, "Windows of the evaluation at most; 0: all")
      ->capture_default_str();
  sub->add_option("--out", o->out, "Folder for the compressed model");
  sub->add_flag("--force", o->force, "Replace that folder if it exists");
  sub->add_flag("--dense-activations", o->dense_activations,
                "Calibrate each block on what the dense blocks before it return");
  sub->add_flag("--one-pass", o->one_pass, "Calibrate all layers of a block at once (not true-sequential)");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] { run(*o); });
}
