// tersor - the command: compress, evaluate and inspect checkpoints
// SPDX-License-Identifier: MIT
#include <cstdio>

#include "../program_setup.hpp"
#include "command.hpp"

#include <tersor/core/version.hpp>

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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tersor: %s\n", e.what());
    return 1;
  }
  return 0;
}
