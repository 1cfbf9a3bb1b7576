// tersor - what reads, writes and starts adapters of every method, compiled once
// SPDX-License-Identifier: MIT
#include <tersor/io/pattern.hpp>
#include <tersor/io/peft.hpp>
#include <tersor/io/peft_folder.hpp>
#include <tersor/io/regex_pattern.hpp>
#include <tersor/pipeline/adapter_spec.hpp>
#include <tersor/pipeline/every_adapter.hpp>

namespace tersor::io {

bool matches(const std::string& text, const std::string& pattern, std::string_view where) {
  return regex_matches(text, pattern, where);
}
std::optional<std::string> first_capture(const std::string& text, const std::string& pattern,
                                         std::string_view where) {
  return regex_first_capture(text, pattern, where);
}
peft_adapter read_peft(const std::filesystem::path& folder, std::span<const peft_module> base) {
  return read_peft_folder(folder, base);
}
void write_peft(const peft_adapter& adapter, const std::filesystem::path& folder, bool force) {
  write_peft_folder(adapter, folder, force);
}

}  // namespace tersor::io

namespace tersor::pipeline {

started_adapters start_adapters(const any_stage& method, const model::llama& m,
                                const std::vector<std::string>& names, index_t steps, const context& ctx) {
  return start_every_adapter(method, m, names, steps, ctx);
}
io::peft_adapter to_peft(const any_stage& method, const started_adapters& run,
                         const std::vector<std::string>& targets) {
  return every_adapter_to_peft(method, run, targets);
}

}  // namespace tersor::pipeline
