// tersor - tersor finetune: an adapter, or the weights themselves, trained on a text
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"
#include "output_check.hpp"

#include <tersor/model/finetune_checkpoint.hpp>
#include <tersor/model/peft_model.hpp>
#include <tersor/pipeline/adapter_spec.hpp>
#include <tersor/pipeline/compress.hpp>

namespace {

namespace fs = std::filesystem;
using tersor::index_t;

struct finetune_options {
  std::string model, adapter, data, validate, base, out, state;
  std::vector<std::string> targets{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                   "gate_proj", "up_proj", "down_proj"};
  tersor::model::finetune_options run;
  std::string weight_type = "f32";
  index_t save_every = 50;
  bool all_weights = false, no_checkpoint = false, force = false, json = false;
  command::run_options machine;
};

/// The tokens to train on and those to validate with: another file, or the last tenth.
std::pair<std::vector<int>, std::vector<int>> split(const command::loaded_model& m,
                                                    const finetune_options& o) {
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

/// Whatever must be the same for a saved run to go on to the same bits, as far as a text can say it.
std::string description(const finetune_options& o, index_t tokens, double perplexity) {
  const auto& r = o.run;
  return fmt::format(
      "method {}, base {}, targets {}, {} steps of {} x {} of {} tokens, warmup {}, rate {}, up_ratio {}, "
      "weight_decay {}, max_norm {}, weights {}, seed {}, perplexity {:.6g}",
      o.all_weights ? "all weights" : o.adapter, o.base.empty() ? "dense" : o.base, fmt::join(o.targets, " "),
      r.steps, r.batch, r.window, tokens, r.warmup, r.learning_rate, r.up_ratio, r.weight_decay, r.max_norm,
      tersor::name(r.weight_type), o.machine.seed, perplexity);
}

/// Trains to the end, or to an error after the first step, which is returned: what is trained then holds the
/// last good values.
std::string train(tersor::model::finetuner& tuner, const finetune_options& o, const std::string& description,
                  const tersor::context& ctx, tersor::io::ordered_json& losses) {
  const auto save = [&] {
    if (!o.state.empty()) tersor::model::save_finetune_state(tuner.state(), o.state, description);
  };
  const index_t first = tuner.steps();
  try {
    while (!tuner.done()) {
      losses.push_back(tuner.step());
      ctx.step("fine-tuning", tuner.steps(), o.run.steps);
      if (tuner.done() || (o.save_every > 0 && tuner.steps() % o.save_every == 0)) save();
    }
  } catch (const tersor::cancelled&) {
    save();
    if (!o.state.empty()) command::interruption_note = "the run can go on from " + o.state;
    throw;
  } catch (const tersor::error& e) {
    if (tuner.steps() == first) throw;
    save();
    return e.what();
  }
  return {};
}

/// What is wrong with the outputs shows before the work.
void check_outputs(const finetune_options& o) {
  const auto model = command::loaded_model::folder_of(fs::absolute(o.model));
  std::vector<fs::path> inputs{o.data, o.validate, o.state};
  if (!o.all_weights) inputs.push_back(model);  // an adapter cannot take its place
  command::check_output("--out", o.out, o.force, inputs, o.all_weights ? model : fs::path());
  if (o.state.empty()) return;
  command::check_output_file("--state", o.state, {model, o.data, o.validate});
  const tersor::io::file_writer writable(o.state);
}

void run(finetune_options o) {
  command::catch_interruptions();
  auto ctx = o.machine.context();
  ctx.is_cancelled = [] { return command::interruption != 0; };
  o.run.checkpoint = !o.no_checkpoint;
  for (const auto& [name, type] : tersor::option_names(tersor::dtype{}))
    if (name == o.weight_type) o.run.weight_type = type;
  tersor::require(o.all_weights == o.adapter.empty(), "finetune: --adapter", o.adapter,
                  o.all_weights ? "none with --all-weights" : "a method, or --all-weights");
  tersor::pipeline::any_stage method;
  if (!o.all_weights) method = tersor::pipeline::parse_adapter_spec(o.adapter);
  command::loaded_model m(o.model);
  std::vector<std::string> names;
  if (!o.all_weights) names = tersor::pipeline::target_linears(m.model, o.targets);
  const auto [ids, held_back] = split(m, o);
  check_outputs(o);
  tersor::io::output_folder out(o.out, o.force);

  if (!o.base.empty())
    tersor::pipeline::compress(m.model, tersor::pipeline::recipe::parse(o.base), {}, {}, ctx);
  const tersor::model::evaluation_options windows{.window = o.run.window};
  const double before = tersor::model::perplexity(m.model, held_back, windows, ctx).perplexity;

  tersor::pipeline::started_adapters started;
  auto base = m.model;
  std::optional<tersor::model::finetuner> tuner;
  if (o.all_weights) {
    tuner.emplace(base, tersor::model::llama_graph(base).tensor_names(), ids, o.run, ctx);
  } else {
    started = tersor::pipeline::start_adapters(method, m.model, names, o.run.steps, ctx);
    for (const auto& [name, w] : started.new_base) base.set_linear(name, tersor::op::dense(w.view()));
    tuner.emplace(base, started.adapters, ids, o.run, ctx, started.rule);
  }
  const auto text = description(o, static_cast<index_t>(ids.size()), before);
  if (!o.state.empty() && fs::exists(o.state))
    tuner->restore(tersor::model::load_finetune_state(o.state, text));

  const index_t trainable = tuner->trainable_count(), first = tuner->steps();
  tersor::io::ordered_json losses = tersor::io::ordered_json::array();
  const tersor::solve::stopwatch clock;
  const auto stopped = train(*tuner, o, text, ctx, losses);
  const double seconds = clock.seconds();
  if (o.all_weights) {
    tuner->store_weights(base);
    m.save(tersor::model::llama_file(base), out);
    out.commit();
  } else {
    tersor::io::write_peft(tersor::pipeline::to_peft(method, started, o.targets), o.out, o.force);
    tersor::model::attach(base, started.adapters);
  }
  if (!stopped.empty())
    tersor::fail(tersor::concat(stopped, "; ", o.out, " has what was trained until step ", tuner->steps()),
                 "", "");
  const double after = tersor::model::perplexity(base, held_back, windows, ctx).perplexity;

  if (o.json) {
    command::print_json({{"adapter", o.all_weights ? "all weights" : method.text()},
                         {"base", o.base.empty() ? "dense" : o.base},
                         {"trainable", trainable},
                         {"trainable_at_end", tuner->trainable_count()},
                         {"first_step", first + 1},
                         {"steps", tuner->steps()},
                         {"perplexity_before", before},
                         {"perplexity_after", after},
                         {"seconds", seconds},
                         {"tape_bytes", tuner->peak_bytes()},
                         {"optimizer_bytes", tuner->optimizer_bytes()},
                         {"peak_rss_bytes", command::peak_rss_bytes()},
                         {"losses", losses}});
    return;
  }
  fmt::print(
      "{}: {} trainable values, steps {} to {} in {:.1f} s, tape {:.1f} MB\nperplexity {:.4f} -> {:.4f}\n",
      o.all_weights ? "all weights" : method.text(), trainable, first + 1, tuner->steps(), seconds,
      static_cast<double>(tuner->peak_bytes()) / 1e6, before, after);
}

}  // namespace

void command::add_finetune(CLI::App& app) {
  auto o = std::make_shared<finetune_options>();
  auto* sub = app.add_subcommand("finetune", "Train an adapter of a model on a text");
  sub->add_option("MODEL", o->model, "Model folder or GGUF file")->required();
  sub->add_option("--adapter", o->adapter, "Method, e.g. \"lora(rank=8,alpha=16)\"");
  sub->add_flag("--all-weights", o->all_weights, "Train the model itself instead; --out gets a model");
  sub->add_option("--data", o->data, "Text to train on")->required();
  sub->add_option("--validate", o->validate, "Text to validate with; without it the last tenth of the data");
  sub->add_option("--out", o->out, "Folder for the adapter, in PEFT's layout")->required();
  sub->add_option("--state", o->state, "File to save the run in; if it exists, the run goes on from it");
  sub->add_option("--base", o->base, "Compress the frozen weights first, without data, e.g. \"nf4\"");
  sub->add_option("--targets", o->targets, "Linears, by the end of their names")->delimiter(',');
  const auto count = [&](const char* name, index_t& value, const char* help) {
    sub->add_option(name, value, help)->check(whole_number())->capture_default_str();
  };
  count("--steps", o->run.steps, "Updates");
  count("--batch", o->run.batch, "Random windows for each update");
  count("--window", o->run.window, "Tokens of a window");
  count("--save-every", o->save_every, "Updates between two savings of the state; 0: at the end");
  count("--warmup", o->run.warmup, "Updates until the full learning rate, which then falls to 0");
  sub->add_option("--learning-rate", o->run.learning_rate, "Learning rate of AdamW")->capture_default_str();
  sub->add_option("--up-ratio", o->run.up_ratio, "Rate of B and of vectors over that of A (LoRA+)")
      ->capture_default_str();
  sub->add_option("--weight-decay", o->run.weight_decay, "Of matrices, decoupled")->capture_default_str();
  sub->add_option("--max-norm", o->run.max_norm, "Clip the gradient's norm; 0: no clipping")
      ->capture_default_str();
  sub->add_option("--weight-type", o->weight_type,
                  "Round what is trained after each update: f32 (no rounding), bf16, f16")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->capture_default_str();
  sub->add_flag("--no-checkpoint", o->no_checkpoint,
                "Keep the activations of all blocks: more memory, less time");
  sub->add_flag("--force", o->force, "Replace the output folder if it exists");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->machine.add_to(*sub);
  sub->callback([o] { run(*o); });
}
