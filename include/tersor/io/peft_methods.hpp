// tersor - PEFT adapters: states from configurations, and configurations from options
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/adalora.hpp>
#include <tersor/adapters/any_adapter.hpp>
#include <tersor/adapters/bat.hpp>
#include <tersor/adapters/bone.hpp>
#include <tersor/adapters/dora.hpp>
#include <tersor/adapters/ia3.hpp>
#include <tersor/adapters/loha.hpp>
#include <tersor/adapters/lokr.hpp>
#include <tersor/adapters/oft.hpp>
#include <tersor/adapters/vera.hpp>
#include <tersor/io/peft_adapter.hpp>

namespace tersor::io {

/// The values of `peft_type` that are read and written.
inline constexpr std::array<std::string_view, 9> peft_types{"LORA", "ADALORA", "VERA", "LOHA", "LOKR",
                                                            "IA3",  "OFT",     "MISS", "BONE"};

namespace detail {

inline adapters::any_adapter lora_of(const peft_config& c, const peft_module& m) {
  const auto invocation = c.fields().find("alora_invocation_tokens");
  require(invocation == c.fields().end() || invocation->is_null(),
          c.where() + ": \"alora_invocation_tokens\"", "a list", "null: this LoRA works at every token");
  const index_t r = c.rank(m.name), in = m.in * m.places();
  require(r <= std::min(m.out, in), concat(c.where(), ": rank of ", m.name), r, "at most min(", m.out, ", ",
          in, ")");
  const adapters::lora o{.rank = r, .alpha = c.alpha(m.name), .rslora = c.get("use_rslora", false)};
  const auto shaped = [&](auto state) {
    if (m.kernel_rows > 0) {
      state.tensors()[0].shape = {r, m.in, m.kernel_rows, m.kernel_cols};
      state.tensors()[1].shape = {m.out, r, 1, 1};
    }
    return state;
  };
  if (c.get("use_dora", false)) {
    auto state =
        shaped(adapters::dora_state<float>(matrix<float>(r, in), matrix<float>(m.out, r),
                                           std::vector<float>(static_cast<std::size_t>(m.out)), o.scale()));
    if (m.kernel_rows > 0) state.tensors()[2].shape = {1, m.out, 1, 1};
    return state;
  }
  return shaped(adapters::lora_state<float>(matrix<float>(r, in), matrix<float>(m.out, r), o.scale(),
                                            c.get("lora_bias", false)
                                                ? std::vector<float>(static_cast<std::size_t>(m.out))
                                                : std::vector<float>{}));
}

/// The kept triplets of a module: rank_pattern lists them under "<module>.lora_E".
inline adapters::any_adapter adalora_of(const peft_config& c, const peft_module& m) {
  const auto start = c.get<index_t>("init_r", 12);
  index_t r = start;
  const auto found = c.fields().find("rank_pattern");
  if (found != c.fields().end() && found->is_object()) {
    const auto entry = found->find(m.name + ".lora_E");
    if (entry != found->end()) {
      const auto kept =
          json_as<std::vector<bool>>::from(*entry, concat(c.where(), ": rank_pattern of ", m.name));
      r = static_cast<index_t>(std::count(kept.begin(), kept.end(), true));
    }
  }
  const double scale = c.get("lora_alpha", 8.0) / (static_cast<double>(start) + 1e-5);
  return adapters::adalora_state<float>(matrix<float>(r, m.in), matrix<float>(r, 1), matrix<float>(m.out, r),
                                        scale);
}

inline adapters::any_adapter loha_of(const peft_config& c, const peft_module& m) {
  const index_t r = c.rank(m.name);
  const double scale = c.alpha(m.name, "alpha") / static_cast<double>(r);
  if (m.places() > 1 && c.get("use_effective_conv2d", false)) {
    const adapters::tucker<float> t{matrix<float>(r, r * m.places()), matrix<float>(r, m.out),
                                    matrix<float>(r, m.in)};
    return adapters::loha_state<float>({t, t}, m.kernel_rows, m.kernel_cols, scale);
  }
  const index_t in = m.in * m.places();
  return adapters::loha_state<float>(matrix<float>(m.out, r), matrix<float>(r, in), matrix<float>(m.out, r),
                                     matrix<float>(r, in), scale);
}

inline adapters::any_adapter lokr_of(const peft_config& c, const peft_module& m) {
  const adapters::lokr o{.rank = c.rank(m.name),
                         .alpha = c.alpha(m.name, "alpha"),
                         .factor = c.get<index_t>("decompose_factor", -1),
                         .decompose_both = c.get("decompose_both", false)};
  auto state =
      o.shape<float>(m.out, m.in, m.kernel_rows, m.kernel_cols, c.get("use_effective_conv2d", false));
  state.for_each_tensor([&](auto& p) {
    if (p.key == "lokr_w2" && m.kernel_rows > 0)
      p.shape = {p.value.rows(), p.value.cols() / m.places(), m.kernel_rows, m.kernel_cols};
  });
  return state;
}

inline adapters::any_adapter oft_of(const peft_config& c, const peft_module& m) {
  const adapters::oft o{.block_size = c.get<index_t>("oft_block_size", 32),
                        .blocks = c.get<index_t>("r", 0),
                        .neumann = c.get("use_cayley_neumann", true),
                        .terms = c.get("num_cayley_neumann_terms", 5),
                        .shared = c.get("block_share", false)};
  const index_t in = m.in * m.places();
  return adapters::oft_state<float>(m.out, in, o.block_for(in), {o.neumann, o.terms}, o.shared);
}

/// MiSS and Bone: `init_weights` tells the variant.
inline adapters::any_adapter miss_of(const peft_config& c, const peft_module& m, const char* key) {
  const index_t r = c.rank(m.name, "r", 64), in = m.in * m.places();
  const auto init = c.fields().find("init_weights");
  const std::string variant = init != c.fields().end() && init->is_string() ? init->get<std::string>() : "";
  require(variant.empty() || variant == "bat" || variant == "mini", c.where() + ": \"init_weights\"", variant,
          "true, false, bat or mini");
  if (variant == "bat") {
    require(m.out % r == 0 && in % r == 0, concat(c.where(), ": rank of ", m.name), r, "a divisor of ", m.out,
            " and ", in);
    return adapters::bat_state<float>(in, matrix<float>(m.out, r), key);
  }
  const index_t columns = variant == "mini" ? c.get<index_t>("mini_r", 1) : m.out;
  return adapters::bone_state<float>(m.out, in, matrix<float>(r, columns), key);
}

}  // namespace detail

/// The state of one module, of the shapes that its file must have, with zeros for values.
inline adapters::any_adapter make_peft_state(const peft_config& c, const peft_module& m,
                                             const peft_shared& shared) {
  const std::string type = c.type();
  require(m.kernel_rows == 0 || (type != "ADALORA" && type != "VERA" && type != "IA3" && type != "OFT" &&
                                 type != "MISS" && type != "BONE"),
          concat(c.where(), ": convolution ", m.name), type, "LORA, LOHA or LOKR");
  if (type == "LORA") return detail::lora_of(c, m);
  if (type == "ADALORA") return detail::adalora_of(c, m);
  if (type == "VERA") {
    const index_t r = shared.vera->a.rows();
    return adapters::vera_state<float>(shared.vera, m.out, m.in, matrix<float>(1, m.out),
                                       matrix<float>(1, r));
  }
  if (type == "LOHA") return detail::loha_of(c, m);
  if (type == "LOKR") return detail::lokr_of(c, m);
  if (type == "IA3") return adapters::ia3_state<float>(m.out, m.in, c.is_feedforward(m.name));
  if (type == "OFT") return detail::oft_of(c, m);
  if (type == "MISS") return detail::miss_of(c, m, "miss_block");
  if (type == "BONE") return detail::miss_of(c, m, "bone_block");
  std::string list;
  for (const auto t : peft_types) list += concat(list.empty() ? "" : ", ", t);
  fail(c.where() + ": \"peft_type\"", type, concat("one of ", list, suggestion(type, peft_types)));
}

/// The LoRA of an embedding table, with zeros for values.
inline adapters::lora_embedding<float> make_peft_embedding(const peft_config& c, const peft_module& m) {
  require(c.type() == "LORA" && !c.get("use_dora", false), concat(c.where(), ": embedding ", m.name),
          c.type(), "LORA without use_dora");
  const index_t r = c.rank(m.name);
  const adapters::lora o{.rank = r, .alpha = c.alpha(m.name), .rslora = c.get("use_rslora", false)};
  return {matrix<float>(r, m.in), matrix<float>(m.out, r), o.scale()};
}

namespace detail {

/// A whole number is written as one, as Python's configurations have it.
inline json number(double x) {
  if (x == std::floor(x) && std::abs(x) < 1e15) return static_cast<std::int64_t>(x);
  return x;
}
inline json fields_of(const adapters::lora& o) {
  return {{"peft_type", "LORA"},
          {"r", o.rank},
          {"lora_alpha", number(o.alpha)},
          {"use_rslora", o.rslora},
          {"use_dora", false},
          {"lora_bias", o.bias},
          {"lora_dropout", 0.0},
          {"fan_in_fan_out", false},
          {"init_lora_weights", true},
          {"rank_pattern", json::object()},
          {"alpha_pattern", json::object()}};
}
inline json fields_of(const adapters::dora& o) {
  json f = fields_of(adapters::lora{.rank = o.rank, .alpha = o.alpha, .rslora = o.rslora});
  f["use_dora"] = true;
  return f;
}
inline json fields_of(const adapters::adalora& o) {
  return {{"peft_type", "ADALORA"},
          {"init_r", o.rank},
          {"target_r", o.target_rank},
          {"tinit", o.warmup},
          {"tfinal", o.final_steps},
          {"deltaT", o.interval},
          {"total_step", o.total_steps},
          {"beta1", o.beta1},
          {"beta2", o.beta2},
          {"orth_reg_weight", o.orthogonality},
          {"lora_alpha", number(o.alpha)},
          {"lora_dropout", 0.0},
          {"fan_in_fan_out", false},
          {"rank_pattern", nullptr}};
}
inline json fields_of(const adapters::vera& o) {
  return {{"peft_type", "VERA"},      {"r", o.rank},
          {"d_initial", o.d_initial}, {"projection_prng_key", 0},
          {"save_projection", true},  {"vera_dropout", 0.0},
          {"fan_in_fan_out", false}};
}
inline json fields_of(const adapters::loha& o) {
  return {{"peft_type", "LOHA"},
          {"r", o.rank},
          {"alpha", number(o.alpha)},
          {"rank_dropout", 0.0},
          {"module_dropout", 0.0},
          {"use_effective_conv2d", false},
          {"rank_pattern", json::object()},
          {"alpha_pattern", json::object()}};
}
inline json fields_of(const adapters::lokr& o) {
  return {{"peft_type", "LOKR"},
          {"r", o.rank},
          {"alpha", number(o.alpha)},
          {"decompose_both", o.decompose_both},
          {"decompose_factor", o.factor},
          {"rank_dropout", 0.0},
          {"module_dropout", 0.0},
          {"use_effective_conv2d", false},
          {"rank_pattern", json::object()},
          {"alpha_pattern", json::object()}};
}
inline json fields_of(const adapters::ia3&) { return {{"peft_type", "IA3"}, {"fan_in_fan_out", false}}; }
inline json fields_of(const adapters::oft& o) {
  return {{"peft_type", "OFT"},
          {"r", o.blocks},
          {"oft_block_size", o.block_size},
          {"use_cayley_neumann", o.neumann},
          {"num_cayley_neumann_terms", o.terms},
          {"block_share", o.shared},
          {"coft", o.constrained},
          {"eps", o.eps},
          {"module_dropout", 0.0}};
}
inline json fields_of(const adapters::bone& o) {
  json f = {
      {"peft_type", "MISS"}, {"r", o.rank}, {"mini_r", std::max<index_t>(o.mini, 1)}, {"init_weights", true}};
  if (o.mini > 0) f["init_weights"] = "mini";
  return f;
}
inline json fields_of(const adapters::bat& o) {
  return {{"peft_type", "MISS"}, {"r", o.rank}, {"mini_r", 1}, {"init_weights", "bat"}};
}

}  // namespace detail

/// The configuration of a method for the modules whose names end with `targets`. IA3's feed-forward modules
/// are those of the list if the option is set.
template <class Method>
peft_config make_peft_config(const Method& method, const std::vector<std::string>& targets) {
  method.validate();
  json fields = detail::fields_of(method);
  fields["target_modules"] = targets;
  if constexpr (std::is_same_v<Method, adapters::ia3>)
    fields["feedforward_modules"] = method.feedforward ? json(targets) : json::array();
  return peft_config(std::move(fields));
}

}  // namespace tersor::io
