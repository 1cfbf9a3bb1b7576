// tersor - tersor compress: a smaller checkpoint and a report
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"
#include "output_check.hpp"
#include "report_html.hpp"
#include "streamed_output.hpp"

#include <tersor/pipeline/report_json.hpp>

namespace {

namespace fs = std::filesystem;

struct compress_options {
  std::string model, spec, calibration, evaluate;
  std::optional<std::string> out, report;
  tersor::index_t calibration_windows = 0;
  tersor::model::evaluation_options evaluation;
  std::string shard_size = "5GB";
  bool dense_activations = false, one_pass = false, force = false, resume = false, json = false;
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

/// All that decides the output: a run goes on only with the same.
tersor::io::json settings_of(const compress_options& o, std::vector<fs::path> inputs,
                             const std::string& recipe) {
  if (!o.calibration.empty()) inputs.emplace_back(o.calibration);
  return {{"command", "compress"},
          {"inputs", tersor::io::identity_of(inputs)},
          {"with", recipe},
          {"calibration_windows", o.calibration_windows},
          {"window", o.evaluation.window},
          {"dense_activations", o.dense_activations},
          {"one_pass", o.one_pass},
          {"seed", o.run.seed},
          {"shard_size", o.shard_size}};
}

void run(const compress_options& o) {
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
  const auto model_folder = command::loaded_model::folder_of(fs::absolute(o.model));
  if (o.out) command::check_output("--out", *o.out, o.force, {o.calibration, o.evaluate}, model_folder);
  tersor::require(!o.resume || o.out, "--resume", "without --out", "a folder whose work goes on");
  command::html_report page(o.report, o.force);
  if (o.report) command::check_output_file("--report", *o.report, {model_folder, o.calibration, o.evaluate});

  // Compression comes before the first evaluation, which takes long: it finds mistakes of the spec at once.
  auto small = dense.model;
  const tersor::pipeline::schedule_options schedule{
      .true_sequential = !o.one_pass,
      .propagate = o.dense_activations ? tersor::pipeline::propagation::dense
                                       : tersor::pipeline::propagation::compressed};
  // With an output, blocks go to the disk as they are finished, and the evaluation reads them from there.
  std::unique_ptr<command::streamed_output> out;
  tersor::pipeline::block_progress progress;
  if (o.out) {
    out = std::make_unique<command::streamed_output>(*o.out, o.force, o.resume,
                                                     command::bytes_of(o.shard_size, "--shard-size"), dense);
    if (o.resume) {
      out->keep_journal(settings_of(o, dense.input_files(), recipe.text()));
      command::interruption_note = "what is finished was kept: the same command goes on";
    }
    progress.first_block = out->blocks();
    if (progress.first_block < small.block_count()) progress.hidden = out->hidden(calibration.size());
    progress.finished = [&](tersor::index_t block, auto layers, auto states) {
      out->add_block(small, block, layers, states);
    };
  }
  tersor::pipeline::compression_report report;
  if (progress.first_block < small.block_count())
    report = tersor::pipeline::compress(small, recipe, calibration, schedule, ctx, progress);
  if (out) {
    if (o.resume) report.seconds = out->report.seconds;
    report.layers = std::move(out->report.layers);
  }
  const tersor::io::ordered_json provenance{{"spec", recipe.text()},
                                            {"layers", tersor::pipeline::to_json(report, false)}};
  tersor::io::ordered_json before = nullptr, after = nullptr;
  std::uint64_t bytes_after = 0;
  if (out) {
    bytes_after = out->finish(small, provenance.dump());
    if (!evaluation.empty() || o.report) small = tersor::model::load_llama(out->path());
  } else {
    tersor::model::llama_file file(small);
    file.metadata("tersor.report", provenance.dump());
    bytes_after = file.file_size();
  }
  if (!evaluation.empty()) {
    before = tersor::model::perplexity(dense.model, evaluation, o.evaluation, ctx).perplexity;
    after = tersor::model::perplexity(small, evaluation, o.evaluation, ctx).perplexity;
  }
  page.add_spectra(dense.model, small, provenance["layers"], ctx);
  if (out) {
    ctx.step("saving", 1, 1);
    out->commit();
  }

  const tersor::io::ordered_json j{{"spec", recipe.text()},
                                   {"bits_per_weight", report.bits_per_weight()},
                                   {"bytes_before", bytes_before},
                                   {"bytes_after", bytes_after},
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
  auto o = std::make_shared<compress_options>();
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
  sub->add_option("--shard-size", o->shard_size, "Largest weight file, e.g. 500MB; 0: one file")
      ->capture_default_str();
  sub->add_flag("--resume", o->resume, "Keep finished blocks when interrupted, and go on with them");
  sub->add_flag("--dense-activations", o->dense_activations,
                "Calibrate each block on what the dense blocks before it return");
  sub->add_flag("--one-pass", o->one_pass, "Calibrate all layers of a block at once (not true-sequential)");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] { run(*o); });
}
