// tersor - bench: time to compress one large layer, against the machine's SGEMM rate
// SPDX-License-Identifier: MIT
//
//   build/bench/bench/bench_compress [--benchmark_filter=gptq] [--benchmark_format=json]
//
// W is 4096 x 4096 Gaussian, H = XᵀX of correlated inputs, given. FLOPs of GPTQ and SparseGPT are those of
// the algorithm: in³ / 3 multiply-adds in double each for the factor of H and its inverse, out in² / 2 in
// float for the feedback; of a randomized SVD its products with W. `ratio_to_sgemm` compares the rate with a
// 4096-square float product measured in the same process. RTN and KV caches are passes over memory: they say
// bytes a second.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include "../examples/program_setup.hpp"

#include <tersor/core/random.hpp>
#include <tersor/kv/cache.hpp>
#include <tersor/kv/full.hpp>
#include <tersor/kv/gear.hpp>
#include <tersor/kv/kivi.hpp>
#include <tersor/linalg/svd.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/quant/gptq.hpp>
#include <tersor/quant/rtn.hpp>

namespace {

constexpr tersor::index_t size = 4096;

struct problem {
  tersor::matrix<float> weight{size, size};
  tersor::matrix<double> hessian{size, size};
};

const problem& shared_problem() {
  static const problem p = [] {
    problem made;
    tersor::random_generator random(1);
    for (float& v : made.weight.values()) v = static_cast<float>(random.normal());
    // activations with a common component and channels of very different size
    tersor::matrix<float> x(2 * size, size);
    for (tersor::index_t t = 0; t < x.rows(); ++t) {
      const double common = random.normal();
      for (tersor::index_t j = 0; j < size; ++j)
        x(t, j) = static_cast<float>((random.normal() + 0.5 * common) *
                                     (1.0 + 9.0 * static_cast<double>(j % 64 == 0)));
    }
    tersor::linalg::gram(x.view(), made.hessian.view());
    return made;
  }();
  return p;
}

double sgemm_gflops() {
  static const double rate = [] {
    const auto& w = shared_problem().weight;
    tersor::matrix<float> c(size, size);
    double best = 0;
    for (int repeat = 0; repeat < 3; ++repeat) {
      const tersor::solve::stopwatch clock;
      tersor::linalg::gemm<float>(1.0F, w.view(), w.view(), 0.0F, c.view());
      best = std::max(best, 2.0 * size * size * size / clock.seconds() / 1e9);
    }
    return best;
  }();
  return rate;
}

/// Runs `compress` once per iteration and reports its rate next to that of the plain product.
/// @param flops of one run.
template <class F>
void measure(benchmark::State& state, double flops, const F& compress) {
  const auto& p = shared_problem();
  const double sgemm = sgemm_gflops();
  double seconds = 0;
  for (auto _ : state) {
    const tersor::solve::stopwatch clock;
    benchmark::DoNotOptimize(compress(p));
    seconds += clock.seconds();
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double rate = flops * static_cast<double>(state.iterations()) / seconds / 1e9;
  state.counters["gflop/s"] = rate;
  state.counters["sgemm_gflop/s"] = sgemm;
  state.counters["ratio_to_sgemm"] = rate / sgemm;
  state.counters["peak_mb"] = static_cast<double>(usage.ru_maxrss) / 1e3;
}

constexpr double n = size;
constexpr double feedback_flops = 4.0 / 3.0 * n * n * n + n * n * n;  // factor and inverse, trailing updates

void gptq_4bit_g128(benchmark::State& state) {
  measure(state, feedback_flops, [](const problem& p) {
    return tersor::quant::gptq{.bits = 4, .group_size = 128}.quantize(p.weight, p.hessian);
  });
}
void sparsegpt_2_4(benchmark::State& state) {
  measure(state, feedback_flops, [](const problem& p) {
    return tersor::prune::sparsegpt{.pattern = {2, 4}}.prune(p.weight, p.hessian);
  });
}
void svd_rank_128(benchmark::State& state) {
  // a sketch of 8 more columns, 2 power iterations and the projection: 6 products with W
  measure(state, 6 * 2.0 * n * n * (128 + 8),
          [](const problem& p) { return tersor::linalg::randomized_svd<float>(p.weight.view(), 128); });
}

/// Bytes of floats read a second.
void count_bytes(benchmark::State& state, double floats) {
  state.counters["gb_per_s"] = benchmark::Counter(4 * floats * static_cast<double>(state.iterations()) / 1e9,
                                                  benchmark::Counter::kIsRate);
}
void rtn_4bit_g128(benchmark::State& state) {
  const auto& p = shared_problem();
  for (auto _ : state) benchmark::DoNotOptimize(tersor::quant::rtn{.bits = 4, .group_size = 128}(p.weight));
  count_bytes(state, n * n);
}
/// 4096 tokens of 8 heads of 128 channels, keys and values.
void kv_prefill(benchmark::State& state, const tersor::kv::cache_policy& policy) {
  constexpr tersor::index_t heads = 8, tokens = 4096, dim = 128;
  tersor::random_generator random(2);
  tersor::matrix<float> x(tokens, heads * dim);
  for (float& v : x.values()) v = static_cast<float>(random.normal());
  const auto of_heads = tersor::kv::split_heads<const float>(x.view(), heads);
  for (auto _ : state) {
    tersor::kv::any_cache cache({.heads = heads, .kv_heads = heads, .head_dim = dim}, policy);
    cache.prefill(of_heads, of_heads, of_heads);
    benchmark::DoNotOptimize(cache.storage().bytes());
  }
  count_bytes(state, 2.0 * heads * tokens * dim);
}
void kv_kivi_2bit(benchmark::State& state) {
  kv_prefill(state, tersor::kv::full{} | tersor::kv::kivi{.bits = 2});
}
void kv_gear_2bit(benchmark::State& state) {
  kv_prefill(state, tersor::kv::full{} | tersor::kv::gear{.bits = 2});
}
BENCHMARK(rtn_4bit_g128)->Unit(benchmark::kSecond)->UseRealTime();
BENCHMARK(gptq_4bit_g128)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);
BENCHMARK(sparsegpt_2_4)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);
BENCHMARK(svd_rank_128)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);
BENCHMARK(kv_kivi_2bit)->Unit(benchmark::kSecond)->UseRealTime();
BENCHMARK(kv_gear_2bit)->Unit(benchmark::kSecond)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  set_up_program(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
