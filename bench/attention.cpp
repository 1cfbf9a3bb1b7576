// tersor - bench: one decode step of attention over caches: codecs, queries a head, context
// SPDX-License-Identifier: MIT
//
//   build/bench/bench/bench_attention [--benchmark_filter=kivi] [--benchmark_format=json]
//
// Every row is a measurement of measure_attention.hpp, 8 key-value heads of 128 channels. Counters: bytes of
// the cache, GB/s, the rate of reading memory and the ratio to it, and how many times faster than a cache in
// f16.
#include <benchmark/benchmark.h>

#include "../examples/program_setup.hpp"
#include "measure_attention.hpp"

#include <tersor/kv/gear.hpp>
#include <tersor/kv/kivi.hpp>

namespace {

using tersor::index_t;
namespace kv = tersor::kv;

void measure(benchmark::State& state, const kv::cache_policy& policy, const bench::attention_request& r) {
  tersor::context ctx;
  ctx.threads = 2;
  for (auto _ : state) {
    const auto step = bench::time_attention(r, policy, ctx, 0.5);
    const auto bytes = static_cast<double>(step.bytes);
    state.SetIterationTime(step.time.median);
    state.counters["bytes"] = bytes;
    state.counters["gb_per_s"] = bytes / step.time.median / 1e9;
    state.counters["stream_gb_per_s"] = step.stream / 1e9;
    state.counters["ratio_to_stream"] = step.ratio;
    state.counters["speedup_over_f16"] = step.speedup;
    state.counters["context"] = static_cast<double>(r.context);
    state.counters["queries"] = static_cast<double>(r.queries);
    state.counters["threads"] = ctx.threads;
  }
}

void add(const char* suite, const char* codec, const kv::cache_policy& policy,
         const bench::attention_request& r) {
  const auto name = tersor::concat(suite, "/", codec, "/queries:", r.queries, "/context:", r.context);
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { measure(state, policy, r); })
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
  set_up_program(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const std::pair<const char*, kv::cache_policy> codecs[] = {
      {"f16", kv::full{} | kv::dense{.type = kv::element_type::f16}},
      {"kivi_2bit", kv::full{} | kv::kivi{.bits = 2}},
      {"kivi_4bit", kv::full{} | kv::kivi{.bits = 4}},
      {"gear_2bit", kv::full{} | kv::gear{.bits = 2}}};
  for (const index_t queries : {1, 4})
    for (const auto& [name, policy] : codecs) add("attention", name, policy, {.queries = queries});
  // time against the tokens that are in the cache
  for (const auto& [name, policy] : codecs)
    for (const index_t context : {1024, 2048, 4096, 8192, 16384, 32768})
      add("context", name, policy, {.context = context});
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
