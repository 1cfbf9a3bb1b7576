// tersor - bench: perplexities of the official programs on the embedded model, and ours
// SPDX-License-Identifier: MIT
//
//   build/bench/bench/bench_reference_table    prints the table of docs/reference_numbers.md
#include <cstdio>

#include "../examples/program_setup.hpp"

#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/pipeline/compress.hpp>

namespace {

struct row {
  const char* spec;
  double official;
};
// The official GPTQ, SparseGPT and Wanda programs (true-sequential, asymmetric grids, damping 0.01, panels of
// 128).
constexpr row rows[] = {
    {"dense", 35.1607},
    {"rtn(bits=4,group_size=-1)", 36.5754},
    {"rtn(bits=4,group_size=128)", 36.0203},
    {"rtn(bits=3,group_size=-1)", 45.9969},
    {"rtn(bits=3,group_size=128)", 42.9323},
    {"rtn(bits=2,group_size=128)", 328.09},
    {"gptq(bits=4,group_size=-1)", 36.4292},
    {"gptq(bits=4,group_size=128)", 35.8837},
    {"gptq(bits=4,group_size=128,act_order=true)", 35.9950},
    {"gptq(bits=3,group_size=-1)", 41.5146},
    {"gptq(bits=3,group_size=128)", 39.8271},
    {"gptq(bits=3,group_size=128,act_order=true)", 39.6217},
    {"gptq(bits=2,group_size=128)", 132.89},
    {"gptq(bits=2,group_size=128,act_order=true)", 119.97},
    {"sparsegpt(sparsity=0.5)", 41.9917},
    {"sparsegpt(pattern=2:4)", 54.5322},
    {"sparsegpt(sparsity=0.7)", 146.11},
    {"wanda(sparsity=0.5)", 44.3358},
    {"wanda(pattern=2:4)", 69.9846},
    {"magnitude(sparsity=0.5,scope=per_row)", 53.1304},
    {"magnitude(pattern=2:4)", 96.6036},
};

}  // namespace

int main(int, char** argv) {
  set_up_program(argv);
  const std::filesystem::path folder = std::filesystem::path(TERSOR_SOURCE_DIR) / "examples" / "data" / "lm";
  const auto dense = tersor::model::load_llama(folder);
  const tersor::io::tokenizer tokenizer(folder);
  auto ids_of = [&](const char* name) {
    std::vector<int> ids{0};
    const auto body = tokenizer.encode(tersor::io::read_text_file(folder / name));
    ids.insert(ids.end(), body.begin(), body.end());
    return ids;
  };
  const auto evaluation = ids_of("evaluation.txt");
  const auto calibration = tersor::pipeline::windows_of(ids_of("calibration.txt"), 1024);
  std::printf("| spec | official | tersor | difference |\n|---|---:|---:|---:|\n");
  for (const auto& r : rows) {
    auto m = dense;
    const std::string spec = r.spec;
    if (spec != "dense") tersor::pipeline::compress(m, tersor::pipeline::recipe::parse(spec), calibration);
    const double ours = tersor::model::perplexity(m, evaluation).perplexity;
    std::printf("| `%s` | %.4f | %.4f | %+.2f %% |\n", r.spec, r.official, ours,
                100.0 * (ours / r.official - 1.0));
    std::fflush(stdout);
  }
  return 0;
}
