// tersor - an operator's parts in memory: what the tests save, damage and load
// SPDX-License-Identifier: MIT
#pragma once

#include <map>  // std::map

#include <tersor/op/archive.hpp>

namespace tersor_test {

using tersor::dtype;
using tersor::index_t;

/// What one operator writes, nested parts included. Two of them are equal if every attribute, shape, type and
/// byte is.
struct stored_operator {
  struct tensor {
    dtype type = dtype::u8;
    std::vector<index_t> shape;
    std::vector<std::byte> bytes;
    bool operator==(const tensor&) const = default;
  };
  std::string kind;
  std::map<std::string, std::string, std::less<>> attributes;
  std::map<std::string, tensor, std::less<>> tensors;
  std::map<std::string, stored_operator, std::less<>> parts;
  bool operator==(const stored_operator&) const = default;

  std::size_t bytes() const {
    std::size_t n = 0;
    for (const auto& [name, t] : tensors) n += t.bytes.size();
    for (const auto& [name, p] : parts) n += p.bytes();
    return n;
  }
};

class memory_writer final : public tersor::op::archive_writer {
 public:
  explicit memory_writer(stored_operator& root) : path_{&root} {}
  void attribute(std::string_view name, std::string value) override {
    path_.back()->attributes[std::string(name)] = std::move(value);
  }
  void tensor(std::string_view name, dtype type, std::span<const index_t> shape,
              std::span<const std::byte> bytes) override {
    path_.back()->tensors[std::string(name)] = {
        type, {shape.begin(), shape.end()}, {bytes.begin(), bytes.end()}};
  }
  void begin_part(std::string_view name, std::string_view kind) override {
    auto& part = path_.back()->parts[std::string(name)];
    part.kind = kind;
    path_.push_back(&part);
  }
  void end_part() override { path_.pop_back(); }

 private:
  std::vector<stored_operator*> path_;
};

/// Names a part by its path, "layer.0.inner", as files do.
class memory_reader final : public tersor::op::archive_reader {
 public:
  explicit memory_reader(const stored_operator& root, std::string name = "layer")
      : path_{&root}, names_{std::move(name)} {}
  std::string attribute(std::string_view name) const override {
    return find(path_.back()->attributes, "attribute ", name);
  }
  tensor_bytes tensor(std::string_view name) const override {
    const auto& t = find(path_.back()->tensors, "tensor ", name);
    return {t.type, t.shape, t.bytes};
  }
  std::string begin_part(std::string_view name) override {
    const auto& part = find(path_.back()->parts, "part ", name);
    names_.push_back(where() + "." + std::string(name));
    path_.push_back(&part);
    return part.kind;
  }
  void end_part() override {
    path_.pop_back();
    names_.pop_back();
  }
  std::string where() const override { return names_.back(); }

 private:
  template <class Map>
  const typename Map::mapped_type& find(const Map& map, std::string_view what, std::string_view name) const {
    const auto found = map.find(name);
    if (found == map.end()) tersor::fail(where(), "incomplete", tersor::concat(what, name));
    return found->second;
  }
  std::vector<const stored_operator*> path_;
  std::vector<std::string> names_;
};

template <class Op>
stored_operator save(const Op& op) {
  stored_operator stored;
  stored.kind = op.kind();
  memory_writer out(stored);
  op.save(out);
  return stored;
}
template <class Op>
Op load(const stored_operator& stored) {
  memory_reader in(stored);
  return Op::load(stored.kind, in);
}

}  // namespace tersor_test
