// tersor - tersor bench attention: one decode step over a compressed cache, beside the rate of memory
// SPDX-License-Identifier: MIT
#include "../../bench/measure_attention.hpp"

#include "command.hpp"

#include <tersor/pipeline/cache_spec.hpp>

namespace {

using tersor::index_t;

struct attention_options {
  std::string kv = "dense";
  bench::attention_request shape;
  double seconds = 1;
  bool json = false;
  command::run_options machine;
};

void run(const attention_options& o) {
  const auto spec = tersor::pipeline::parse_cache_spec(o.kv);
  tersor::require(o.shape.context >= 1, "--context", o.shape.context, "at least 1");
  tersor::require(o.shape.head_dim >= 1, "--head-dim", o.shape.head_dim, "at least 1");
  tersor::require(o.shape.kv_heads >= 1, "--kv-heads", o.shape.kv_heads, "at least 1");
  command::check_seconds(o.seconds);
  tersor::require(o.shape.queries >= 1, "--queries", o.shape.queries, "at least 1");
  const auto ctx = o.machine.context();
  const auto r = bench::time_attention(o.shape, spec.policy(), ctx, o.seconds);
  const double rate = static_cast<double>(r.bytes) / r.time.median;
  const tersor::io::ordered_json row{
      {"op", "attention"},
      {"kv", spec.text()},
      {"context", o.shape.context},
      {"head_dim", o.shape.head_dim},
      {"kv_heads", o.shape.kv_heads},
      {"queries", o.shape.queries},
      {"threads", ctx.thread_count()},
      {"path", tersor::option_text<tersor::kernel::target>::format(tersor::kernel::best_target())},
      {"runs", r.time.runs},
      {"seconds_median", r.time.median},
      {"seconds_best", r.time.best},
      {"bytes", r.bytes},
      {"gb_per_s", rate / 1e9},
      {"stream_gb_per_s", r.stream / 1e9},
      {"ratio_to_stream", r.ratio},
      {"speedup_over_f16", r.speedup}};
  if (o.json) return command::print_json(row);
  fmt::print(
      "attention {}, {} tokens, {} heads of {}, {} queries each, {} threads, {}: {:.3f} ms, {:.1f} GB/s, "
      "{:.2f} "
      "of reading ({:.1f} GB/s), {:.2f} x an f16 cache\n",
      spec.text(), o.shape.context, o.shape.kv_heads, o.shape.head_dim, o.shape.queries, ctx.thread_count(),
      row["path"].get<std::string>(), 1e3 * r.time.median, rate / 1e9, r.ratio, r.stream / 1e9, r.speedup);
}

}  // namespace

void command::add_bench_attention(CLI::App& bench) {
  auto o = std::make_shared<attention_options>();
  auto* sub = bench.add_subcommand("attention",
                                   "One decode step over a cache, beside an f16 cache and reading memory");
  const auto count = [&](const char* name, index_t& value, const char* help) {
    sub->add_option(name, value, help)->check(whole_number())->capture_default_str();
  };
  sub->add_option("--kv", o->kv, "The cache, e.g. \"dense(type=bf16)\", \"kivi(bits=2)\", \"gear(bits=2)\"")
      ->capture_default_str();
  count("--context", o->shape.context, "Tokens in the cache");
  count("--head-dim", o->shape.head_dim, "Channels of a head");
  count("--kv-heads", o->shape.kv_heads, "Key-value heads");
  count("--queries", o->shape.queries, "Query heads for each key-value head");
  sub->add_option("--seconds", o->seconds, "Time for the measurement")->capture_default_str();
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->machine.add_to(*sub);
  sub->callback([o] { run(*o); });
}
