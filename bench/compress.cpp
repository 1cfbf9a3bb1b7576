// tersor - bench: time to compress one large layer, against the machine's SGEMM rate
// SPDX-License-Identifier: MIT
//
//   build/bench/bench/bench_compress [--benchmark_filter=gptq] [--benchmark_format=json]
//
// W is 4096 x 4096 Gaussian, H = XᵀX of correlated inputs, given. FLOPs are those of the algorithm: in³
// multiply-adds / 3 each for the factor and its inverse, out in² for the feedback. `ratio_to_sgemm` compares
// the rate with a 4096-square float product measured in the same process.
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include "../examples/program_setup.hpp"

#include <tersor/core/random.hpp>
#include <tersor/prune/sparsegpt.hpp>
#include <tersor/quant/gptq.hpp>

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

void report(benchmark::State& state) {
  const double n = size;
  const double flops =
      2.0 * (n * n * n / 3.0 + n * n * n / 3.0) + n * n * n;  // factor, inverse, trailing updates
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["gflop/s"] =
      benchmark::Counter(flops * static_cast<double>(state.iterations()) / 1e9, benchmark::Counter::kIsRate);
  state.counters["sgemm_gflop/s"] = sgemm_gflops();
  state.counters["peak_mb"] = static_cast<double>(usage.ru_maxrss) / 1e3;
}

void gptq_4bit_g128(benchmark::State& state) {
  const auto& p = shared_problem();
  sgemm_gflops();
  for (auto _ : state)
    benchmark::DoNotOptimize(tersor::quant::gptq{.bits = 4, .group_size = 128}.quantize(p.weight, p.hessian));
  report(state);
}
void sparsegpt_2_4(benchmark::State& state) {
  const auto& p = shared_problem();
  sgemm_gflops();
  for (auto _ : state)
    benchmark::DoNotOptimize(tersor::prune::sparsegpt{.pattern = {2, 4}}.prune(p.weight, p.hessian));
  report(state);
}
BENCHMARK(gptq_4bit_g128)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);
BENCHMARK(sparsegpt_2_4)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);

}  // namespace

int main(int argc, char** argv) {
  set_up_program(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
