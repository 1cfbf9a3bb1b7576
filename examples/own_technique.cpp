// tersor - example: a technique of your own, with options, by name in a spec
// SPDX-License-Identifier: MIT
//
// Shows: what a compressor has to have (docs/adding_a_technique.md says more); how it joins the catalog; a
// comparison on the embedded language model. Run it in the root of the repository, or give the folder of a
// model with two texts in it. Alone (nlohmann-json3-dev):
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/own_technique.cpp && ./a.out
#include <cstdio>

#include <tersor/model/evaluate.hpp>
#include <tersor/model/llama_checkpoint.hpp>
#include <tersor/op/sparse_csr.hpp>
#include <tersor/pipeline/compress.hpp>
#include <tersor/quant/rtn.hpp>
#include <tersor/solve/select.hpp>

namespace {

/// Rounds to nearest, but keeps the largest weights of the layer apart, as bf16 with their places.
struct keep_large {
  int bits = 3;
  double share = 0.01;

  static constexpr auto kind = tersor::solve::stage_kind::compressor;
  static constexpr auto needs = tersor::solve::calibration_need::none;
  static constexpr tersor::solve::technique_info info{.id = "keep_large",
                                                      .family = "quant",
                                                      .title = "Rounding with the largest weights kept apart",
                                                      .arxiv = "",
                                                      .header = "examples/own_technique.cpp",
                                                      .guarantee = "no kept weight is off by more than bf16"};
  static constexpr auto options() {
    return std::tuple{
        tersor::option{"bits", &keep_large::bits, {.help = "width of a code", .min = 2, .max = 8}},
        tersor::option{"share", &keep_large::share, {.help = "weights kept apart", .min = 0, .max = 1}}};
  }
  void validate() const { tersor::validate_options(*this, info.id); }

  tersor::solve::outcome compress(const tersor::solve::layer& l, const tersor::context& ctx = {}) const {
    validate();
    tersor::solve::check_layer(l);
    auto magnitude = l.weight, rest = l.weight;
    for (float& v : magnitude.values()) v = std::abs(v);
    const auto large = tersor::solve::select_smallest(magnitude, 1.0 - share,
                                                      tersor::solve::selection_scope::per_tensor, ctx);
    for (tersor::index_t i = 0; i < rest.size(); ++i)
      if (large.data()[i]) rest.data()[i] = 0.0F;
    const auto rounded = tersor::quant::rtn{.bits = bits, .group_size = 64}(rest, nullptr, ctx);
    return {tersor::op::sum(rounded.op, tersor::op::sparse_csr(l.weight.view(), large, tersor::dtype::bf16)),
            {},
            {}};
  }
};
static_assert(tersor::solve::technique<keep_large>);

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path folder = argc > 1 ? argv[1] : "examples/data/lm";
  const auto model = tersor::model::load_llama(folder);
  auto text = tersor::io::tokenizer(folder).encode(tersor::io::read_text_file(folder / "evaluation.txt"));
  text.insert(text.begin(), model.config().bos_token_id);

  auto techniques = tersor::pipeline::standard_catalog();
  techniques.add<keep_large>();
  for (const char* spec :
       {"dense", "rtn(bits=3,group_size=64)", "keep_large(share=0.01)", "keep_large(bits=4)"}) {
    auto small = model;  // shares the weights that a recipe does not replace
    const auto report =
        tersor::pipeline::compress(small, tersor::pipeline::recipe::parse(spec, techniques), {});
    std::printf("%-28s %6.3f bits per weight, perplexity %.2f\n", spec,
                report.layers.empty() ? 16 : report.bits_per_weight(),
                tersor::model::perplexity(small, text, {.max_windows = 2}).perplexity);
  }
}
