// tersor - what the subcommands of the binary share
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/resource.h>  // getrusage
#include <unistd.h>        // isatty

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include <tersor/core/context.hpp>
#include <tersor/model/llama_checkpoint.hpp>

namespace command {

void add_methods(CLI::App& app);
void add_compress(CLI::App& app);
void add_eval(CLI::App& app);
void add_logits(CLI::App& app);
void add_generate(CLI::App& app);
void add_inspect(CLI::App& app);

/// [bos] + BPE(text).
inline std::vector<int> encode(const tersor::model::llama& m, const tersor::io::tokenizer& t,
                               std::string_view text, bool bos = true) {
  std::vector<int> ids;
  if (bos && m.config().bos_token_id >= 0) ids.push_back(m.config().bos_token_id);
  const auto body = t.encode(text);
  ids.insert(ids.end(), body.begin(), body.end());
  return ids;
}

/// Threads and seed of every command, and a progress line where a person is watching.
struct run_options {
  int threads = 0;
  std::uint64_t seed = 0;

  void add_to(CLI::App& app) {
    app.add_option("--threads", threads, "Threads; 0: all of the machine. Results do not depend on it")
        ->check(CLI::Range(0, 1024));
    app.add_option("--seed", seed, "Seed of random choices");
  }
  tersor::context context() const {
    tersor::context ctx;
    ctx.threads = threads;
    ctx.seed = seed;
    if (isatty(STDERR_FILENO))
      ctx.on_progress = [](const tersor::progress_event& e) {
        std::fprintf(stderr, "\r\033[K%3lld %%  %.*s%s", e.total > 0 ? 100 * e.done / e.total : 0,
                     static_cast<int>(e.what.size()), e.what.data(), e.done >= e.total ? "\r\033[K" : "");
      };
    return ctx;
  }
};

/// The largest resident set of this process so far.
inline std::size_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace command
