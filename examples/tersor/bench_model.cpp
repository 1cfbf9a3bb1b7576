// tersor - tersor bench model: tokens a second of a model, at several lengths of context
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"

#include <tersor/core/random.hpp>
#include <tersor/model/layer_caches.hpp>
#include <tersor/model/prepare.hpp>
#include <tersor/pipeline/cache_spec.hpp>
#include <tersor/pipeline/compress.hpp>
#include <tersor/solve/layer.hpp>

namespace {

using tersor::index_t;

struct model_options {
  std::string model, spec, kv, activations = "f32";
  std::vector<index_t> contexts;
  index_t decode = 32, runs = 3;
  bool stored = false, json = false;
  command::run_options run;
};

std::vector<int> random_ids(index_t n, index_t vocabulary, std::uint64_t seed) {
  tersor::random_generator random(seed);
  std::vector<int> ids;
  for (index_t i = 0; i < n; ++i)
    ids.push_back(static_cast<int>(random.uniform_index(static_cast<std::uint64_t>(vocabulary))));
  return ids;
}

/// One prompt and the tokens after it.
struct turn {
  double prefill = 0, first_token = 0, decode = 0;  ///< seconds; of the decoding: all tokens
  std::size_t cache_bytes = 0;
};
turn measure(const tersor::model::llama& m, std::span<const int> ids, index_t prompt,
             const tersor::kv::cache_policy& policy, const tersor::context& ctx) {
  turn result;
  tersor::model::layer_caches caches(m.config(), policy);
  const tersor::solve::stopwatch clock;
  const auto hidden = m.forward(ids.first(static_cast<std::size_t>(prompt)), &caches, ctx);
  result.prefill = clock.seconds();
  m.logits(hidden.view().rows(prompt - 1, 1), ctx);
  result.first_token = clock.seconds();
  for (auto t = static_cast<std::size_t>(prompt); t < ids.size(); ++t)
    m.logits(m.forward(ids.subspan(t, 1), &caches, ctx).view(), ctx);
  result.decode = clock.seconds() - result.first_token;
  result.cache_bytes = caches.bytes();
  return result;
}

void run(model_options o) {
  const auto ctx = o.run.context();
  tersor::require(o.decode >= 1, "--decode", o.decode, "at least 1");
  tersor::require(o.runs >= 1, "--runs", o.runs, "at least 1");
  auto m = command::load_model(o.model);
  const auto& c = m.config();
  if (o.contexts.empty())
    for (index_t n = 32; n + o.decode <= c.max_position_embeddings && n <= 32768; n *= 4)
      o.contexts.push_back(n);
  tersor::require(!o.contexts.empty(), "--decode", o.decode, "room for a prompt of 32 in ",
                  c.max_position_embeddings, " positions (max_position_embeddings), or --context");
  for (const auto n : o.contexts)
    tersor::require(n >= 1 && n + o.decode <= c.max_position_embeddings, "--context", n, "1 .. ",
                    c.max_position_embeddings - o.decode,
                    " (max_position_embeddings less the decoded tokens)");
  const auto policy =
      o.kv.empty() ? tersor::model::exact_cache() : tersor::pipeline::parse_cache_spec(o.kv).policy();
  if (!o.spec.empty()) {
    // what a calibration would be is of no matter here
    const index_t window = std::min<index_t>(128, c.max_position_embeddings);
    const auto ids = random_ids(4 * window, c.vocab_size, 1);
    tersor::pipeline::compress(m, tersor::pipeline::recipe::parse(o.spec),
                               tersor::pipeline::windows_of(ids, window), {}, ctx);
  }
  if (!o.stored) {
    tersor::op::prepare_options prepare;
    const auto kind = tersor::option_text<tersor::op::activation_type>::parse(o.activations);
    tersor::require(kind.has_value(), "--activations", o.activations, "f32 or int8");
    prepare.activations = *kind;
    tersor::model::prepare(m, prepare);
  }

  auto rows = tersor::io::ordered_json::array();
  for (const auto n : o.contexts) {
    const auto ids = random_ids(n + o.decode, c.vocab_size, 2);
    measure(m, ids, n, policy, ctx);  // memory is mapped, threads are started
    std::vector<turn> turns;
    for (index_t i = 0; i < o.runs; ++i) turns.push_back(measure(m, ids, n, policy, ctx));
    const auto median = [&](double turn::*what) {
      std::ranges::sort(turns, {}, what);
      return turns[turns.size() / 2].*what;
    };
    rows.push_back({{"context", n},
                    {"prefill_tokens_per_s", static_cast<double>(n) / median(&turn::prefill)},
                    {"seconds_to_first_token", median(&turn::first_token)},
                    {"decode_tokens_per_s", static_cast<double>(o.decode) / median(&turn::decode)},
                    {"kv_bytes", turns.front().cache_bytes}});
  }
  const tersor::io::ordered_json j{{"model", o.model},
                                   {"spec", o.spec},
                                   {"kv_spec", o.kv},
                                   {"prepared", !o.stored},
                                   {"activations", o.stored ? "f32" : o.activations},
                                   {"threads", ctx.thread_count()},
                                   {"decoded", o.decode},
                                   {"runs", o.runs},
                                   {"peak_rss_bytes", command::peak_rss_bytes()},
                                   {"contexts", rows}};
  if (o.json) return command::print_json(j);
  fmt::print("{:>8} {:>16} {:>16} {:>14} {:>12}\n", "context", "prefill tokens/s", "first token (ms)",
             "decode tokens/s", "KV bytes");
  for (const auto& r : rows)
    fmt::print("{:>8} {:>16.1f} {:>16.2f} {:>14.1f} {:>12}\n", r["context"].get<index_t>(),
               r["prefill_tokens_per_s"].get<double>(), 1e3 * r["seconds_to_first_token"].get<double>(),
               r["decode_tokens_per_s"].get<double>(), r["kv_bytes"].get<std::size_t>());
  fmt::print("{} threads, peak memory {:.1f} MB\n", ctx.thread_count(),
             static_cast<double>(command::peak_rss_bytes()) / 1e6);
}

}  // namespace

void command::add_bench_model(CLI::App& bench) {
  auto o = std::make_shared<model_options>();
  auto* sub = bench.add_subcommand("model", "Tokens a second of a model, reading prompts and decoding");
  sub->add_option("MODEL", o->model, "Model folder, dense or compressed, or GGUF file")->required();
  sub->add_option("--with", o->spec, "Compress it first, e.g. \"rtn(bits=4,group_size=32)\"");
  sub->add_option("--kv", o->kv, "Compress the KV caches, e.g. \"kivi(bits=2)\"");
  sub->add_option("--context", o->contexts,
                  "Tokens of the prompt, one or more; without it 32, 128, 512 ... as the model allows")
      ->delimiter(',')
      ->check(whole_number());
  sub->add_option("--decode", o->decode, "Tokens after it")->check(whole_number())->capture_default_str();
  sub->add_option("--runs", o->runs, "Repetitions, of which the median counts")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--activations", o->activations, "f32 or int8, of packed weights")->capture_default_str();
  sub->add_flag("--as-stored", o->stored, "Without laying out the weights for fast products first");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] { run(*o); });
}
