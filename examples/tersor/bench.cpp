// tersor - tersor bench: the speed of one kernel on this machine, beside that of its memory
// SPDX-License-Identifier: MIT
#include "../../bench/measure.hpp"
#include "command.hpp"

namespace {

using tersor::index_t;

struct kernel_options {
  std::string op = "matvec", activations = "f32", path;
  bench::weight_request weight;
  index_t tokens = 1;
  double seconds = 0.5;
  bool json = false;
  command::run_options machine;
};

template <class Enum>
Enum parse(std::string_view option, const std::string& text) {
  const auto value = tersor::option_text<Enum>::parse(text);
  std::string names;
  for (const auto& [name, v] : option_names(Enum{})) names += (names.empty() ? "" : ", ") + std::string(name);
  tersor::require(value.has_value(), option, text, names);
  return *value;
}

void check(const kernel_options& o) {
  tersor::require(o.op == "matvec" || o.op == "matmul", "--op", o.op, "matvec or matmul");
  tersor::require(o.op == "matmul" || o.tokens <= tersor::kernel::tile_tokens, "--tokens of matvec", o.tokens,
                  "at most ", tersor::kernel::tile_tokens, ", or --op matmul");
  const auto& w = o.weight;
  tersor::require(w.rows >= 1, "--rows", w.rows, "at least 1");
  tersor::require(w.cols >= 1, "--cols", w.cols, "at least 1");
  tersor::require(o.tokens >= 1, "--tokens", o.tokens, "at least 1");
  tersor::require(w.group_size >= 1 || w.group_size == -1, "--group-size", w.group_size,
                  "at least 1, or -1 for a row");
  tersor::require(w.density >= 0 && w.density <= 1, "--density", w.density, "0 .. 1");
  command::check_seconds(o.seconds);
}

void run(kernel_options o) {
  check(o);
  auto& prepare = o.weight.prepare;
  prepare.activations = parse<tersor::op::activation_type>("--activations", o.activations);
  if (!o.path.empty()) prepare.target = parse<tersor::kernel::target>("--path", o.path);
  const auto ctx = o.machine.context();
  const auto dense = [&] {
    auto r = o.weight;
    r.format = "f32";
    return bench::time_product(r, o.tokens, ctx, o.seconds);
  }();
  const auto product = bench::time_product(o.weight, o.tokens, ctx, o.seconds);
  const auto activations =
      tersor::option_text<tersor::op::activation_type>::format(product.weight.activations);
  const double seconds = product.time.median, rate = static_cast<double>(product.weight.bytes) / seconds;
  const tersor::io::ordered_json row{
      {"op", o.op},
      {"format", o.weight.format},
      {"group_size", o.weight.group_size},
      {"zero_points", o.weight.zero_points},
      {"rows", o.weight.rows},
      {"cols", o.weight.cols},
      {"tokens", o.tokens},
      {"threads", ctx.thread_count()},
      {"activations", activations},
      {"path", tersor::option_text<tersor::kernel::target>::format(prepare.target)},
      {"runs", product.time.runs},
      {"seconds_median", seconds},
      {"seconds_best", product.time.best},
      {"bytes", product.weight.bytes},
      {"gb_per_s", rate / 1e9},
      {"stream_gb_per_s", product.stream / 1e9},
      {"ratio_to_stream", product.ratio},
      {"gflop_s", product.flops / seconds / 1e9},
      {"seconds_f32", dense.time.median},
      {"speedup_over_f32", dense.time.median / seconds}};
  if (o.json) return command::print_json(row);
  fmt::print(
      "{} {} x {} {}, group {}, {} activations, {} tokens, {} threads, {}: {:.3f} ms, {:.1f} GB/s, {:.2f} of "
      "reading ({:.1f} GB/s), {:.1f} GFLOP/s, {:.2f} x f32\n",
      o.op, o.weight.rows, o.weight.cols, o.weight.format, o.weight.group_size, activations, o.tokens,
      ctx.thread_count(), row["path"].get<std::string>(), 1e3 * seconds, rate / 1e9, product.ratio,
      product.stream / 1e9, product.flops / seconds / 1e9, dense.time.median / seconds);
}

}  // namespace

void command::add_bench(CLI::App& app) {
  auto o = std::make_shared<kernel_options>();
  auto* bench = app.add_subcommand("bench", "Speed on this machine");
  bench->require_subcommand(1);
  auto* sub =
      bench->add_subcommand("kernel", "One product with a packed weight, beside the rate of reading memory");
  const auto count = [&](const char* name, index_t& value, const char* help) {
    sub->add_option(name, value, help)->check(whole_number())->capture_default_str();
  };
  sub->add_option("--op", o->op, "matvec or matmul")->capture_default_str();
  sub->add_option("--format", o->weight.format,
                  "int1 .. int8, nf4, fp4, mxfp4, nvfp4, bcq1 .. bcq8, ternary, ternary2, fp8, f16, bf16, "
                  "f32, sp24_int2 .. "
                  "sp24_int8, sp24_f16, sp24_f32, csr, bitmap, lr or int4+lr32+sp")
      ->capture_default_str();
  sub->add_option("--group-size", o->weight.group_size, "Columns with one scale; -1: a row")
      ->capture_default_str();
  sub->add_option("--density", o->weight.density, "Share of stored values of csr, bitmap and int4+lr32+sp")
      ->capture_default_str();
  sub->add_flag("--zero-points", o->weight.zero_points, "Each group has a zero point");
  count("--rows", o->weight.rows, "out_features");
  count("--cols", o->weight.cols, "in_features");
  count("--tokens", o->tokens, "Rows of activations");
  sub->add_option("--activations", o->activations, "f32 or int8")->capture_default_str();
  sub->add_option("--path", o->path, "portable, avx2, avx512 or neon; without it the best one here");
  sub->add_option("--seconds", o->seconds, "Time for each measurement")->capture_default_str();
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->machine.add_to(*sub);
  sub->callback([o] { run(*o); });
  add_bench_model(*bench);
  add_bench_attention(*bench);
}
