// tersor - tersor merge: adapters put into the weights, which stay compressed where that is asked for
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"
#include "output_check.hpp"

#include <tersor/model/peft_model.hpp>
#include <tersor/pipeline/recipe.hpp>

namespace {

namespace fs = std::filesystem;

struct merge_options {
  std::string model, adapter, out, spec = "dense";
  bool force = false, json = false;
  command::run_options machine;
};

/// The recipe of `--as`, for the layers that have an adapter: nothing here could calibrate a method.
tersor::pipeline::recipe recipe_for(const tersor::model::llama& m, const std::string& spec) {
  const auto recipe = tersor::pipeline::recipe::parse(spec);
  std::vector<std::string> adapted;
  for (const auto& l : m.linear_shapes())
    if (m.linear(l.name).as<tersor::model::adapted_linear>()) adapted.push_back(l.name);
  recipe.check_layers(adapted);
  for (const auto& name : adapted) {
    const auto chain = recipe.chain_of(name);
    tersor::require(chain.needs() == tersor::solve::calibration_need::none && chain.transformations().empty(),
                    "--as: spec of " + name, chain.text(),
                    "methods that need no calibration, such as rtn or nf4");
  }
  return recipe;
}

void merge(const merge_options& o) {
  auto ctx = o.machine.context();
  command::loaded_model m(o.model, o.adapter);
  const auto recipe = recipe_for(m.model, o.spec);
  command::check_output("--out", o.out, o.force, {o.adapter},
                        command::loaded_model::folder_of(fs::absolute(o.model)));
  tersor::io::output_folder out(o.out, o.force);

  const auto merged = tersor::model::merge_adapters(m.model, [&](const tersor::solve::layer& l) {
    const auto chain = recipe.chain_of(l.name);
    return chain.empty() ? tersor::model::store_dense(l) : chain.compress(l, ctx);
  });
  tersor::io::ordered_json layers = tersor::io::ordered_json::array();
  const auto* worst = &merged.front();
  for (const auto& l : merged) {
    const auto& op = m.model.linear(l.name);
    layers.push_back({{"name", l.name},
                      {"form", op.kind()},
                      {"bits_per_weight", tersor::op::bits_per_weight(op)},
                      {"bytes", op.storage().bytes()},
                      {"relative_error", l.relative_error},
                      {"change_kept", l.change_kept}});
    if (l.relative_error > worst->relative_error) worst = &l;
  }
  tersor::model::llama_file file(std::move(m.model));
  file.metadata("tersor.report",
                tersor::io::ordered_json{{"spec", recipe.text()}, {"layers", layers}}.dump());
  m.save(file, out);
  out.commit();

  if (o.json) {
    command::print_json({{"spec", recipe.text()},
                         {"bytes", file.file_size()},
                         {"worst_layer", worst->name},
                         {"worst_relative_error", worst->relative_error},
                         {"layers", std::move(layers)}});
    return;
  }
  for (const auto& l : layers)
    fmt::print("{:<42} {:>7.3f} bits {:>10} bytes  error {:.4f}  {:.1f} % of the change kept\n",
               l["name"].get<std::string>(), l["bits_per_weight"].get<double>(),
               l["bytes"].get<std::size_t>(), l["relative_error"].get<double>(),
               100 * l["change_kept"].get<double>());
  fmt::print("{} bytes; largest error {:.4f}, of {}\n", file.file_size(), worst->relative_error, worst->name);
}

}  // namespace

void command::add_merge(CLI::App& app) {
  auto o = std::make_shared<merge_options>();
  auto* sub = app.add_subcommand("merge", "Put an adapter into the weights of its base");
  sub->add_option("MODEL", o->model, "Model folder, dense or compressed, or GGUF file")->required();
  sub->add_option("--adapter", o->adapter, "Folder of the adapter")->required();
  sub->add_option("--out", o->out, "Folder for the merged model")->required();
  sub->add_option("--as", o->spec,
                  "How merged layers are stored, without data, e.g. \"nf4; *.down_proj: rtn(bits=8)\"")
      ->capture_default_str();
  sub->add_flag("--force", o->force, "Replace that folder if it exists");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->machine.add_to(*sub);
  sub->callback([o] { merge(*o); });
}
