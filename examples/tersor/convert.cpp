// tersor - tersor convert: a checkpoint in another format, without rounding and with one tensor in memory
// SPDX-License-Identifier: MIT
#include "command.hpp"
#include "output_check.hpp"

#include <tersor/io/convert.hpp>
#include <tersor/io/output_folder.hpp>

namespace {

struct convert_options {
  std::string in, out, to, type, shard_size = "5GB";
  bool force = false, resume = false, json = false;
  command::run_options run;
};

/// A format of `--to`.
struct format {
  std::string name, summary;
};
std::vector<format> formats() {
  std::vector<format> list{{"dense", "one tensor of reals for each linear"},
                           {"tersor", "every operator as it is"}};
  for (const auto& l : tersor::io::written_layouts())
    list.push_back({std::string(l.name), std::string(l.summary)});
  return list;
}

void convert(const convert_options& o) {
  command::catch_interruptions();
  auto ctx = o.run.context();
  ctx.is_cancelled = [] { return command::interruption != 0; };
  tersor::io::conversion c{.to = o.to, .shard_bytes = command::bytes_of(o.shard_size, "--shard-size")};
  c.resume = o.resume;
  if (!o.type.empty()) {
    tersor::require(o.to == "dense", "--dtype", o.type,
                    "--to dense beside it: other formats keep what they hold");
    c.type = tersor::option_text<tersor::dtype>::parse(o.type);
    tersor::require(c.type.has_value(), "--dtype", o.type, "f32, f16 or bf16");
  }
  const tersor::io::checkpoint files(o.in);
  command::check_output("OUT", o.out, o.force, {tersor::io::model_folder_of(o.in)});
  if (o.resume) command::interruption_note = "what is finished was kept: the same command goes on";
  tersor::io::output_folder out(o.out, o.force, o.resume);
  const auto report = tersor::io::convert_checkpoint(files, c, out.path(), ctx);
  out.commit();
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
  sub->add_option("IN", o->in,
                  "Model folder: dense, of tersor, GPTQ, AWQ, compressed-tensors or bitsandbytes")
      ->required();
  sub->add_option("OUT", o->out, "Folder for the result")->required();
  std::string help = "Format:";
  std::vector<std::string> names;
  for (const auto& f : formats()) {
    help += fmt::format("{} {} ({})", names.empty() ? "" : ",", f.name, f.summary);
    names.push_back(f.name);
  }
  sub->add_option("--to", o->to, help)->required()->check(CLI::IsMember(names));
  sub->add_option("--dtype", o->type, "Of all reals of a dense model: f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  sub->add_option("--shard-size", o->shard_size, "Largest weight file, e.g. 500MB; 0: one file")
      ->capture_default_str();
  sub->add_flag("--force", o->force, "Replace that folder if it exists");
  sub->add_flag("--resume", o->resume, "Keep what is finished when interrupted, and go on with it");
  sub->add_flag("--json", o->json, "JSON on standard output");
  o->run.add_to(*sub);
  sub->callback([o] { convert(*o); });
}
