// tersor - folders of PEFT adapters; includes all methods
// SPDX-License-Identifier: MIT
#pragma once

#include <set>  // std::set

#include <tersor/io/output_folder.hpp>
#include <tersor/io/peft_methods.hpp>
#include <tersor/io/safetensors_writer.hpp>

namespace tersor::io {

namespace detail {

/// Every tensor with its key, in the order of the modules.
template <class Adapter, class F>
void for_each_peft_tensor(Adapter& adapter, const F& f) {
  const auto visit = [&](auto& of) {
    for (auto& [module, state] : of)
      for (auto& p : state.tensors()) f(concat(peft_adapter::model_prefix, module, ".", p.key), p);
  };
  visit(adapter.modules);
  visit(adapter.embeddings);
}

class peft_reader {
 public:
  peft_reader(const std::filesystem::path& folder, std::span<const peft_module> base)
      : config_(peft_config::read(folder)), file_(file_of(folder)), base_(base) {}

  peft_adapter read() {
    const auto targets = config_.targets(base_);
    for (const auto name : file_.names()) unread_.insert(std::string(name));
    const auto adapted = adapted_modules(targets);
    const peft_shapes expected = expected_tensors(adapted);
    check_tensors(expected);
    peft_adapter a = zeros(adapted);
    for_each_peft_tensor(a, [&](const std::string& key, auto& p) { read_values(key, p); });
    for (const auto& name : unread_) {
      if (!may_be_there(name, targets))
        fail(where(name), "", concat("no such tensor", suggestion(name, keys_of(expected))));
      const auto bytes = file_.bytes(name);
      const auto& e = file_.entry(name);
      a.others.emplace(name, peft_tensor{e.dtype, e.shape, {bytes.begin(), bytes.end()}});
    }
    return a;
  }

 private:
  static std::filesystem::path file_of(const std::filesystem::path& folder) {
    auto path = folder / "adapter_model.safetensors";
    require(std::filesystem::exists(path) || !std::filesystem::exists(folder / "adapter_model.bin"),
            (folder / "adapter_model.bin").string(), "a pickled file",
            "adapter_model.safetensors, the only form that is read");
    return path;
  }
  std::string where(std::string_view key) const { return concat(file_.path().string(), ": ", key); }

  std::vector<peft_module> adapted_modules(const std::vector<std::string>& targets) const {
    std::vector<peft_module> adapted;
    for (const auto& m : base_) {
      if (std::find(targets.begin(), targets.end(), m.name) == targets.end()) continue;
      require(m.out > 0 && m.in > 0, concat("module ", m.name), concat(m.out, " x ", m.in),
              "extents of at least 1");
      adapted.push_back(m);
    }
    return adapted;
  }
  /// With whole keys.
  peft_shapes expected_tensors(const std::vector<peft_module>& adapted) const {
    peft_shapes all;
    for (const auto& m : adapted)
      for (auto& s : peft_shapes_of(config_, m))
        all.push_back({concat(peft_adapter::model_prefix, m.name, ".", s.key), std::move(s.shape)});
    return all;
  }
  static std::vector<std::string> keys_of(const peft_shapes& tensors) {
    std::vector<std::string> keys;
    for (const auto& t : tensors) keys.push_back(t.key);
    return keys;
  }
  /// Before any memory is taken: a rank of the configuration is believed where the file has its tensors.
  void check_tensors(const peft_shapes& expected) const {
    const auto keys = keys_of(expected);
    for (const auto& name : unread_)
      if (!name.starts_with("base_model."))
        fail(where(name), "",
             concat("a key that begins with ", peft_adapter::model_prefix,
                    suggestion(concat(peft_adapter::model_prefix, name), keys)));
    for (const auto& key : keys)
      if (!file_.contains(key)) {
        std::vector<std::string> surplus;
        for (const auto& name : unread_)
          if (std::find(keys.begin(), keys.end(), name) == keys.end()) surplus.push_back(name);
        fail(file_.path().string(), "", concat("a tensor \"", key, "\"", suggestion(key, surplus)));
      }
    for (const auto& t : expected) {
      const auto& e = file_.entry(t.key);
      require(e.shape == t.shape, where(t.key), shape_text(e.shape), shape_text(t.shape),
              " by the configuration and the base model");
    }
  }
  peft_adapter zeros(const std::vector<peft_module>& adapted) {
    peft_adapter a{.config = config_, .modules = {}};
    if (config_.type() == "VERA") a.shared.vera = read_vera(adapted);
    for (const auto& m : adapted)
      if (m.embedding)
        a.embeddings.emplace(m.name, make_peft_embedding(config_, m));
      else
        a.modules.emplace(m.name, make_peft_state(config_, m, a.shared));
    return a;
  }

  template <class T>
  void read_values(const std::string& key, adapters::parameter<T>& p) {
    const auto& e = file_.entry(key);
    require(e.dtype == dtype::f32 || e.dtype == dtype::f16 || e.dtype == dtype::bf16, where(key),
            name(e.dtype), "F32, F16 or BF16");
    read_elements(e, file_.bytes(key), p.value.data(), file_.path().string());
    require_finite(p.value.view(), where(key));
    p.stored_type = e.dtype;
    unread_.erase(key);
  }
  /// The stored pair, or what the key draws for the largest extents of the adapted modules.
  std::shared_ptr<const adapters::vera_projections<float>> read_vera(
      const std::vector<peft_module>& adapted) {
    index_t out = 0, in = 0;
    for (const auto& m : adapted) {
      out = std::max(out, m.out);
      in = std::max(in, m.in);
    }
    const index_t r = vera_rank(config_);
    if (!file_.contains("base_model.vera_A") && !file_.contains("base_model.vera_B")) {
      require(!config_.get("save_projection", true), file_.path().string(), "",
              "a tensor \"base_model.vera_A\", as the configuration says save_projection");
      // The file has r values for each module; the pair takes r times the extents.
      const index_t most = std::max<index_t>({1024, out, in});
      require(r <= most, concat(config_.where(), ": rank of drawn projections"), r, "at most ", most);
      return adapters::vera_projections<float>::draw(r, in, out,
                                                     config_.get<std::uint64_t>("projection_prng_key", 0));
    }
    adapters::vera_projections<float> pair;
    pair.a = read_shared("base_model.vera_A", {r, in}, pair);
    pair.b = read_shared("base_model.vera_B", {out, r}, pair);
    require(pair.a.rows() == r && pair.b.cols() == r, where("base_model.vera_A"), pair.a.rows(), r);
    return std::make_shared<const adapters::vera_projections<float>>(std::move(pair));
  }
  /// One of the pair, which may cover more modules than this base has.
  matrix<float> read_shared(const char* key, const std::vector<index_t>& least,
                            adapters::vera_projections<float>& pair) {
    const auto& e = file_.entry(key);
    require(e.shape.size() == 2 && e.shape[0] >= least[0] && e.shape[1] >= least[1], where(key),
            shape_text(e.shape), "at least ", shape_text(least), " by the configuration and the base model");
    adapters::parameter<float> p(key, adapters::parameter_kind::shared,
                                 matrix<float>(e.shape[0], e.shape[1]));
    read_values(key, p);
    pair.stored_type = p.stored_type;
    return std::move(p.value);
  }
  /// Biases as the mode says, modules that were saved whole, resized embeddings and heads.
  bool may_be_there(const std::string& key, const std::vector<std::string>& targets) const {
    if (!key.starts_with(peft_adapter::model_prefix)) return false;
    const std::string path = key.substr(peft_adapter::model_prefix.size());
    const std::string bias = config_.bias();
    if (bias == "all" && path.ends_with(".bias")) return true;
    if (bias.ends_with("_only"))
      for (const auto& module : targets)
        if (path == module + ".base_layer.bias") return true;
    const auto saved = config_.fields().find("modules_to_save");
    if (saved != config_.fields().end() && !saved->is_null())
      for (const auto& m :
           json_as<std::vector<std::string>>::from(*saved, config_.where() + ": \"modules_to_save\""))
        if (concat(".", path).find(concat(".", m, ".")) != std::string::npos) return true;
    for (const auto& m : base_)
      if ((m.embedding || m.output_head) &&
          (path == m.name + ".weight" || path == m.name + ".base_layer.weight"))
        return true;
    return false;
  }

  peft_config config_;
  safetensors_file file_;
  std::span<const peft_module> base_;
  std::set<std::string> unread_;
};

}  // namespace detail

/// What `read_peft` returns.
inline peft_adapter read_peft_folder(const std::filesystem::path& folder, std::span<const peft_module> base) {
  return detail::peft_reader(folder, base).read();
}

/// What `write_peft` does.
inline void write_peft_folder(const peft_adapter& adapter, const std::filesystem::path& folder, bool force) {
  output_folder out(folder, force);
  safetensors_writer file;
  file.metadata("format", "pt");
  const auto add = [&](const std::string& key, const std::vector<index_t>& shape, const matrix<float>& value,
                       dtype type) {
    const real_array stored = store_as(type, value.view());
    const auto bytes = stored.bytes();
    file.add(key, type, shape, std::vector<std::byte>(bytes.begin(), bytes.end()));
  };
  detail::for_each_peft_tensor(
      adapter, [&](const std::string& key, const auto& p) { add(key, p.shape, p.value, p.stored_type); });
  if (adapter.shared_is_stored()) {
    const auto& v = *adapter.shared.vera;
    add("base_model.vera_A", {v.a.rows(), v.a.cols()}, v.a, v.stored_type);
    add("base_model.vera_B", {v.b.rows(), v.b.cols()}, v.b, v.stored_type);
  }
  for (const auto& [key, t] : adapter.others) file.add(key, t.dtype, t.shape, t.bytes);
  file.write(out.path() / "adapter_model.safetensors");
  write_text_file(out.path() / "adapter_config.json", adapter.config.text());
  out.commit();
}

}  // namespace tersor::io
