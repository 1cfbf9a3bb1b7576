// tersor - tersor generate: text from a model
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "loaded_model.hpp"

#include <tersor/model/generate.hpp>
#include <tersor/pipeline/cache_spec.hpp>

void command::add_generate(CLI::App& app) {
  struct options {
    std::string model, prompt, kv, adapter;
    tersor::model::generation_options generation;
    run_options run;
  };
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("generate", "Continue a prompt");
  sub->add_option("MODEL", o->model, "Model folder or GGUF file")->required();
  sub->add_option("--prompt", o->prompt, "Text")->required();
  sub->add_option("--adapter", o->adapter, "Folder of a PEFT adapter for the model");
  sub->add_option("--tokens", o->generation.tokens, "New tokens at most")
      ->check(whole_number())
      ->capture_default_str();
  sub->add_option("--temperature", o->generation.temperature, "0: always the most likely token")
      ->capture_default_str();
  sub->add_option("--top-p", o->generation.top_p,
                  "Sample from the likeliest tokens with this much probability")
      ->capture_default_str();
  sub->add_option("--kv", o->kv, "Compress the KV caches, e.g. \"snapkv(capacity=256)|gear(bits=2)\"");
  o->run.add_to(*sub);
  sub->callback([o] {
    auto ctx = o->run.context();
    const loaded_model m(o->model, o->adapter);
    const auto ids = m.encode(o->prompt);
    const auto policy =
        o->kv.empty() ? tersor::model::exact_cache() : tersor::pipeline::parse_cache_spec(o->kv).policy();
    const auto text = tersor::model::generate(m.model, ids, o->generation, ctx, policy);
    // Not decode(), which takes the first space of a text away.
    std::string continuation;
    for (const int id : text)
      if (m.tokenizer.contains(id)) continuation += m.tokenizer.bytes(id);  // the table may be padded
    fmt::print("{}{}\n", o->prompt, continuation);
  });
}
