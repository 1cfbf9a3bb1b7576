// tersor - tersor finetune and merge: adapters trained on a text, and put into the weights
// SPDX-License-Identifier: MIT
#include "command.hpp"

#include <tersor/pipeline/adapter_spec.hpp>
#include <tersor/pipeline/compress.hpp>

namespace {

namespace fs = std::filesystem;
using tersor::index_t;

struct options {
  std::string model, adapter, data, validate, base, out;
  std::vector<std::string> targets{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                   "gate_proj", "up_proj", "down_proj"};
  tersor::model::finetune_options run;
  bool no_checkpoint = false, force = false, json = false;
  command::run_options machine;
};

/// The tokens to train on and those to validate with: another file, or the last tenth.
std::pair<std::vector<int>, std::vector<int>> split(const command::loaded_model& m, const options& o) {
  auto ids = m.tokenizer.encode(tersor::io::read_text_file(o.data));
  std::vector<int> held_back;
  if (!o.validate.empty()) {
    held_back = m.tokenizer.encode(tersor::io::read_text_file(o.validate));
  } else {
    const auto first = ids.size() * 9 / 10;
    held_back.assign(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end());
    ids.resize(first);
  }
  for (const auto* part : {&ids, &held_back})
    tersor::require(static_cast<index_t>(part->size()) >= o.run.window,
                    tersor::concat(part == &ids || o.validate.empty() ? o.data : o.validate, ": tokens"),
                    part->size(), "at least one window of ", o.run.window,
                    o.validate.empty() ? " in the last tenth" : "");
  return {std::move(ids), std::move(held_back)};
}

void run(options o) {
  command::catch_interruptions();
  auto ctx = o.machine.context();
  ctx.is_cancelled = [] { return command::interruption != 0; };
  o.run.checkpoint = !o.no_checkpoint;
  const auto method = tersor::pipeline::parse_adapter_spec(o.adapter);
  command::loaded_model m(o.model);
  const auto [train, held_back] = split(m, o);
  {
    const tersor::io::output_folder writable(o.out, o.force);
  }  // what is wrong with it shows before the work

  if (!o.base.empty())
    tersor::pipeline::compress(m.model, tersor::pipeline::recipe::parse(o.base), {}, {}, ctx);
  const auto names = tersor::pipeline::target_linears(m.model, o.targets);
  const tersor::model::evaluation_options windows{.window = o.run.window};
  const double before = tersor::model::perplexity(m.model, held_back, windows, ctx).perplexity;
  auto started = tersor::pipeline::start_adapters(method, m.model, names, o.run.steps, ctx);
  auto base = m.model;
  for (const auto& [name, w] : started.new_base) base.set_linear(name, tersor::op::dense(w.view()));

  const tersor::solve::stopwatch clock;
  tersor::model::finetuner tuner(base, started.adapters, train, o.run, ctx, started.after_step);
  const index_t trainable = tuner.trainable_count();
  tersor::io::ordered_json losses = tersor::io::ordered_json::array();
  std::string stopped;
  try {
    while (!tuner.done()) {
      losses.push_back(tuner.step());
      ctx.step("fine-tuning", tuner.steps(), o.run.steps);
    }
  } catch (const tersor::error& e) {
    if (tuner.steps() == 0) throw;
    stopped = e.what();  // the adapters hold the last good values: they are saved, then the error is reported
  }
  const double seconds = clock.seconds();
  tersor::io::write_peft(tersor::pipeline::to_peft(method, started, o.targets), o.out, o.force);
  tersor::require(stopped.empty(), "finetune", stopped,
                  tersor::concat("a run to the end; ", o.out, " has the adapter after step ", tuner.steps()));
  tersor::model::attach(base, started.adapters);
  const double after = tersor::model::perplexity(base, held_back, windows, ctx).perplexity;

  if (o.json) {
    command::print_json({{"adapter", method.text()},
                         {"base", o.base.empty() ? "dense" : o.base},
                         {"trainable", trainable},
                         {"trainable_at_end", tuner.trainable_count()},
                         {"steps", tuner.steps()},
                         {"perplexity_before", before},
                         {"perplexity_after", after},
                         {"seconds", seconds},
                         {"tape_bytes", tuner.peak_bytes()},
                         {"peak_rss_bytes", command::peak_rss_bytes()},
                         {"losses", losses}});
    return;
  }
  fmt::print("{}: {} trainable values, {} steps in {:.1f} s, tape {:.1f} MB\nperplexity {:.4f} -> {:.4f}\n",
             method.text(), trainable, tuner.steps(), seconds, static_cast<double>(tuner.peak_bytes()) / 1e6,
             before, after);
}

}  // namespace

void command::add_finetune(CLI::App& app) {
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("finetune", "Train an adapter of a model on a text");
  sub->add_option("MODEL", o->model, "Model folder")->required();
  sub->add_option("--adapter", o->adapter, "Method, e.g. \"lora(rank=8,alpha=16)\"")->required();
  sub->add_option("--data", o->data, "Text to train on")->required();
  sub->add_option("--validate", o->validate, "Text to validate with; without it the last tenth of the data");
  sub->add_option("--out", o->out, "Folder for the adapter, in PEFT's layout")->required();
  sub->add_option("--base", o->base, "Compress the frozen weights first, without data, e.g. \"nf4\"");
  sub->add_option("--targets", o->targets, "Linears, by the end of their names")->delimiter(',');
  const auto count = [&](const char* name, index_t& value, const char* help) {
    sub->add_option(name, value, help)->check(whole_number())->capture_default_str();
  };
  count("--steps", o->run.steps, "Updates");
  count("--batch", o->run.batch, "Random windows for each update");
  count("--window", o->run.window, "Tokens of a window");
  count("--warmup", o->run.warmup, "Updates until the full learning rate, which then falls to 0");
  sub->add_option("--learning-rate", o->run.learning_rate, "Of AdamW")->capture_default_str();
  sub->add_option("--up-ratio", o->run.up_ratio, "Rate of B and of vectors over that of A (LoRA+)")
      ->capture_default_str();
  sub->add_option("--weight-decay", o->run.weight_decay, "Of matrices, decoupled")->capture_default_str();
  sub->add_option("--max-norm", o->run.max_norm, "Clip the gradient's norm; 0: not")->capture_default_str();
  sub->add_flag("--no-checkpoint", o->no_checkpoint,
                "Keep the activations of all blocks: more memory, less time");
  sub->add_flag("--force", o->force, "Replace the output folder if it exists");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->machine.add_to(*sub);
  sub->callback([o] { run(*o); });
}

void command::add_merge(CLI::App& app) {
  struct options {
    std::string model, adapter, out;
    bool force = false;
  };
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("merge", "Put an adapter into the weights of its base");
  sub->add_option("MODEL", o->model, "Model folder, dense or compressed")->required();
  sub->add_option("--adapter", o->adapter, "Folder of the adapter")->required();
  sub->add_option("--out", o->out, "Folder for the merged model; adapted layers become dense")->required();
  sub->add_flag("--force", o->force, "Replace that folder if it exists");
  sub->callback([o] {
    loaded_model m(o->model, o->adapter);
    tersor::io::output_folder out(o->out, o->force);
    tersor::model::merge_adapters(m.model);
    tersor::model::llama_file file(std::move(m.model));
    tersor::model::save_llama(file, o->model, out);
    out.commit();
    fmt::print("{} bytes\n", file.file_size());
  });
}
