// tersor - the comparison of adapters: every method trained on the same text, over a dense and an NF4 base
// SPDX-License-Identifier: MIT
//
//   build/release/examples/finetune_adapters [--only lora,ia3] [--steps N] [--batch N] [--window N]
//       [--validation N] [--threads N]      N windows of the validation; 0: all
//
// The embedded model knows little of encyclopedias: it is adapted to examples/data/wikitext2/excerpt.txt, of
// which the last tenth is held back. AdamW without decay, a tenth of the steps (at most 20) to the full rate,
// which then falls to 0. By default each run is short, to see that all works; the comparison is
//
//   build/release/examples/finetune_adapters --steps 200 --batch 8 --window 512 --validation 0
#include <fmt/format.h>

#include <algorithm>

#include "program_setup.hpp"

#include <tersor/adapters/lamda_pp.hpp>
#include <tersor/linalg/svd.hpp>
#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/adapter_spec.hpp>
#include <tersor/quant/nf4.hpp>

namespace {

namespace model = tersor::model;
namespace pipeline = tersor::pipeline;
using tersor::index_t;

struct trial {
  std::string_view name, spec;
  double learning_rate;
  double up_ratio = 1;  ///< LoRA+: rate of B over that of A
  std::vector<std::string> targets{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                   "gate_proj", "up_proj", "down_proj"};
};
const trial trials[] = {
    {"lora", "lora(rank=8,alpha=16)", 2e-3},
    {"rslora", "lora(rank=8,alpha=16,rslora=true)", 1e-3},
    {"lora+", "lora(rank=8,alpha=16)", 5e-4, 16},
    {"dora", "dora(rank=8,alpha=16)", 2e-3},
    {"pissa", "pissa(rank=8,alpha=8)", 1e-3},
    {"olora", "olora(rank=8,alpha=8)", 1e-3},
    {"vera", "vera(rank=64,d_initial=0.1)", 2e-2, 1, {"q_proj", "o_proj"}},
    {"adalora", "adalora(rank=12,target_rank=8,alpha=16)", 5e-3},
    {"loha", "loha(rank=8)", 2e-3},
    {"lokr", "lokr(rank=8,alpha=16)", 2e-3},
    {"ia3", "ia3", 2e-2},
    {"oft", "oft(block_size=16)", 1e-2},
    {"bone", "bone(rank=16)", 2e-3},
    {"bat", "bat(rank=16)", 2e-3},
    {"lamda", "lamda(rank=64,alpha=64)", 5e-3},
    {"lamda_pp", "lamda(rank=32..96,alpha=rank)", 5e-3},
    {"aflora", "aflora(rank=16)", 2e-2},
};

struct options {
  std::vector<std::string> only;
  model::finetune_options run{.steps = 4, .batch = 1, .window = 64};
  index_t validation = 4;
  tersor::context ctx;
};

/// LaMDA++: each layer's rank from its spectrum, then LaMDA.
pipeline::started_adapters start_lamda_pp(const model::llama& m, const std::vector<std::string>& names,
                                          const options& o) {
  std::vector<std::vector<double>> spectra;
  for (const auto& name : names) {
    const auto s = tersor::linalg::svd(m.linear(name).to_dense(), o.ctx).s;
    spectra.emplace_back(s.begin(), s.end());
  }
  const auto ranks = tersor::adapters::lamda_pp{.min_rank = 32, .max_rank = 96}.ranks(spectra);
  pipeline::started_adapters all;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const tersor::adapters::lamda method{.rank = ranks[i], .alpha = static_cast<double>(ranks[i])};
    auto one = pipeline::start_adapters(method, m, {names[i]}, o.run.steps, o.ctx);
    all.adapters.merge(one.adapters);
    all.rule = std::move(one.rule);  // freezes columns of all layers, whatever their ranks
  }
  return all;
}
pipeline::started_adapters start(const trial& t, const model::llama& m, const options& o) {
  const auto names = pipeline::target_linears(m, t.targets);
  if (t.name == "lamda_pp") return start_lamda_pp(m, names, o);
  return pipeline::start_adapters(pipeline::parse_adapter_spec(t.spec), m, names, o.run.steps, o.ctx);
}

void run(const trial& t, const model::llama& dense, bool nf4, const std::vector<int>& text,
         const std::vector<int>& held_back, const options& o) {
  auto base = dense;
  const auto quantize = [&](const std::string& name, const tersor::matrix<float>& w) {
    base.set_linear(name, tersor::quant::nf4{}(w).op);
  };
  if (nf4)
    for (const auto& l : dense.linear_shapes()) quantize(l.name, dense.linear(l.name).to_dense());
  auto started = start(t, base, o);
  if (nf4 && !started.new_base.empty()) started = start(t, dense, o);  // what is left of W is then quantized
  for (const auto& [name, w] : started.new_base)
    nf4 ? quantize(name, w) : base.set_linear(name, tersor::op::dense(w.view()));

  const auto perplexity = [&] {
    auto adapted = base;
    model::attach(adapted, started.adapters);
    const model::evaluation_options windows{.window = o.run.window, .max_windows = o.validation};
    return model::perplexity(adapted, held_back, windows, o.ctx).perplexity;
  };
  const double before = perplexity();
  auto recipe = o.run;
  recipe.learning_rate = t.learning_rate;
  recipe.up_ratio = t.up_ratio;
  const tersor::solve::stopwatch clock;
  model::finetuner tuner(base, started.adapters, text, recipe, o.ctx, started.rule);
  const index_t trainable = tuner.trainable_count();
  while (!tuner.done()) tuner.step();
  const double seconds = clock.seconds();
  auto values = fmt::format("{}", trainable);
  if (tuner.trainable_count() != trainable) values += fmt::format(" -> {}", tuner.trainable_count());
  fmt::print("| {:<8} | {:<40} | {:<5} | {:>16} | {:>8.2f} -> {:>8.2f} | {:>8.1f} | {:>7.1f} |\n", t.name,
             t.spec, nf4 ? "nf4" : "dense", values, before, perplexity(),
             static_cast<double>(tuner.peak_bytes()) / 1e6, seconds);
  std::fflush(stdout);
}

options parse(int argc, char** argv) {
  options o;
  int threads = 0;
  const auto number = [](std::string_view name, std::string_view text) {
    const auto value = tersor::option_text<index_t>::parse(text);
    tersor::require(value.has_value() && *value >= 0, name, text, "a number, 0 or more");
    return *value;
  };
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    tersor::require(i + 1 < argc, "argument", name, "a value after it");
    const std::string value = argv[i + 1];
    if (name == "--only")
      for (std::size_t begin = 0, end; begin <= value.size(); begin = end + 1) {
        end = std::min(value.find(',', begin), value.size());
        o.only.push_back(value.substr(begin, end - begin));
        tersor::require(std::ranges::count(trials, o.only.back(), &trial::name) == 1, "--only", o.only.back(),
                        "names of the first column");
      }
    else if (name == "--steps")
      o.run.steps = number(name, value);
    else if (name == "--batch")
      o.run.batch = number(name, value);
    else if (name == "--window")
      o.run.window = number(name, value);
    else if (name == "--validation")
      o.validation = number(name, value);
    else if (name == "--threads")
      threads = static_cast<int>(number(name, value));
    else
      tersor::fail("argument", name, "--only, --steps, --batch, --window, --validation or --threads");
  }
  o.run.warmup = std::min<index_t>(20, o.run.steps / 10);
  o.ctx.threads = threads;
  o.run.validate();
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  set_up_program(argv);
  try {
    const auto o = parse(argc, argv);
    const auto data = std::filesystem::path(TERSOR_SOURCE_DIR) / "examples" / "data";
    const auto dense = model::load_llama(data / "lm");
    auto text = tersor::io::tokenizer(data / "lm")
                    .encode(tersor::io::read_text_file(data / "wikitext2" / "excerpt.txt"));
    const auto split = text.begin() + static_cast<std::ptrdiff_t>(text.size() * 9 / 10);
    const std::vector<int> held_back(split, text.end());
    text.erase(split, text.end());
    fmt::print("{} steps, batches of {}, windows of {} tokens\n\n", o.run.steps, o.run.batch, o.run.window);
    fmt::print("| {:<8} | {:<40} | base  | trainable values | {:<20} | tape, MB | seconds |\n", "adapter",
               "spec", "perplexity");
    fmt::print("|{:-<10}|{:-<42}|-------|-----------------:|{:->21}:|---------:|--------:|\n", "", "", "");
    for (const auto& t : trials)
      if (o.only.empty() || std::ranges::find(o.only, t.name) != o.only.end())
        for (const bool nf4 : {false, true}) run(t, dense, nf4, text, held_back, o);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "finetune_adapters: {}\n", e.what());
    return 1;
  }
}
