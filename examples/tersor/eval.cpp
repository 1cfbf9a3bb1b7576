// tersor - tersor eval: perplexity, and divergence from another model
// SPDX-License-Identifier: MIT
#include "command.hpp"

#include <tersor/solve/layer.hpp>

void command::add_eval(CLI::App& app) {
  struct options {
    std::string model, text, against;
    tersor::model::evaluation_options evaluation;
    bool json = false;
    run_options run;
  };
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("eval", "Perplexity of a model on a text");
  sub->add_option("MODEL", o->model,
                  "Folder with config.json, tokenizer.json and weights, dense or compressed")
      ->required();
  sub->add_option("--text", o->text, "Text file")->required();
  sub->add_option("--window", o->evaluation.window, "Tokens per window")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--max-windows", o->evaluation.max_windows, "Windows at most; 0: all")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--against", o->against, "Model whose predictions the divergence is measured from");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] {
    const auto ctx = o->run.context();
    const loaded_model m(o->model);
    const auto ids = m.encode_file(o->text, o->evaluation.window);
    const tersor::solve::stopwatch clock;
    const auto r = tersor::model::perplexity(m.model, ids, o->evaluation, ctx);
    const double seconds = clock.seconds();
    tersor::io::ordered_json j{{"perplexity", r.perplexity},
                               {"tokens", r.tokens},
                               {"windows", r.nll_per_window.size()},
                               {"seconds", seconds}};
    if (!o->against.empty()) {
      const auto reference = tersor::model::load_llama(o->against);
      const auto d = tersor::model::divergence(reference, m.model, ids, o->evaluation, ctx);
      j["kl_divergence"] = d.kl_divergence;
      j["same_top_token_rate"] = d.same_top_token_rate;
    }
    if (o->json) {
      j["nll_per_window"] = r.nll_per_window;
      print_json(j);
      return;
    }
    fmt::print("perplexity {:.4f} over {} predictions in {} windows, {:.1f} s\n", r.perplexity, r.tokens,
               r.nll_per_window.size(), seconds);
    if (!o->against.empty())
      fmt::print("KL divergence {:.6f} nats, same most likely token {:.2f} %\n",
                 j["kl_divergence"].get<double>(), 100.0 * j["same_top_token_rate"].get<double>());
  });
}
