// tersor - what the subcommands of the binary share
// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>
#include <sys/resource.h>  // getrusage
#include <unistd.h>        // isatty

#include <CLI/CLI.hpp>
#include <csignal>
#include <string>

#include <tersor/core/context.hpp>
#include <tersor/io/json.hpp>

namespace command {

void add_methods(CLI::App& app);
void add_compress(CLI::App& app);
void add_eval(CLI::App& app);
void add_logits(CLI::App& app);
void add_generate(CLI::App& app);
void add_inspect(CLI::App& app);
void add_finetune(CLI::App& app);
void add_merge(CLI::App& app);
void add_convert(CLI::App& app);
void add_bench(CLI::App& app);
void add_bench_model(CLI::App& bench);
void add_bench_attention(CLI::App& bench);

/// Checks the text of a number: CLI11 itself would wrap "-1" round and cut off what is too large.
inline CLI::Validator whole_number() {
  return {[](std::string& text) {
            const bool good = !text.empty() && text.size() <= 18 &&
                              text.find_first_not_of("0123456789") == std::string::npos;
            return good ? std::string() : tersor::concat(text, ": expected a whole number, 0 or more");
          },
          ""};
}

/// The time that a measurement may take.
inline void check_seconds(double seconds) {
  tersor::require(seconds > 0 && seconds <= 86400, "--seconds", seconds, "a number > 0, at most 86400");
}

/// Threads and seed of every command, and a progress line where a person is watching.
struct run_options {
  int threads = 0;
  std::uint64_t seed = 0;

  void add_to(CLI::App& app) {
    app.add_option("--threads", threads, "Threads; 0: all of the machine. Results do not depend on it")
        ->check(CLI::Range(0, 1024));
    app.add_option("--seed", seed, "Seed of random choices")->check(whole_number());
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

/// The signal that asked the run to end, 0 until there is one.
inline volatile std::sig_atomic_t interruption = 0;
/// What is said of a run that ended so.
inline std::string interruption_note = "nothing was written";

/// From here on the first SIGINT, SIGTERM or SIGHUP only sets `interruption`, and a second one ends the
/// process. A signal that is ignored, as under nohup, stays ignored.
inline void catch_interruptions() {
  for (const int s : {SIGINT, SIGTERM, SIGHUP}) {
    const auto before = std::signal(s, [](int signal) {
      interruption = signal;
      std::signal(signal, SIG_DFL);
    });
    if (before == SIG_IGN) std::signal(s, SIG_IGN);
  }
}

/// JSON for tools. A path that is not UTF-8 has replacement characters.
inline void print_json(const tersor::io::ordered_json& j, int indent = 2) {
  fmt::print("{}\n", j.dump(indent, ' ', false, tersor::io::ordered_json::error_handler_t::replace));
}

/// The largest resident set of this process so far.
inline std::size_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace command
