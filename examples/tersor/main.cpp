// tersor - the command: compress, evaluate and inspect checkpoints
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "../program_setup.hpp"
#include "command.hpp"

#include <tersor/core/version.hpp>

namespace {

/// One line on standard error, instead of the progress line if there is one. What a broken file put into the
/// message must not look like other lines, drive a terminal or fill it.
int report(std::string_view message, int code = 1) {
  constexpr std::size_t longest = 2000;
  std::string line;
  for (const char c : message.substr(0, longest))
    line +=
        (c >= 0 && c < ' ') || c == 127 ? fmt::format("\\x{:02x}", static_cast<int>(c)) : std::string(1, c);
  std::fprintf(stderr, "%stersor: %s%s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", line.c_str(),
               message.size() > longest ? "..." : "");
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  set_up_program(argv);
  CLI::App app{"Neural-network compression"};
  app.name("tersor");
  app.require_subcommand(1);
  app.set_version_flag("--version", tersor::concat(TERSOR_VERSION_MAJOR, ".", TERSOR_VERSION_MINOR, ".",
                                                   TERSOR_VERSION_PATCH));
  command::add_methods(app);
  command::add_compress(app);
  command::add_eval(app);
  command::add_logits(app);
  command::add_generate(app);
  command::add_inspect(app);
  command::add_finetune(app);
  command::add_merge(app);
  command::add_convert(app);
  command::add_bench(app);
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0)
      tersor::fail("standard output", "", tersor::concat("all to be written (", std::strerror(errno), ")"));
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const tersor::cancelled&) {
    return report("interrupted, " + command::interruption_note, 128 + command::interruption);
  } catch (const std::filesystem::filesystem_error& e) {
    return report(tersor::concat(e.path1().string(), ": ", e.code().message()));
  } catch (const std::bad_alloc&) {
    return report("not enough memory");
  } catch (const std::exception& e) {
    return report(e.what());
  }
  return 0;
}
