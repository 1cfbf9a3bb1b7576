// tersor - tersor compress: a smaller checkpoint and a report
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"
#include "output_check.hpp"

#include <tersor/io/output_journal.hpp>
#include <tersor/io/sharded_writer.hpp>
#include <tersor/pipeline/report_json.hpp>

namespace {

namespace fs = std::filesystem;

struct options {
  std::string model, spec, calibration, evaluate;
  std::optional<std::string> out;
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
tersor::io::json settings_of(const options& o, const tersor::io::checkpoint& files,
                             const std::string& recipe) {
  tersor::io::json inputs = tersor::io::json::array();
  const auto add = [&](const fs::path& path) {
    inputs.push_back(
        {path.string(), fs::file_size(path), fs::last_write_time(path).time_since_epoch().count()});
  };
  for (const auto& file : files.files()) add(file.path());
  if (!o.calibration.empty()) add(o.calibration);
  return {{"command", "compress"},
          {"inputs", inputs},
          {"with", recipe},
          {"calibration_windows", o.calibration_windows},
          {"window", o.evaluation.window},
          {"dense_activations", o.dense_activations},
          {"one_pass", o.one_pass},
          {"seed", o.run.seed},
          {"shard_size", o.shard_size}};
}

/// The output folder of a run while blocks are finished one by one.
class streamed_output {
 public:
  streamed_output(const options& o, const tersor::model::llama& dense)
      : dense_(dense),
        folder_(*o.out, o.force, o.resume),
        weights_(folder_.path(), command::bytes_of(o.shard_size, "--shard-size")),
        operators_(weights_) {
    weights_.metadata_of_all("format", "pt");
  }

  /// Keeps a journal from here on, and takes up that of an interrupted run.
  void keep_journal(const tersor::io::json& settings) {
    const auto path = folder_.path() / journal_name;
    journal_ = std::make_unique<tersor::io::output_journal>(path, settings);
    std::vector<tersor::io::json> tensors;
    for (const auto& entry : journal_->entries()) {
      if (entry.contains("finished")) {
        finished_bytes_ = tersor::io::get<std::uint64_t>(entry, "finished", path.string());
        continue;
      }
      tensors.push_back(tersor::io::get<tersor::io::json>(entry, "tensors", path.string()));
      for (const auto& l : tersor::io::get<std::vector<tersor::io::json>>(entry, "layers", path.string()))
        report.layers.push_back(tersor::pipeline::layer_report_from(l, path.string()));
      const auto operators =
          tersor::io::ordered_json::parse(tersor::io::get<std::string>(entry, "operators", path.string()));
      for (const auto& item : operators.items()) operators_.describe(item.key(), item.value());
      report.seconds = tersor::io::get<double>(entry, "seconds", path.string());
      ++blocks_;
    }
    if (finished_bytes_ == 0) weights_.restore(tensors, path.string());
  }
  /// Blocks that an interrupted run had finished, and the calibration after the last of them.
  tersor::index_t blocks() const { return blocks_; }
  std::vector<tersor::matrix<float>> hidden(std::size_t sequences) const {
    std::vector<tersor::matrix<float>> result;
    if (blocks_ == 0 || sequences == 0) return result;
    const tersor::io::safetensors_file file(states_path(blocks_));
    for (std::size_t i = 0; i < sequences; ++i) result.push_back(file.read_matrix<float>(tersor::concat(i)));
    return result;
  }

  /// Writes a finished block; its slots get the dense weights back, which take no memory.
  void add_block(tersor::model::llama& m, tersor::index_t block,
                 std::span<const tersor::pipeline::layer_report> layers,
                 std::span<const tersor::model::block_state> states) {
    const auto known = operators_.descriptions().size();
    tersor::model::write_llama_block(m, block, weights_, operators_);
    report.layers.insert(report.layers.end(), layers.begin(), layers.end());
    if (journal_) {
      ++blocks_;
      save_states(states);
      tersor::io::ordered_json operators = tersor::io::ordered_json::object();
      std::size_t k = 0;
      for (const auto& item : operators_.descriptions().items())
        if (k++ >= known) operators[item.key()] = item.value();
      tersor::io::json rows = tersor::io::json::array();
      for (const auto& l : layers)
        rows.push_back(tersor::io::json::parse(tersor::pipeline::to_json(l).dump()));
      for (const auto& l : layers) report.seconds += l.report.seconds;
      journal_->append({{"tensors", weights_.take_progress()},
                        {"operators", operators.dump()},
                        {"layers", rows},
                        {"seconds", report.seconds}});
      fs::remove(states_path(blocks_ - 1));
    }
    for (const auto& stage : m.linear_stages(block))
      for (const auto& name : stage) m.set_linear(name, dense_.linear(name));
  }
  /// Writes the rest. @return bytes of the weight files.
  std::uint64_t finish(const tersor::model::llama& m, const std::string& provenance, const fs::path& source) {
    if (finished_bytes_ > 0) return finished_bytes_;
    tersor::model::write_llama_ends(m, weights_, operators_);
    weights_.metadata("tersor.report", provenance);
    operators_.finish();
    const auto bytes = weights_.finish();
    tersor::io::copy_model_files(tersor::io::model_folder_of(source), folder_.path());
    if (journal_) journal_->append({{"finished", bytes}});
    return bytes;
  }
  const fs::path& path() const { return folder_.path(); }
  void commit() {
    journal_.reset();
    fs::remove(folder_.path() / journal_name);
    // a run that was killed may have left those of an earlier block
    for (tersor::index_t b = 0; b <= blocks_; ++b) fs::remove(states_path(b));
    folder_.commit();
  }

  tersor::pipeline::compression_report report;  ///< of all blocks

 private:
  static constexpr const char* journal_name = ".journal";
  fs::path states_path(tersor::index_t block) const {
    return folder_.path() / tersor::concat(".states-", block);
  }
  void save_states(std::span<const tersor::model::block_state> states) const {
    if (states.empty()) return;
    tersor::io::safetensors_writer file;
    for (std::size_t i = 0; i < states.size(); ++i) {
      const auto& x = states[i].hidden;
      file.add(tersor::concat(i), tersor::dtype::f32, {x.rows(), x.cols()}, std::as_bytes(x.values()));
    }
    file.write(states_path(blocks_));
  }

  const tersor::model::llama& dense_;
  tersor::io::output_folder folder_;
  tersor::io::sharded_writer weights_;
  tersor::io::operator_writer operators_;
  std::unique_ptr<tersor::io::output_journal> journal_;
  tersor::index_t blocks_ = 0;
  std::uint64_t finished_bytes_ = 0;
};

void run(const options& o) {
  command::catch_interruptions();
  const auto recipe = tersor::pipeline::recipe::parse(o.spec);
  auto ctx = o.run.context();
  ctx.is_cancelled = [] { return command::interruption != 0; };
  const command::loaded_model dense(o.model);
  const auto bytes_before = tersor::io::checkpoint(o.model).file_bytes();
  std::vector<int> evaluation;
  if (!o.evaluate.empty()) evaluation = dense.encode_file(o.evaluate, o.evaluation.window);
  std::vector<std::vector<int>> calibration;
  if (!o.calibration.empty())
    calibration = tersor::pipeline::windows_of(dense.encode_file(o.calibration, o.evaluation.window),
                                               o.evaluation.window, o.calibration_windows);
  if (o.out)
    command::check_output("--out", *o.out, o.force,
                          {command::loaded_model::folder_of(o.model), o.calibration, o.evaluate});
  tersor::require(!o.resume || o.out, "--resume", "without --out", "a folder whose work goes on");

  // Compression comes before the first evaluation, which takes long: it finds mistakes of the spec at once.
  auto small = dense.model;
  const tersor::pipeline::schedule_options schedule{
      .true_sequential = !o.one_pass,
      .propagate = o.dense_activations ? tersor::pipeline::propagation::dense
                                       : tersor::pipeline::propagation::compressed};
  // With an output, blocks go to the disk as they are finished, and the evaluation reads them from there.
  std::unique_ptr<streamed_output> out;
  tersor::pipeline::block_progress progress;
  if (o.out) {
    out = std::make_unique<streamed_output>(o, dense.model);
    if (o.resume) {
      out->keep_journal(settings_of(o, tersor::io::checkpoint(o.model), recipe.text()));
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
    bytes_after = out->finish(small, provenance.dump(), o.model);
    if (!evaluation.empty()) small = tersor::model::load_llama(out->path());
  } else {
    tersor::model::llama_file file(small);
    file.metadata("tersor.report", provenance.dump());
    bytes_after = file.file_size();
  }
  if (!evaluation.empty()) {
    before = tersor::model::perplexity(dense.model, evaluation, o.evaluation, ctx).perplexity;
    after = tersor::model::perplexity(small, evaluation, o.evaluation, ctx).perplexity;
  }
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
  if (o.json)
    command::print_json(j);
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
  sub->add_flag("--force", o->force, "Replace that folder if it exists");
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
