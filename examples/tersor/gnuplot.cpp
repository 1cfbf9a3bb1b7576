// tersor - plots by the program gnuplot
// SPDX-License-Identifier: MIT
#include "gnuplot.hpp"

#include <spawn.h>     // posix_spawnp
#include <sys/wait.h>  // waitpid
#include <unistd.h>    // pipe, read

#include <array>
#include <cerrno>
#include <cstdio>   // std::tmpfile
#include <cstring>  // std::strerror
#include <memory>   // std::unique_ptr

#include <tersor/core/error.hpp>

extern char** environ;

namespace {

using temporary_file = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

/// A file without a name that holds `text`, read from its beginning.
temporary_file file_with(std::string_view text) {
  temporary_file file(std::tmpfile(), &std::fclose);
  tersor::require(file != nullptr, "gnuplot", std::strerror(errno), "a temporary file");
  const bool written =
      std::fwrite(text.data(), 1, text.size(), file.get()) == text.size() && std::fflush(file.get()) == 0;
  tersor::require(written, "gnuplot", std::strerror(errno), "room for a temporary file");
  std::rewind(file.get());
  return file;
}

std::string first_line_of(std::FILE* file) {
  std::rewind(file);
  std::string line;
  for (int c = std::fgetc(file); c != EOF && line.size() < 500; c = std::fgetc(file)) {
    if (c != '\n')
      line += static_cast<char>(c);
    else if (!line.empty())
      break;
  }
  return line;
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 1 << 14> block;
  for (;;) {
    const auto count = ::read(descriptor, block.data(), block.size());
    if (count > 0)
      text.append(block.data(), static_cast<std::size_t>(count));
    else if (count == 0 || errno != EINTR)
      return text;
  }
}

struct run_result {
  int error = 0;   ///< why the program could not be started, 0 if it was
  int status = 0;  ///< as waitpid gives it
  std::string output, complaint;
};

// The script is a file for gnuplot, so that only one pipe is open and neither side waits for the other.
run_result run(std::string_view script) {
  const auto input = file_with(script), complaints = file_with({});
  int output[2];
  tersor::require(::pipe(output) == 0, "gnuplot", std::strerror(errno), "a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(input.get()), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(complaints.get()), STDERR_FILENO);
  posix_spawn_file_actions_addclose(&actions, output[0]);
  char program[] = "gnuplot", settings[] = "--default-settings";
  char* arguments[] = {program, settings, nullptr};
  pid_t child = 0;
  run_result result;
  result.error = ::posix_spawnp(&child, program, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(output[1]);
  if (result.error == 0) {
    result.output = read_all(output[0]);
    while (::waitpid(child, &result.status, 0) < 0 && errno == EINTR) {
    }
  }
  ::close(output[0]);
  result.complaint = first_line_of(complaints.get());
  return result;
}

void check(const run_result& r, std::string_view argument) {
  tersor::require(r.error == 0, argument, tersor::concat("gnuplot (", std::strerror(r.error), ")"),
                  "the program gnuplot in PATH (Debian: apt-get install gnuplot-nox)");
  tersor::require(WIFEXITED(r.status) && WEXITSTATUS(r.status) == 0, argument,
                  tersor::concat("gnuplot (", r.complaint, ")"),
                  "a gnuplot that draws SVG, version 5 or newer (Debian: apt-get install gnuplot-nox)");
}

}  // namespace

std::string command::gnuplot(std::string_view script) {
  auto r = run(script);
  check(r, "plot");
  return std::move(r.output);
}

void command::require_gnuplot(std::string_view option) { check(run("set terminal svg dynamic\n"), option); }
