// tersor - the command: compress, evaluate and inspect checkpoints
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "../program_setup.hpp"
#include "command.hpp"

#include <tersor/core/nearest.hpp>
#include <tersor/core/version.hpp>

namespace {

/// One line on standard error, instead of the progress line if there is one. What a broken file put into the
/// message must not look like other lines, drive a terminal or fill it. The reason stands at the end, so a
/// long message loses its middle.
int report(std::string message, int code = 1) {
  constexpr std::size_t longest = 2000;
  if (message.size() > longest) message.replace(longest / 2, message.size() - longest, "...");
  std::string line;
  for (const char c : message)
    line +=
        (c >= 0 && c < ' ') || c == 127 ? fmt::format("\\x{:02x}", static_cast<int>(c)) : std::string(1, c);
  std::fprintf(stderr, "%stersor: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", line.c_str());
  return code;
}

/// Every option of a command refuses an empty value, which an unset variable of the shell gives and which
/// would look like an option that is left out. A prompt may be empty.
void refuse_empty_values(CLI::App& app) {
  for (auto* option : app.get_options()) {
    const std::string name = option->get_name();
    if (option->get_items_expected_max() == 0 || name == "--prompt") continue;
    option->check(
        [name](const std::string& text) {
          tersor::require(!text.empty(), name, "\"\"", "a value");
          return std::string();
        },
        "");
  }
  for (auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) refuse_empty_values(*sub);
}

/// What is wrong with a word that stands where a command should; empty if there is none.
std::string unknown_command(const CLI::App& app) {
  if (const auto chosen = app.get_subcommands(); !chosen.empty()) return unknown_command(*chosen.front());
  std::vector<std::string> names;
  for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  const auto words = app.remaining();
  if (names.empty() || words.empty() || words.front().starts_with('-')) return {};
  return fmt::format("command = {}: expected one of {}{}", words.front(), fmt::join(names, ", "),
                     tersor::suggestion(words.front(), names));
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
  refuse_empty_values(app);
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0)
      tersor::fail("standard output", "", tersor::concat("all to be written (", std::strerror(errno), ")"));
  } catch (const CLI::RequiredError& e) {
    const auto unknown = unknown_command(app);
    return unknown.empty() ? app.exit(e) : report(unknown, e.get_exit_code());
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
