// tersor - tersor compress: a smaller checkpoint and a report
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"
#include "report_html.hpp"

#include <tersor/pipeline/report_json.hpp>

namespace {

namespace fs = std::filesystem;

struct options {
  std::string model, spec, calibration, evaluate;
  std::optional<std::string> out, report;
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

/// What can be known about the output folder before the work is done.
void check_output(const options& o) {
  const fs::path out = *o.out;
  tersor::require(o.force || !fs::exists(fs::symlink_status(out)), "--out", *o.out,
                  "a folder that does not exist yet, or --force");
  const tersor::io::output_folder writable(out, o.force);
  if (!fs::exists(out)) return;
  // --force removes the folder: not with what this run reads, except for a model that is replaced.
  for (const fs::path& input :
       {command::loaded_model::folder_of(o.model), fs::path(o.calibration), fs::path(o.evaluate)}) {
    if (input.empty() || fs::equivalent(input, out)) continue;
    const auto inside = fs::relative(input, out);
    tersor::require(inside.empty() || *inside.begin() == "..", "--out", *o.out, "a folder without ",
                    input.string(), ", which would be removed");
  }
}

void run(const options& o) {
  command::catch_interruptions();
  const auto recipe = tersor::pipeline::recipe::parse(o.spec);
  auto ctx = o.run.context();
  ctx.is_cancelled = [] { return command::interruption != 0; };
  const command::loaded_model dense(o.model);
  const auto bytes_before = dense.file_bytes();
  std::vector<int> evaluation;
  if (!o.evaluate.empty()) evaluation = dense.encode_file(o.evaluate, o.evaluation.window);
  std::vector<std::vector<int>> calibration;
  if (!o.calibration.empty())
    calibration = tersor::pipeline::windows_of(dense.encode_file(o.calibration, o.evaluation.window),
                                               o.evaluation.window, o.calibration_windows);
  if (o.out) check_output(o);
  command::html_report page(o.report, o.force);

  // Compression comes before the first evaluation, which takes long: it finds mistakes of the spec at once.
  auto small = dense.model;
  const tersor::pipeline::schedule_options schedule{
      .true_sequential = !o.one_pass,
      .propagate = o.dense_activations ? tersor::pipeline::propagation::dense
                                       : tersor::pipeline::propagation::compressed};
  const auto report = tersor::pipeline::compress(small, recipe, calibration, schedule, ctx);
  tersor::io::ordered_json before = nullptr, after = nullptr;
  if (!evaluation.empty()) {
    before = tersor::model::perplexity(dense.model, evaluation, o.evaluation, ctx).perplexity;
    after = tersor::model::perplexity(small, evaluation, o.evaluation, ctx).perplexity;
  }
  const tersor::io::ordered_json provenance{{"spec", recipe.text()},
                                            {"layers", tersor::pipeline::to_json(report, false)}};
  page.add_spectra(dense.model, small, provenance["layers"], ctx);
  tersor::model::llama_file file(std::move(small));
  file.metadata("tersor.report", provenance.dump());
  if (o.out) {
    tersor::io::output_folder out(*o.out, o.force);
    dense.save(file, out);
    ctx.step("saving", 1, 1);
    out.commit();
  }

  const tersor::io::ordered_json j{{"spec", recipe.text()},
                                   {"bits_per_weight", report.bits_per_weight()},
                                   {"bytes_before", bytes_before},
                                   {"bytes_after", file.file_size()},
                                   {"perplexity_before", before},
                                   {"perplexity_after", after},
                                   {"seconds", report.seconds},
                                   {"peak_rss_bytes", command::peak_rss_bytes()},
                                   {"layers", tersor::pipeline::to_json(report)}};
  page.write(o.model, j);
  if (o.json)
    command::print_json(j);
  else
    print(j);
}

}  // namespace

void command::add_compress(CLI::App& app) {
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("compress", "Compress a model and measure what that did");
  sub->add_option("MODEL", o->model, "Folder with config.json, tokenizer.json and weights, or a GGUF file")
      ->required();
  sub->add_option("--with", o->spec,
                  "What to do, e.g. \"awq|gptq(bits=3)+svd(rank=16); *.down_proj: gptq(bits=8)\"")
      ->required();
  sub->add_option("--calibration", o->calibration, "Text for methods that need data");
  sub->add_option("--calibration-windows", o->calibration_windows, "Windows of it at most; 0: all")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--evaluate", o->evaluate, "Text whose perplexity is measured before and after");
  sub->add_option("--window", o->evaluation.window, "Tokens per window, of calibration and evaluation")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--max-windows", o->evaluation.max_windows, "Windows of the evaluation at most; 0: all")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--out", o->out, "Folder for the compressed model");
  sub->add_option("--report", o->report, "File for a page of HTML with plots, which needs gnuplot");
  sub->add_flag("--force", o->force, "Replace that folder, and that page, if it exists");
  sub->add_flag("--dense-activations", o->dense_activations,
                "Calibrate each block on what the dense blocks before it return");
  sub->add_flag("--one-pass", o->one_pass, "Calibrate all layers of a block at once (not true-sequential)");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] { run(*o); });
}
