// tersor - tersor convert: a checkpoint in another format, without rounding and with one tensor in memory
// SPDX-License-Identifier: MIT
#include "block_output.hpp"
#include "command.hpp"
#include "loaded_model.hpp"
#include "output_check.hpp"

#include <tersor/io/convert.hpp>
#include <tersor/io/output_folder.hpp>
#include <tersor/model/llama_gguf_writer.hpp>
#include <tersor/op/release_pages.hpp>

namespace {

struct convert_options {
  std::string in, out, to, dtype, type, shard_size = "5GB";
  bool force = false, resume = false, json = false;
  command::run_options run;
};

/// A format of `--to`.
struct format {
  std::string name, summary;
};
std::vector<format> formats() {
  std::vector<format> list{{"dense", "one tensor of reals for each linear"},
                           {"tersor", "every operator as it is"},
                           {"gguf", "one file for llama.cpp; OUT is its name"}};
  for (const auto& l : tersor::io::written_layouts())
    list.push_back({std::string(l.name), std::string(l.summary)});
  return list;
}

/// Writes a GGUF file of a model in any format.
tersor::io::conversion_report to_gguf(const convert_options& o, const tersor::context& ctx) {
  tersor::model::gguf_options options{.type = std::nullopt,
                                      .name = std::filesystem::path(o.out).stem().string()};
  if (!o.type.empty()) {
    const auto* known = tersor::find_ggml_type(o.type);
    tersor::require(known != nullptr, "--type", o.type, "a type of GGUF files, such as Q8_0, Q4_K or F16");
    options.type = known->type;
  }
  tersor::require(!o.resume, "--resume", "--to gguf", "a format of folders beside it");
  tersor::require(o.dtype.empty(), "--dtype", o.dtype, "--to dense beside it; --type for --to gguf");
  tersor::require(o.force || !std::filesystem::exists(o.out), "OUT", o.out, "a new file, or --force");
  const auto folder = command::loaded_model::folder_of(std::filesystem::absolute(o.in));
  command::check_output_file("OUT", o.out, {folder});
  const command::loaded_model m(o.in);
  const auto tokenizer = command::tokenizer_json_of(o.in);
  options.add_bos_token = !m.start.empty();
  std::optional<tersor::io::gguf_file> source;
  if (command::is_gguf(o.in)) options.source = &source.emplace(o.in);
  const auto bytes_before = m.file_bytes();
  tersor::model::save_llama_gguf(m.model, tokenizer, o.in, o.out, options, ctx);
  tersor::io::conversion_report report{.from = command::is_gguf(o.in) ? "gguf" : "folder", .to = "gguf"};
  for (const auto& l : m.model.linear_shapes()) {
    const bool stays_dense = options.type ? tersor::info(*options.type).block == 1
                                          : m.model.linear(l.name).kind() == tersor::op::dense::kind();
    ++(stays_dense ? report.dense_linears : report.linears);
  }
  report.bytes_before = bytes_before;
  report.bytes_after = std::filesystem::file_size(o.out);
  return report;
}

/// Writes the model of a GGUF file as a folder of ours; with --resume, finished blocks are kept. Memory: its
/// table as F32, where that is in blocks, queries and keys, whose rows are in another order there, and a
/// block's linears.
tersor::io::conversion_report unpack_gguf(const convert_options& o, const std::filesystem::path& folder,
                                          std::uint64_t shard_bytes, const tersor::context& ctx) {
  const command::loaded_model m(o.in);
  const auto linears = m.model.linear_shapes();
  if (o.to != "tersor" && o.to != "dense" && std::ranges::all_of(linears, [&](const auto& l) {
        return m.model.linear(l.name).kind() == tersor::op::dense::kind();
      }))
    tersor::io::refuse_dense(o.in, o.to);
  command::block_output weights(folder, shard_bytes);
  if (o.resume)
    weights.keep_journal({{"command", "convert"},
                          {"input", tersor::io::identity_of(m.weight_files())},
                          {"to", o.to},
                          {"dtype", o.dtype},
                          {"shard_size", o.shard_size}});
  for (tersor::index_t b = weights.blocks(); b < m.model.block_count(); ++b) {
    ctx.step(tersor::concat("unpacking block ", b), b, m.model.block_count());
    weights.add_block(m.model);
    for (const auto& stage : m.model.linear_stages(b))
      for (const auto& name : stage) tersor::op::release_pages(m.model.linear(name));
  }
  tersor::io::conversion_report report{.from = "gguf", .to = "tersor", .linears = linears.size()};
  report.bytes_before = m.file_bytes();
  report.bytes_after = weights.finish(m.model, [&] { m.write_beside(folder); });
  return report;
}

/// In other formats it is written as ours first, to a folder in the output.
constexpr const char* unpacked_name = ".unpacked";

tersor::io::conversion_report from_gguf(const convert_options& o, const tersor::io::conversion& c,
                                        const std::filesystem::path& folder, const tersor::context& ctx) {
  if (c.to == "tersor") return unpack_gguf(o, folder, c.shard_bytes, ctx);
  const auto unpacked = folder / unpacked_name;
  std::filesystem::create_directory(unpacked);
  const auto before = unpack_gguf(o, unpacked, 0, ctx).bytes_before;
  auto report = tersor::io::convert_checkpoint(tersor::io::checkpoint(unpacked), c, folder, ctx);
  if (!o.resume) std::filesystem::remove_all(unpacked);
  report.from = "gguf";
  report.bytes_before = before;
  return report;
}

tersor::io::conversion_report to_folder(const convert_options& o, const tersor::context& ctx) {
  tersor::io::conversion c{.to = o.to, .shard_bytes = command::bytes_of(o.shard_size, "--shard-size")};
  c.resume = c.leave_journal = o.resume;
  if (!o.dtype.empty()) {
    tersor::require(o.to == "dense", "--dtype", o.dtype,
                    "--to dense beside it: other formats keep what they hold");
    c.type = tersor::option_text<tersor::dtype>::parse(o.dtype);
    tersor::require(c.type.has_value(), "--dtype", o.dtype, "f32, f16 or bf16");
  }
  tersor::require(o.type.empty(), "--type", o.type, "--to gguf beside it");
  const bool gguf = command::is_gguf(o.in);
  if (gguf) c.validate();
  command::check_output("OUT", o.out, o.force, {},
                        command::loaded_model::folder_of(std::filesystem::absolute(o.in)));
  if (o.resume) command::interruption_note = "what is finished was kept: the same command goes on";
  tersor::io::output_folder out(o.out, o.force, o.resume);
  const auto report = gguf ? from_gguf(o, c, out.path(), ctx)
                           : tersor::io::convert_checkpoint(tersor::io::checkpoint(o.in), c, out.path(), ctx);
  out.commit(std::array{std::string(tersor::io::output_journal::file_name), std::string(unpacked_name)});
  return report;
}

void convert(const convert_options& o) {
  command::catch_interruptions();
  auto ctx = o.run.context();
  ctx.is_cancelled = [] { return command::interruption != 0; };
  const auto report = o.to == "gguf" ? to_gguf(o, ctx) : to_folder(o, ctx);
  if (o.json) {
    command::print_json({{"from", report.from},
                         {"to", report.to},
                         {"linears", report.linears},
                         {"dense_linears", report.dense_linears},
                         {"bytes_before", report.bytes_before},
                         {"bytes_after", report.bytes_after},
                         {"peak_rss_bytes", command::peak_rss_bytes()}});
    return;
  }
  fmt::print("{} -> {}: {} linears, {} that stay dense; {} -> {} bytes\n", report.from, report.to,
             report.linears, report.dense_linears, report.bytes_before, report.bytes_after);
}

}  // namespace

void command::add_convert(CLI::App& app) {
  auto o = std::make_shared<convert_options>();
  auto* sub = app.add_subcommand("convert", "Write a model in the format of another tool, exactly");
  sub->add_option(
         "IN", o->in,
         "Model: a folder (dense, of tersor, GPTQ, AWQ, compressed-tensors, bitsandbytes) or a GGUF file")
      ->required();
  sub->add_option("OUT", o->out, "Folder, or GGUF file, for the result")->required();
  std::string help = "Format:";
  std::vector<std::string> names;
  for (const auto& f : formats()) {
    help += fmt::format("{} {} ({})", names.empty() ? "" : ",", f.name, f.summary);
    names.push_back(f.name);
  }
  sub->add_option("--to", o->to, help)->required()->check(CLI::IsMember(names));
  sub->add_option("--type", o->type,
                  "Of the linears of a GGUF file (Q4_K, Q8_0, F16 ...); without it they stay as they are");
  sub->add_option(
         "--dtype", o->dtype,
         "Of all reals of a dense model: f32, f16 or bf16; NaN and infinity stay, a number that does "
         "not fit is an error")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  sub->add_option("--shard-size", o->shard_size, "Largest weight file, e.g. 500MB; 0: one file")
      ->capture_default_str();
  sub->add_flag("--force", o->force, "Replace what is there");
  sub->add_flag("--resume", o->resume, "Keep what is finished when interrupted, and go on with it");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] { convert(*o); });
}
