// tersor - the main job: one small language model, compressed in many ways, measured in one table
// SPDX-License-Identifier: MIT
//
//   sh examples/run.sh [--windows N] [--threads N]      N = 0: all 111 windows of the evaluation (the
//   default)
//
// Each row starts from the dense model in examples/data/lm, compresses all linear layers of its blocks,
// calibrated on calibration.txt, and evaluates the perplexity on evaluation.txt, a book the model has not
// seen. Sizes are bytes of the file that `tersor compress --out` writes, without the report that it puts into
// the file's header (8 KB here).
#include <fmt/format.h>
#include <unistd.h>  // isatty

#include <algorithm>

#include "program_setup.hpp"

#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/compress.hpp>

namespace {

struct job {
  std::string_view size;  ///< rows of one size stand together and compete
  std::string_view spec;
};
constexpr job jobs[] = {
    {"16 bit", "dense"},
    {"8 bit", "smoothquant|w8a8"},
    {"4 bit", "rtn(bits=4)"},
    {"4 bit", "gptq(bits=4)"},
    {"4 bit", "awq|rtn(bits=4)"},
    {"3 bit", "rtn(bits=3)"},
    {"3 bit", "gptq(bits=3)"},
    {"3 bit", "awq|rtn(bits=3)"},
    {"3 bit", "awq|gptq(bits=3)"},
    {"3 bit +", "gptq(bits=3)+svd(method=whitened,rank=16)"},
    {"2 bit", "gptq(bits=2)"},
    {"2:4", "magnitude(pattern=2:4)"},
    {"2:4", "wanda(pattern=2:4)"},
    {"2:4", "sparsegpt(pattern=2:4)"},
    {"50 %", "magnitude(sparsity=0.5,scope=per_row)"},
    {"50 %", "wanda(sparsity=0.5)"},
    {"50 %", "sparsegpt(sparsity=0.5)"},
    {"rank 0.8", "svd(method=whitened,ratio=0.8)"},
    {"rank 0.6", "svd(method=whitened,ratio=0.6)"},
};

struct row {
  job what;
  double bits = 16, kilobytes = 0, perplexity = 0, error = 0, seconds = 0;
};

void print(std::span<const row> rows) {
  const auto best = std::ranges::min_element(rows, {}, &row::perplexity);
  for (auto r = rows.begin(); r != rows.end(); ++r)
    fmt::print("| {:<8} | {:<44} | {:>6.3f} | {:>8.0f} | {:>10.4f}{} | {:>6.4f} | {:>5.1f} |\n", r->what.size,
               r->what.spec, r->bits, r->kilobytes, r->perplexity, rows.size() > 1 && r == best ? '*' : ' ',
               r->error, r->seconds);
  std::fflush(stdout);
}

int run(tersor::index_t windows, int threads) {
  const std::filesystem::path folder = std::filesystem::path(TERSOR_SOURCE_DIR) / "examples" / "data" / "lm";
  const tersor::context ctx{.threads = threads};
  const auto dense = tersor::model::load_llama(folder);
  const tersor::io::tokenizer tokenizer(folder);
  auto ids_of = [&](const char* name) {
    std::vector<int> ids{dense.config().bos_token_id};
    const auto body = tokenizer.encode(tersor::io::read_text_file(folder / name));
    ids.insert(ids.end(), body.begin(), body.end());
    return ids;
  };
  const auto evaluation = ids_of("evaluation.txt");
  const auto calibration = tersor::pipeline::windows_of(ids_of("calibration.txt"), 1024);

  fmt::print(
      "| size     | method                                       |   bits | file, KB | perplexity  |  error "
      "|     s |\n"
      "|----------|----------------------------------------------|-------:|---------:|------------:|-------:|"
      "------:|\n");
  std::vector<row> rows;  // of one size
  for (const auto& job : jobs) {
    if (!rows.empty() && rows.back().what.size != job.size) {
      print(rows);
      rows.clear();
    }
    if (isatty(STDERR_FILENO)) fmt::print(stderr, "\r\033[K{}\r", job.spec);
    auto m = dense;
    row r{.what = job};
    if (job.spec != "dense") {
      const auto report =
          tersor::pipeline::compress(m, tersor::pipeline::recipe::parse(job.spec), calibration, {}, ctx);
      r.bits = report.bits_per_weight();
      r.seconds = report.seconds;
      for (const auto& l : report.layers)
        r.error += l.report.weighted_error.value() / static_cast<double>(report.layers.size());
    }
    r.kilobytes = static_cast<double>(tersor::model::llama_file(m).file_size()) / 1e3;
    r.perplexity = tersor::model::perplexity(m, evaluation, {.max_windows = windows}, ctx).perplexity;
    rows.push_back(r);
  }
  print(rows);
  fmt::print(
      "\n*: best of its size. bits: per weight of the compressed layers, all scales, zero points and "
      "positions "
      "counted.\nerror: |(W - W^) X| / |W X| on the calibration data, mean over the layers. s: seconds of "
      "the "
      "compression,\nwith the calibration that the method needs.\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  set_up_program(argv);
  tersor::index_t windows = 0;
  int threads = 0;
  try {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = argv[i];
      tersor::require((name == "--windows" || name == "--threads") && i + 1 < argc, "argument", name,
                      "--windows N or --threads N");
      const auto value = tersor::option_text<int>::parse(argv[i + 1]);
      tersor::require(value.has_value() && *value >= 0, name, argv[i + 1], "a number, 0 or more");
      if (name == "--windows")
        windows = *value;
      else
        threads = *value;
    }
    return run(windows, threads);
  } catch (const std::exception& e) {
    fmt::print(stderr, "main_job: {}\n", e.what());
    return 1;
  }
}
