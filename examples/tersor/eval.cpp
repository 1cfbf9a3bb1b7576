// tersor - tersor eval: perplexity, and divergence from another model
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"

#include <tersor/model/decode_evaluation.hpp>
#include <tersor/pipeline/cache_spec.hpp>
#include <tersor/solve/layer.hpp>

namespace {

/// Perplexity of what follows a prompt, from caches that a spec compresses.
void evaluate_cache(const command::loaded_model& m, std::span<const int> ids, const std::string& spec,
                    const tersor::model::decode_options& options, bool json, const tersor::context& ctx) {
  const auto cache = tersor::pipeline::parse_cache_spec(spec);
  const tersor::solve::stopwatch clock;
  const auto r = tersor::model::decode_perplexity(m.model, ids, cache.policy(), options, ctx);
  const double seconds = clock.seconds();
  if (!json) {
    fmt::print("perplexity {:.4f} over {} predictions in {} windows, {:.1f} s\n", r.perplexity, r.tokens,
               r.nll_per_window.size(), seconds);
    fmt::print(
        "{}: {:.0f} of {} tokens kept, {:.0f} bytes, {:.0f} in f16, {:.3f} bits an element, error of "
        "attention {:.4f}\n",
        cache.text(), r.kept_tokens, options.prompt, r.kv_bytes, r.kv_bytes_f16, r.kv_bits_per_element(),
        r.attention_output_error);
    return;
  }
  command::print_json({{"perplexity", r.perplexity},
                       {"tokens", r.tokens},
                       {"windows", r.nll_per_window.size()},
                       {"seconds", seconds},
                       {"kv_spec", cache.text()},
                       {"kv_bytes", r.kv_bytes},
                       {"kv_bytes_f16", r.kv_bytes_f16},
                       {"kv_bits_per_element", r.kv_bits_per_element()},
                       {"kept_tokens", r.kept_tokens},
                       {"attention_output_error", r.attention_output_error},
                       {"nll_per_window", r.nll_per_window}});
}

}  // namespace

void command::add_eval(CLI::App& app) {
  struct options {
    std::string model, text, against, kv, adapter;
    tersor::model::evaluation_options evaluation;
    tersor::model::decode_options decode;
    bool flush = false;
    bool json = false;
    run_options run;
  };
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("eval", "Perplexity of a model on a text");
  sub->add_option("MODEL", o->model,
                  "Folder with config.json, tokenizer.json and weights, dense or compressed, or a GGUF file")
      ->required();
  sub->add_option("--text", o->text, "Text file")->required();
  sub->add_option("--adapter", o->adapter, "Folder of a PEFT adapter for the model");
  sub->add_option("--window", o->evaluation.window, "Tokens per window")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--max-windows", o->evaluation.max_windows, "Windows at most; 0: all")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--against", o->against, "Model whose predictions the divergence is measured from");
  auto* kv = sub->add_option("--kv", o->kv,
                             "Compress the KV caches after each window's prompt and decode the rest token by "
                             "token, e.g. \"snapkv(capacity=256)|gear(bits=2)\"");
  sub->add_option("--kv-prompt", o->decode.prompt, "Tokens of a window that are its prompt")
      ->check(whole_number())
      ->needs(kv)
      ->capture_default_str();
  sub->add_flag("--kv-flush", o->flush, "Compress and evict decoded tokens too, not the prompt alone")
      ->needs(kv);
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] {
    const auto ctx = o->run.context();
    const loaded_model m(o->model, o->adapter);
    const auto ids = m.encode_file(o->text, o->evaluation.window);
    if (!o->kv.empty()) {
      tersor::require(o->against.empty(), "--against", o->against, "no --kv beside it");
      o->decode.window = o->evaluation.window;
      o->decode.max_windows = o->evaluation.max_windows;
      if (o->flush) o->decode.later = tersor::model::decoded_tokens::compress;
      return evaluate_cache(m, ids, o->kv, o->decode, o->json, ctx);
    }
    const tersor::solve::stopwatch clock;
    const auto r = tersor::model::perplexity(m.model, ids, o->evaluation, ctx);
    const double seconds = clock.seconds();
    tersor::io::ordered_json j{{"perplexity", r.perplexity},
                               {"tokens", r.tokens},
                               {"windows", r.nll_per_window.size()},
                               {"seconds", seconds}};
    if (!o->against.empty()) {
      const auto reference = load_model(o->against);
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
