// tersor - tersor inspect: every tensor or operator of a file or folder
// SPDX-License-Identifier: MIT
#include <fmt/ranges.h>

#include <set>

#include "command.hpp"
#include "loaded_model.hpp"

#include <tersor/io/every_layout.hpp>
#include <tersor/io/gguf.hpp>

namespace {

struct row {
  std::string name, form;
  std::vector<tersor::index_t> shape;
  std::size_t bytes = 0;
  double bits_per_weight = 0;
  tersor::io::ordered_json relative_error, weighted_error;  // null where nobody knows
};

/// The errors that `tersor compress` wrote beside the operators.
std::map<std::string, tersor::io::json> known_errors(const tersor::io::checkpoint& files) {
  std::map<std::string, tersor::io::json> errors;
  for (const auto& file : files.files()) {
    const auto found = file.metadata().find("tersor.report");
    if (found == file.metadata().end()) continue;
    const std::string where = file.path().string() + ": metadata \"tersor.report\"";
    const auto report = tersor::io::parse_json(found->second, where);
    for (const auto& l : tersor::io::get<std::vector<tersor::io::json>>(report, "layers", where))
      errors[tersor::io::get<std::string>(l, "name", where)] = l;
  }
  return errors;
}

/// A number of an object, or null.
tersor::io::json number(const tersor::io::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? *found : tersor::io::json();
}

std::vector<row> rows_of(const tersor::io::checkpoint& files) {
  // one shard alone may lack tensors that the settings beside it speak of
  const auto layout = std::filesystem::is_directory(files.where())
                          ? tersor::io::layout_of(files)
                          : std::make_unique<tersor::io::operator_layout>(files);
  const auto errors = known_errors(files);
  std::vector<row> rows;
  std::set<std::string, std::less<>> parts;
  for (const auto& name : layout->linears(files)) {
    const auto op = layout->read(files, name);
    row r{name,
          std::string(op.kind()),
          {op.rows(), op.cols()},
          op.storage().bytes(),
          tersor::op::bits_per_weight(op),
          {},
          {}};
    if (const auto e = errors.find(name); e != errors.end()) {
      r.relative_error = number(e->second, "relative_error");
      r.weighted_error = number(e->second, "weighted_error");
    }
    rows.push_back(std::move(r));
    for (auto& tensor : layout->tensors(files, name)) parts.insert(std::move(tensor));
  }
  for (const auto tensor : files.names()) {
    if (parts.contains(tensor)) continue;
    const auto& e = files.entry(tensor);
    rows.push_back({e.name,
                    std::string(tersor::name(e.dtype)),
                    e.shape,
                    static_cast<std::size_t>(e.size()),
                    static_cast<double>(tersor::bits_of(e.dtype)),
                    {},
                    {}});
  }
  std::ranges::sort(rows, {}, &row::name);
  return rows;
}

/// A value of a GGUF key; of an array that is too long to be read, its length alone.
tersor::io::ordered_json value_of(const tersor::io::gguf_entry& e, const std::string& where) {
  using tersor::io::gguf_type;
  const auto as = [&]<class T>(T) -> tersor::io::ordered_json {
    if (e.type != gguf_type::array) return tersor::io::gguf_value<T>(e, where);
    if (e.count > 8) return tersor::concat(e.count, " values of type ", tersor::io::name(e.element));
    return tersor::io::gguf_value<std::vector<T>>(e, where);
  };
  const auto type = e.element_type();
  if (type == gguf_type::string) return as(std::string());
  if (type == gguf_type::boolean) return as(bool());
  if (type == gguf_type::f32) return as(float());
  if (type == gguf_type::f64) return as(double());
  return type == gguf_type::u64 ? as(std::uint64_t()) : as(std::int64_t());
}

std::vector<row> rows_of(const tersor::io::gguf_file& file) {
  std::vector<row> rows;
  for (const auto& t : file.tensors()) {
    const auto& form = tersor::info(t.type);
    rows.push_back({t.name,
                    std::string(form.name),
                    t.shape,
                    static_cast<std::size_t>(t.size),
                    8.0 * form.bytes / form.block,
                    {},
                    {}});
  }
  return rows;
}

/// What is printed of a checkpoint or a GGUF file.
struct listing {
  std::vector<row> rows;
  std::uint64_t file_bytes = 0;
  tersor::io::ordered_json keys;  // of a GGUF file
};

listing list(const std::string& path) {
  if (command::is_gguf(path)) {
    const tersor::io::gguf_file file(path);
    listing l{rows_of(file), file.file_bytes(), tersor::io::ordered_json::object()};
    for (const auto& e : file.keys()) l.keys[e.key] = value_of(e, path);
    return l;
  }
  const tersor::io::checkpoint files(path);
  return {rows_of(files), files.file_bytes(), nullptr};
}

}  // namespace

void command::add_inspect(CLI::App& app) {
  struct options {
    std::string path;
    bool json = false;
  };
  auto o = std::make_shared<options>();
  auto* sub = app.add_subcommand("inspect", "Shapes, forms and sizes of what a checkpoint holds");
  sub->add_option("FILE_OR_DIR", o->path, "A .safetensors or .gguf file, or a model folder")->required();
  sub->add_flag("--json", o->json, "JSON on standard output");
  sub->callback([o] {
    const auto [rows, file_bytes, keys] = list(o->path);
    std::size_t bytes = 0;
    for (const auto& r : rows) bytes += r.bytes;
    if (o->json) {
      tersor::io::ordered_json entries = tersor::io::ordered_json::array();
      for (const auto& r : rows)
        entries.push_back({{"name", r.name},
                           {"shape", r.shape},
                           {"form", r.form},
                           {"bits_per_weight", r.bits_per_weight},
                           {"bytes", r.bytes},
                           {"relative_error", r.relative_error},
                           {"weighted_error", r.weighted_error}});
      tersor::io::ordered_json j{{"path", o->path}, {"tensor_bytes", bytes}, {"file_bytes", file_bytes}};
      if (keys.is_object()) j["keys"] = keys;
      j["entries"] = std::move(entries);
      command::print_json(j);
      return;
    }
    for (const auto& item : keys.items()) {
      auto value = tersor::io::json_text(item.value());
      if (value.size() > 100) value = value.substr(0, 97) + "...";
      fmt::print("{} = {}\n", item.key(), value);
    }
    std::size_t width = 4;
    for (const auto& r : rows) width = std::max(width, r.name.size());
    fmt::print("{:<{}}  {:<14} {:<14} {:>8} {:>12}  {}\n", "name", width, "shape", "form", "bits", "bytes",
               "error");
    for (const auto& r : rows)
      fmt::print("{:<{}}  {:<14} {:<14} {:>8.3f} {:>12}  {}\n", r.name, width,
                 fmt::format("{}", fmt::join(r.shape, " x ")), r.form, r.bits_per_weight, r.bytes,
                 r.relative_error.is_number() ? fmt::format("{:.4f}", r.relative_error.get<double>()) : "");
    fmt::print("{} entries, {} bytes of tensors, {} bytes of files\n", rows.size(), bytes, file_bytes);
  });
}
