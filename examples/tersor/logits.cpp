// tersor - tersor logits: the prediction after a prompt
// SPDX-License-Identifier: MIT
#include <numeric>

#include "command.hpp"
#include "loaded_model.hpp"

#include <tersor/pipeline/cache_spec.hpp>

namespace {

/// Hidden state of the last token, which reads the compressed caches of the others.
tersor::matrix<float> from_cache(const command::loaded_model& m, std::span<const int> ids,
                                 const std::string& spec, const tersor::context& ctx) {
  const auto policy = tersor::pipeline::parse_cache_spec(spec).policy();
  tersor::require(ids.size() >= 2, "prompt: tokens", ids.size(), "at least 2 with --kv");
  tersor::model::layer_caches caches(m.model.config(), policy);
  m.model.forward(ids.first(ids.size() - 1), &caches, ctx);
  return m.model.forward(ids.last(1), &caches, ctx);
}

}  // namespace

void command::add_logits(CLI::App& app) {
  struct options {
    std::string model, prompt, kv, adapter;
    bool no_bos = false, json = false;
    run_options run;
  };
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("logits", "Logits of the token after a prompt");
  sub->add_option("MODEL", o->model, "Model folder or GGUF file")->required();
  sub->add_option("--prompt", o->prompt, "Text")->required();
  sub->add_option("--adapter", o->adapter, "Folder of a PEFT adapter for the model");
  sub->add_flag("--no-bos", o->no_bos, "Do not put the beginning-of-sequence token first");
  sub->add_option("--kv", o->kv, "Compress the KV caches of all tokens but the last, which then reads them");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] {
    const auto ctx = o->run.context();
    const loaded_model m(o->model, o->adapter);
    const auto ids = m.encode(o->prompt, !o->no_bos);
    tersor::require(!ids.empty(), "prompt", "empty", "at least one token");
    const auto length = static_cast<tersor::index_t>(ids.size());
    const auto positions = m.model.config().max_position_embeddings;
    tersor::require(length <= positions, "prompt: tokens", length, "at most ", positions,
                    " (max_position_embeddings)");
    const auto hidden = o->kv.empty() ? m.model.forward(ids, nullptr, ctx) : from_cache(m, ids, o->kv, ctx);
    const auto logits = m.model.logits(hidden.view().rows(hidden.rows() - 1, 1), ctx);
    const auto row = logits.row(0);
    if (!std::ranges::all_of(row, [](float x) { return std::isfinite(x); }))
      tersor::model::require_finite_activations(m.model, ids, ctx);
    if (o->json) {
      const tersor::io::ordered_json j{{"ids", ids}, {"logits", std::vector<float>(row.begin(), row.end())}};
      print_json(j, -1);
      return;
    }
    std::vector<int> order(row.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](int a, int b) {
      return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
    });
    for (std::size_t k = 0; k < std::min<std::size_t>(10, order.size()); ++k)
      fmt::print("{:>6} {:>10.4f}  {:?}\n", order[k], row[static_cast<std::size_t>(order[k])],
                 m.tokenizer.contains(order[k]) ? m.tokenizer.decode(std::vector<int>{order[k]}) : "");
  });
}
