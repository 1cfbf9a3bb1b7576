// tersor - running the built command, and a small model for it
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/wait.h>  // WEXITSTATUS

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

#include "catch.hpp"
#include "io/temporary_folder.hpp"
#include "model/samples.hpp"

#include <tersor/model/llama_checkpoint.hpp>

namespace tersor::test {

inline const std::filesystem::path embedded_model =
    std::filesystem::path(TERSOR_SOURCE_DIR) / "examples" / "data" / "lm";

/// What a program left: its exit code, 128 + n where signal n ended it, and what it printed.
struct outcome {
  int code = -1;
  std::string out, err;
};

/// A word for the shell.
inline std::string shell_word(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}
inline std::string command_line(const std::vector<std::string>& arguments) {
  std::string line = shell_word(TERSOR_COMMAND);
  for (const auto& a : arguments) line += " " + shell_word(a);
  return line;
}
/// Runs a line of the shell.
inline outcome run_shell(const std::string& line) {
  const temporary_folder folder;
  const auto out = folder / "out", err = folder / "err";
  const int status = std::system(("{ " + line + "\n} >" + shell_word(out) + " 2>" + shell_word(err)).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), io::read_text_file(out),
          io::read_text_file(err)};
}
/// Runs `tersor ARGUMENTS...`.
inline outcome run(const std::vector<std::string>& arguments) { return run_shell(command_line(arguments)); }

/// The JSON that a successful run printed; nothing may be on standard error, which is no terminal here.
inline io::json json_of(const std::vector<std::string>& arguments) {
  const auto result = run(arguments);
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(result.err.empty());
  return io::parse_json(result.out, "standard output");
}

/// Every failure is one line that begins with the program's name, exit code 1 and no other output.
/// @param parts what the line has to say: the file, tensor, option or value, and what was expected.
inline void check_refused(const outcome& result, std::initializer_list<std::string_view> parts) {
  INFO(result.err);
  CHECK(result.code == 1);
  CHECK(result.out.empty());
  CHECK(result.err.starts_with("tersor: "));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.err.ends_with('\n'));
  CHECK(holds(result.err, parts));
}

/// A random model of 64 positions with the embedded model's tokenizer, and a text.
class small_model {
 public:
  small_model() { write(); }
  /// Writes the folder anew. @param changes merged into config.json
  void write(const io::json& changes = io::json::object()) {
    std::filesystem::remove_all(path());
    std::filesystem::create_directory(path());
    auto config = tiny_config();
    config["vocab_size"] = 4096;
    const model::llama_file file(tiny_llama(3, config));
    file.write(path() / "model.safetensors");
    config.merge_patch(changes);
    io::write_text_file(path() / "config.json", config.dump());
    std::filesystem::copy_file(embedded_model / "tokenizer.json", path() / "tokenizer.json");
    io::write_text_file(text_path(),
                        io::read_text_file(embedded_model / "evaluation.txt").substr(4000, 2000));
  }
  std::filesystem::path path() const { return folder_ / "model"; }
  std::filesystem::path weights() const { return path() / "model.safetensors"; }
  std::filesystem::path text_path() const { return folder_ / "text.txt"; }
  std::string model() const { return path().string(); }
  std::string text() const { return text_path().string(); }
  /// A path beside the model.
  std::string beside(std::string_view name) const { return (folder_ / name).string(); }
  const temporary_folder& folder() const { return folder_; }

  /// `tersor eval` of two short windows, and `tersor compress`.
  std::vector<std::string> eval(const std::string& model) const {
    return {"eval", model, "--text", text(), "--window", "32", "--max-windows", "2"};
  }
  std::vector<std::string> compress(const std::string& spec,
                                    std::initializer_list<std::string> more = {}) const {
    std::vector<std::string> arguments{"compress", model(), "--with", spec, "--window", "32"};
    arguments.insert(arguments.end(), more);
    return arguments;
  }

 private:
  temporary_folder folder_;
};

}  // namespace tersor::test
