// tersor - bench: products with packed weights: formats, activations, paths, threads, tokens, sizes
// SPDX-License-Identifier: MIT
//
//   build/bench/bench/bench_kernels [--benchmark_filter=int4] [--benchmark_format=json]
//
// Every row is a measurement of measure.hpp: the median over turns with plain reading of memory, over copies
// that no cache holds. Counters: bytes of the weight, GB/s, the rate of reading and the ratio to it, GFLOP/s,
// and how many times faster than products of floats in the same shape by Eigen and, where the build has one,
// by the BLAS.
#include <benchmark/benchmark.h>

#include <map>
#include <tuple>

#include "../examples/program_setup.hpp"
#include "measure.hpp"

#include <Eigen/Core>

namespace {

using tersor::index_t;

struct row {
  bench::weight_request weight;
  index_t tokens = 1;
  int threads = 2;
  double seconds = 0.3;
};

/// Seconds of a product of floats in that shape by somebody else, measured once.
double seconds_of_floats(const row& r, bool eigen) {
  static std::map<std::tuple<index_t, index_t, index_t, int, bool>, double> known;
  auto& seconds = known[{r.weight.rows, r.weight.cols, r.tokens, r.threads, eigen}];
  if (seconds > 0) return seconds;
  using floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const index_t copies = std::max<index_t>(1, (index_t{384} << 20) / (4 * r.weight.rows * r.weight.cols));
  const std::vector<floats> w(static_cast<std::size_t>(std::min<index_t>(copies, 64)),
                              floats::Random(r.weight.rows, r.weight.cols));
  const floats x = floats::Random(r.tokens, r.weight.cols);
  floats y(r.tokens, r.weight.rows);
  tersor::context ctx;
  ctx.threads = r.threads;
  const auto view = [](const floats& m) {
    return tersor::matrix_view<const float>(m.data(), {m.rows(), m.cols()});
  };
  const auto t = bench::time(
      [&](index_t i) {
        const auto& weight = w[static_cast<std::size_t>(i) % w.size()];
        if (eigen)
          y.noalias() = x * weight.transpose();
        else
          tersor::linalg::gemm<float>(1.0F, view(x), view(weight).transposed(), 0.0F,
                                      tersor::matrix_view<float>(y.data(), {y.rows(), y.cols()}), ctx);
      },
      r.seconds);
  return seconds = t.median;
}

void measure(benchmark::State& state, const row& r) {
  tersor::context ctx;
  ctx.threads = r.threads;
  for (auto _ : state) {
    const auto product = bench::time_product(r.weight, r.tokens, ctx, r.seconds);
    const double seconds = product.time.median, bytes = static_cast<double>(product.weight.bytes);
    state.SetIterationTime(seconds);
    state.counters["bytes"] = bytes;
    state.counters["gb_per_s"] = bytes / seconds / 1e9;
    state.counters["stream_gb_per_s"] = product.stream / 1e9;
    state.counters["ratio_to_stream"] = product.ratio;
    state.counters["gflop_s"] = product.flops / seconds / 1e9;
    state.counters["over_eigen_f32"] = seconds_of_floats(r, true) / seconds;
#if defined(TERSOR_USE_BLAS)
    state.counters["over_blas_f32"] = seconds_of_floats(r, false) / seconds;
#endif
    state.counters["rows"] = static_cast<double>(r.weight.rows);
    state.counters["cols"] = static_cast<double>(r.weight.cols);
    state.counters["tokens"] = static_cast<double>(r.tokens);
    state.counters["threads"] = r.threads;
  }
}

void add(const char* suite, row r) {
  const auto activations =
      tersor::option_text<tersor::op::activation_type>::format(r.weight.prepare.activations);
  const auto path = tersor::option_text<tersor::kernel::target>::format(r.weight.prepare.target);
  const auto name =
      tersor::concat(suite, "/", r.weight.format, "/g", r.weight.group_size, "/", activations, "/", path, "/",
                     r.weight.rows, "x", r.weight.cols, "/tokens:", r.tokens, "/threads:", r.threads);
  benchmark::RegisterBenchmark(name.c_str(), [r](benchmark::State& state) { measure(state, r); })
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

void add_all() {
  using enum tersor::op::activation_type;
  using tersor::kernel::target;
  const auto weight = [](const char* format, index_t group, tersor::op::activation_type activations) {
    bench::weight_request w;
    w.format = format;
    w.group_size = group;
    w.prepare.activations = activations;
    return w;
  };
  // one token: every format, with floats and with bytes
  for (const char* format : bench::formats)
    for (const auto activations : {f32, int8}) add("matvec", {weight(format, 128, activations)});
  for (const char* format : {"int8", "int4"})
    for (const auto activations : {f32, int8}) {
      add("matvec", {weight(format, 32, activations)});
      add("matvec", {.weight = weight(format, 128, activations), .threads = 1});
      for (const auto t : {target::avx2, target::neon})
        if (tersor::kernel::is_supported(t)) {
          auto w = weight(format, 128, activations);
          w.prepare.target = t;
          add("paths", {w});
        }
    }
  // many tokens
  for (const char* format : {"int8", "int4"})
    for (const auto activations : {f32, int8})
      for (const index_t tokens : {4, 16, 512}) {
        auto w = weight(format, 128, activations);
        if (tokens > 16) w.rows = 2048, w.cols = 4096;
        add("matmul", {.weight = w, .tokens = tokens});
      }
  // time against size, from a matrix that a cache holds to one of 16384 columns
  for (const index_t n : {256, 512, 1024, 2048, 4096, 8192, 16384})
    for (const int threads : {1, 2})
      for (const auto activations : {f32, int8}) {
        auto w = weight("int4", 128, activations);
        w.rows = w.cols = n;
        add("size", {.weight = w, .threads = threads, .seconds = 0.1});
      }
}

}  // namespace

int main(int argc, char** argv) {
  set_up_program(argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  add_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
