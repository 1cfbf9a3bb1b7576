// tersor - a checkpoint written in another format, one tensor at a time
// SPDX-License-Identifier: MIT
#pragma once

#include <optional>  // std::optional

#include <tersor/core/context.hpp>
#include <tersor/io/every_layout.hpp>
#include <tersor/io/model_files.hpp>
#include <tersor/io/output_journal.hpp>
#include <tersor/io/sharded_writer.hpp>
#include <tersor/op/ggml_native.hpp>

namespace tersor::io {

/// What `convert_checkpoint` makes of a checkpoint.
struct conversion {
  std::string to;  ///< "dense", "tersor", or a name of `written_layouts()`
  /// Of dense: F32, F16 or BF16 for all reals. None: linears in the type that config.json names, the rest as
  /// it is.
  std::optional<dtype> type{};
  std::uint64_t shard_bytes = 0;  ///< of a weight file; 0: one file
  bool resume = false;            ///< keep a journal, and go on with what it says is finished
  /// With `resume`: the journal stays in the folder, for a caller that renames the folder and then removes
  /// it. A run that finds one of a finished conversion does nothing.
  bool leave_journal = false;

  void validate() const {
    bool known = to == "dense" || to == "tersor";
    std::string names = "dense tersor";
    for (const auto& l : written_layouts()) {
      known = known || l.name == to;
      names += concat(" ", l.name);
    }
    require(known, "conversion: to", to, "one of ", names);
    require(!type || (to == "dense" && is_wide_real(*type)), "conversion: type", type ? name(*type) : "none",
            "F32, F16 or BF16, with to = dense");
  }
};

struct conversion_report {
  std::string from, to;
  std::size_t linears = 0;                          ///< converted
  std::size_t dense_linears = 0;                    ///< that stay dense beside them
  std::size_t tensors = 0;                          ///< written
  std::uint64_t bytes_before = 0, bytes_after = 0;  ///< of the weight files
};

/// The error of a model without a compressed linear, for a format that only holds such.
[[noreturn]] inline void refuse_dense(std::string_view model, std::string_view to) {
  const std::string_view recipe = to == "bnb-nf4" ? "nf4"
                                  : to == "awq"   ? "awq|rtn(bits=4, group_size=128)"
                                                  : "gptq(bits=4, group_size=128)";
  fail(model, "dense linears",
       concat("quantized ones for --to ", to, ", which rounds nothing: run `tersor compress MODEL --with \"",
              recipe, "\" --out QUANTIZED` first, then convert QUANTIZED"));
}

namespace detail {

/// Linears as tersor stores them; the notes are what operator_writer says of them.
class operator_linear_writer final : public linear_writer {
 public:
  std::string_view format() const override { return "tersor"; }
  ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const override {
    operator_writer writer(out);
    writer.add(name, op);
    return writer.descriptions().empty() ? ordered_json(nullptr) : writer.descriptions()[name];
  }
  ordered_json settings(const linear_notes&) const override { return nullptr; }
};

/// Linears as one tensor of reals.
class dense_linear_writer final : public linear_writer {
 public:
  explicit dense_linear_writer(dtype type) : type_(type) {}
  std::string_view format() const override { return "dense"; }
  ordered_json write(tensor_sink& out, const std::string& name, const op::any_operator& op) const override {
    const auto stored = naming(name, [&] { return store_as(type_, op.to_dense().view()); });
    out.add(name + ".weight", type_, {op.rows(), op.cols()}, stored.bytes());
    return nullptr;
  }
  ordered_json settings(const linear_notes&) const override { return nullptr; }

 private:
  dtype type_;
};

inline std::string torch_name(dtype type) {
  return type == dtype::f16 ? "float16" : type == dtype::bf16 ? "bfloat16" : "float32";
}

/// One run of `convert_checkpoint`.
class conversion_run {
 public:
  conversion_run(const checkpoint& files, const conversion& c, const std::filesystem::path& folder,
                 const context& ctx)
      : files_(files), conversion_(c), folder_(folder), ctx_(ctx), out_(folder, c.shard_bytes) {
    c.validate();
    source_ = layout_of(files);
    const std::string torch_dtype = dtype_of_config();
    if (c.to == "dense") {
      linear_type_ = c.type                      ? *c.type
                     : torch_dtype == "float16"  ? dtype::f16
                     : torch_dtype == "bfloat16" ? dtype::bf16
                                                 : dtype::f32;
      writer_ = std::make_unique<dense_linear_writer>(linear_type_);
    } else if (c.to == "tersor") {
      writer_ = std::make_unique<operator_linear_writer>();
    } else {
      for (const auto& l : written_layouts())
        if (l.name == c.to) writer_ = l.make(torch_dtype.empty() ? "bfloat16" : torch_dtype);
    }
    for (const auto& linear : source_->linears(files))
      for (const auto& tensor : source_->tensors(files, linear)) {
        linear_of_[tensor] = linear;
        files.release(tensor);
      }
  }

  conversion_report run() {
    require_quantized();
    require_config();
    conversion_report report{
        source_->format() == "tersor" && linear_of_.empty() ? "dense" : std::string(source_->format()),
        conversion_.to,
        0,
        0,
        0,
        files_.file_bytes(),
        0};
    if (conversion_.resume) take_up();
    out_.metadata_of_all("format", "pt");
    std::set<std::string> seen;
    long long done = 0;
    const auto total = static_cast<long long>(files_.names().size());
    for (const auto view : files_.names()) {
      const std::string tensor(view);
      ctx_.step(tensor, done++, total);
      const auto linear = linear_of_.find(tensor);
      if (linear == linear_of_.end()) {
        if (!finished_.contains(tensor)) {
          copy(tensor);
          record({{"tensor", tensor}});
        }
        if (is_dense_linear(tensor)) notes_.dense.push_back(tensor.substr(0, tensor.size() - 7));
        ++report.tensors;
      } else if (seen.insert(linear->second).second) {
        ++report.linears;
        if (!finished_.contains(linear->second)) convert(linear->second);
      }
    }
    report.dense_linears = notes_.dense.size();
    const bool has_head =
        std::ranges::any_of(notes_.compressed, [](const auto& n) { return n.first == "lm_head"; });
    if (!has_head && std::ranges::find(notes_.dense, "lm_head") == notes_.dense.end())
      notes_.dense.push_back("lm_head");  // it may be the embedding's table, without a tensor of its own
    ordered_json settings = writer_->settings(notes_);
    if (keeps_format()) settings.update(source_->beside_operators());
    if (conversion_.to == "tersor") describe_operators();
    ctx_.step("writing", total, total);
    if (bytes_written_) {
      report.bytes_after = *bytes_written_;
      out_.remove_collected();
    } else {
      report.bytes_after = out_.finish([&](std::uint64_t bytes) {
        copy_model_files(files_.folder(), folder_, json::parse(settings.dump()),
                         conversion_.type ? torch_name(*conversion_.type) : std::string());
        if (const auto name = writer_->settings_file(); !name.empty())
          write_text_file(folder_ / name, settings.dump(2) + "\n");
        if (journal_) journal_->append({{"finished", bytes}});
      });
    }
    journal_.reset();
    if (!conversion_.leave_journal) std::filesystem::remove(folder_ / output_journal::file_name);
    return report;
  }

 private:
  std::string dtype_of_config() const {
    const auto path = files_.folder() / "config.json";
    if (!std::filesystem::exists(path)) return {};
    const json config = read_json_file(path);
    for (const char* key : {"dtype", "torch_dtype"})
      if (auto type = get<std::string>(config, key, path.string(), ""); !type.empty()) return type;
    return {};
  }
  void require_quantized() const {
    if (linear_of_.empty() && !holds_every_operator()) refuse_dense(files_.where(), conversion_.to);
  }
  /// Without the settings nobody could read the linears again.
  void require_config() const {
    if (holds_every_operator() || !writer_->settings_file().empty()) return;
    require(std::filesystem::exists(files_.folder() / "config.json"), files_.where(), "no config.json",
            "one beside the weights, for the settings of ", conversion_.to);
  }
  bool keeps_format() const { return writer_->format() == source_->format(); }
  bool holds_every_operator() const { return conversion_.to == "dense" || conversion_.to == "tersor"; }
  /// Is the tensor the weight of a linear that no layout holds? Tables of embeddings are none.
  bool is_dense_linear(const std::string& tensor) const {
    if (!tensor.ends_with(".weight")) return false;
    const auto& e = files_.entry(tensor);
    return e.shape.size() == 2 && is_wide_real(e.dtype) && !is_table(tensor.substr(0, tensor.size() - 7));
  }
  void take_up() {
    std::vector<std::filesystem::path> inputs;
    for (const auto& file : files_.files()) inputs.push_back(file.path());
    for (const auto name : settings_files)
      if (const auto path = files_.folder() / name; std::filesystem::exists(path)) inputs.push_back(path);
    journal_ = std::make_unique<output_journal>(
        folder_ / output_journal::file_name,
        json{{"command", "convert"},
             {"input", identity_of(inputs)},
             {"to", conversion_.to},
             {"dtype", conversion_.type ? std::string(name(*conversion_.type)) : "none"},
             {"shard_size", conversion_.shard_bytes}});
    const std::string where = (folder_ / output_journal::file_name).string();
    std::vector<json> progress;
    for (const auto& entry : journal_->entries()) {
      if (entry.contains("finished")) {
        bytes_written_ = get<std::uint64_t>(entry, "finished", where);
        return;
      }
      if (entry.contains("linear")) {
        auto linear = get<std::string>(entry, "linear", where);
        finished_.insert(linear);
        notes_.compressed.emplace_back(std::move(linear), kept_json(entry, "note", where));
      } else {
        finished_.insert(get<std::string>(entry, "tensor", where));
      }
      progress.push_back(get<json>(entry, "tensors", where));
    }
    out_.restore(progress, where);
  }
  void record(json entry) {
    if (!journal_) return;
    entry["tensors"] = out_.take_progress();
    journal_->append(entry);
  }
  void convert(const std::string& linear) {
    auto op = source_->read(files_, linear);
    // other tools have no blocks of GGUF in their folders, but integers and codes of the same values
    if (const auto* blocks = op.as<op::ggml_blocks>(); blocks != nullptr && !holds_every_operator())
      if (auto native = op::to_native(*blocks); native && native->kind() != op::sum<>::kind())
        op = *std::move(native);
    auto note = writer_->write(out_, linear, op);
    if (keeps_format()) take_over(linear, note);
    for (const auto& tensor : source_->tensors(files_, linear)) files_.release(tensor);
    record({{"linear", linear}, {"note", note.dump()}});
    notes_.compressed.emplace_back(linear, std::move(note));
  }
  void take_over(const std::string& linear, ordered_json& note) {
    const auto beside = source_->beside(files_, linear, note);
    note.update(beside.settings);
    for (const auto& tensor : beside.tensors) copy(tensor);
  }
  void copy(const std::string& tensor) {
    const auto& e = files_.entry(tensor);
    if (!conversion_.type || e.dtype == *conversion_.type ||
        !(is_wide_real(e.dtype) || e.dtype == dtype::f64)) {
      out_.add(tensor, e.dtype, e.shape, files_.bytes(tensor));
    } else {
      const auto values = files_.read_tensor<float>(tensor);
      const auto stored =
          naming(tensor, [&] { return store_as(*conversion_.type, std::span<const float>(values)); });
      out_.add(tensor, *conversion_.type, e.shape, stored.bytes());
    }
    files_.release(tensor);
  }
  void describe_operators() {
    ordered_json operators = ordered_json::object();
    for (const auto& [name, note] : notes_.compressed)
      if (!note.is_null()) operators[name] = note;
    if (!operators.empty())
      out_.metadata(operator_metadata_key, ordered_json{{"version", 1}, {"operators", operators}}.dump());
    // what `tersor compress` said of the layers goes along
    for (const auto& file : files_.files())
      if (const auto found = file.metadata().find("tersor.report"); found != file.metadata().end())
        out_.metadata(found->first, found->second);
  }

  const checkpoint& files_;
  const conversion& conversion_;
  std::filesystem::path folder_;
  const context& ctx_;
  sharded_writer out_;
  std::unique_ptr<linear_layout> source_;
  std::unique_ptr<linear_writer> writer_;
  dtype linear_type_ = dtype::f32;
  std::map<std::string, std::string> linear_of_;  // tensor -> linear
  linear_notes notes_;
  std::set<std::string> finished_;
  std::unique_ptr<output_journal> journal_;
  std::optional<std::uint64_t> bytes_written_;  // by a run that finished and was not renamed
};

}  // namespace detail

/// Writes `files` into the folder, which exists, in another format, with config.json and the tokenizer's
/// files. Nothing but "dense" rounds. Works on any architecture: what is no compressed linear is copied.
/// Errors: a dense model for a quantized format, a linear that the format does not hold, and whatever the
/// layouts refuse. Memory: the largest tensor, and what becomes of it.
inline conversion_report convert_checkpoint(const checkpoint& files, const conversion& c,
                                            const std::filesystem::path& folder, const context& ctx = {}) {
  return detail::conversion_run(files, c, folder, ctx).run();
}

}  // namespace tersor::io
