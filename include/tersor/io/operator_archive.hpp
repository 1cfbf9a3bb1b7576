// tersor - operators in safetensors files
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/io/checkpoint.hpp>
#include <tersor/io/safetensors_writer.hpp>
#include <tersor/op/dense.hpp>
#include <tersor/op/load.hpp>

namespace tersor::io {

// A dense operator NAME in f32, f16 or bf16 is the one tensor "NAME.weight", as everywhere. Any other (dense
// ones of 8 bits too: such a tensor, without the scale that goes with it elsewhere, would be taken for what
// it is not) is the tensors "NAME.PART...", and its kind and attributes are in the file's metadata under
// "tersor": {"version": 1, "operators": {NAME: {"kind": ..., "attributes": {name: text}, "parts": {"0":
// {...}}}}}.

inline constexpr const char* operator_metadata_key = "tersor";

/// Hands operators to a sink; tensors are referenced, so operators must outlive a sink that collects them.
class operator_writer final : public op::archive_writer {
 public:
  explicit operator_writer(tensor_sink& file) : file_(file) {}

  void add(const std::string& name, const op::any_operator& op) {
    if (op.kind() == op::dense::kind()) {
      dense_values values;
      op.save(values);
      if (is_wide_real(values.type))
        return file_.add(name + ".weight", values.type, values.shape, values.bytes);
    }
    prefix_ = name + ".";
    path_ = {&operators_[name]};
    *path_.back() = {{"kind", std::string(op.kind())}, {"attributes", ordered_json::object()}};
    op.save(*this);
  }
  /// A temporary, or an operator that becomes one on its way into `any_operator`, would not live until then.
  void add(const std::string& name, const op::any_operator&& op) = delete;
  /// Writes the descriptions into the file's metadata; call once, after the last `add`.
  void finish() {
    if (!operators_.empty())
      file_.metadata(operator_metadata_key, ordered_json{{"version", 1}, {"operators", operators_}}.dump());
  }
  /// The descriptions of the operators so far, by name; those of an interrupted run can be put back.
  const ordered_json& descriptions() const { return operators_; }
  void describe(const std::string& name, ordered_json description) {
    operators_[name] = std::move(description);
  }

  // archive_writer
  void attribute(std::string_view name, std::string value) override {
    (*path_.back())["attributes"][std::string(name)] = std::move(value);
  }
  void tensor(std::string_view name, dtype type, std::span<const index_t> shape,
              std::span<const std::byte> bytes) override {
    file_.add(prefix_ + std::string(name), type, {shape.begin(), shape.end()}, bytes);
  }
  void owned_tensor(std::string_view name, dtype type, std::span<const index_t> shape,
                    std::vector<std::byte> bytes) override {
    file_.add(prefix_ + std::string(name), type, {shape.begin(), shape.end()}, std::move(bytes));
  }
  void begin_part(std::string_view name, std::string_view kind) override {
    ordered_json& part = (*path_.back())["parts"][std::string(name)];
    part = {{"kind", std::string(kind)}, {"attributes", ordered_json::object()}};
    path_.push_back(&part);
    prefix_ += std::string(name) + ".";
  }
  void end_part() override {
    path_.pop_back();
    prefix_.resize(prefix_.rfind('.', prefix_.size() - 2) + 1);
  }

 private:
  /// The one tensor of a dense operator, prepared or not.
  struct dense_values final : op::archive_writer {
    dtype type = dtype::f32;
    std::vector<index_t> shape;
    std::span<const std::byte> bytes;
    void attribute(std::string_view, std::string) override {}
    void tensor(std::string_view, dtype t, std::span<const index_t> s,
                std::span<const std::byte> b) override {
      type = t;
      shape.assign(s.begin(), s.end());
      bytes = b;
    }
    void begin_part(std::string_view, std::string_view) override {}
    void end_part() override {}
  };

  tensor_sink& file_;
  ordered_json operators_;
  std::vector<ordered_json*> path_;
  std::string prefix_;
};

/// The descriptions of a checkpoint's operators, and the operators themselves.
class operator_reader {
 public:
  explicit operator_reader(const checkpoint& files) : files_(files) {
    for (const auto& file : files.files()) {
      const auto found = file.metadata().find(operator_metadata_key);
      if (found == file.metadata().end()) continue;
      const std::string where = file.path().string() + ": metadata \"tersor\"";
      const json description = parse_json(found->second, where);
      const auto version = get<int>(description, "version", where);
      require(version == 1, where + ".version", version, "1, what this release reads");
      const json& described = member(description, "operators", where);
      require(described.is_object(), where + ": operators", type_of(described), "an object");
      for (const auto& [name, op] : described.items())
        require(operators_.emplace(name, op).second, where, name, "each operator described once");
    }
  }

  /// Is there an operator NAME that is described, not the one tensor of a dense one?
  bool has(const std::string& name) const { return operators_.contains(name); }
  const std::map<std::string, json>& descriptions() const { return operators_; }

  /// The operator NAME: described, or dense from "NAME.weight".
  op::any_operator read(const std::string& name) const {
    const auto found = operators_.find(name);
    if (found == operators_.end()) return read_dense(files_, name + ".weight");
    source in(files_, name, found->second);
    const auto kind = get<std::string>(found->second, "kind", in.where());
    return op::any_operator::load(kind, in);
  }

  /// Error unless a tensor has one of the types that weights are stored in.
  static void require_stored_real(const tensor_entry& e, std::string_view where) {
    require_wide_real(e.dtype, concat(where, ": dtype"));
  }
  /// A matrix in its stored type (f32, f16, bf16), which stays in the mapped file.
  static op::dense read_dense(const checkpoint& files, const std::string& tensor) {
    const auto& e = files.entry(tensor);
    const std::string where = concat(files.where(), ": ", tensor);
    require(e.shape.size() == 2, where + ": rank", e.shape.size(), 2);
    require_stored_real(e, where);
    return {e.shape[0], e.shape[1],
            real_array(e.dtype, files.bytes(tensor), files.file_of(tensor).mapping(),
                       safetensors_file::release_pages)};
  }

 private:
  class source final : public op::archive_reader {
   public:
    source(const checkpoint& files, const std::string& name, const json& description)
        : files_(files), prefix_(name), path_{&description} {}
    std::string attribute(std::string_view name) const override {
      return get<std::string>(member(*path_.back(), "attributes", where()), name, where());
    }
    tensor_bytes tensor(std::string_view name) const override {
      const auto& e = files_.entry(full(name));
      return {e.dtype, e.shape, files_.bytes(full(name))};
    }
    std::string begin_part(std::string_view name) override {
      require(path_.size() < 16, where() + ": nested parts", path_.size(), "at most 16 levels");
      path_.push_back(&member(member(*path_.back(), "parts", where()), name, where()));
      prefix_ = full(name);
      return get<std::string>(*path_.back(), "kind", where());
    }
    void end_part() override {
      path_.pop_back();
      prefix_.resize(prefix_.rfind('.'));
    }
    std::string where() const override { return concat(files_.where(), ": ", prefix_); }

   private:
    std::string full(std::string_view name) const { return prefix_ + "." + std::string(name); }
    const checkpoint& files_;
    std::string prefix_;
    std::vector<const json*> path_;
  };

  const checkpoint& files_;
  std::map<std::string, json> operators_;
};

}  // namespace tersor::io
