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

/// A tensor that the file has for a module.
struct peft_shape {
  std::string key;  ///< after the name of the module: "lora_A.weight"
  std::vector<index_t> shape;
};
using peft_shapes = std::vector<peft_shape>;

namespace detail {

inline matrix<float> zeros(const peft_shape& s) {
  index_t cols = 1;
  for (std::size_t k = 1; k < s.shape.size(); ++k) cols *= s.shape[k];
  return s.shape.size() == 1 ? matrix<float>(1, s.shape[0]) : matrix<float>(s.shape[0], cols);
}

/// Initializations that leave the base as it is. Of the others ("pissa", "olora", "corda", "lora_ga",
/// "loftq", and what is not known) A and B belong to a base from which PEFT has taken their start.
inline void require_unchanged_base(const peft_config& c) {
  const auto init = c.fields().find("init_lora_weights");
  if (init == c.fields().end() || !init->is_string()) return;
  const std::string start = init->get<std::string>();
  std::string lower = start;
  for (char& l : lower) l = static_cast<char>(l >= 'A' && l <= 'Z' ? l - 'A' + 'a' : l);
  for (const char* kept : {"gaussian", "eva", "orthogonal", "mica"})
    if (lower == kept) return;
  fail(c.where() + ": \"init_lora_weights\"", start,
       "true, false, gaussian, eva, orthogonal or mica: of other starts PEFT changes the base. Save the "
       "adapter for the unchanged base by save_pretrained(..., "
       "path_initial_model_for_weight_conversion=...), which "
       "writes true; or write true here if the base is the changed one, as that of loftq must be");
}

inline peft_shapes lora_shapes(const peft_config& c, const peft_module& m) {
  require_unchanged_base(c);
  const auto invocation = c.fields().find("alora_invocation_tokens");
  require(invocation == c.fields().end() || invocation->is_null(),
          c.where() + ": \"alora_invocation_tokens\"", "a list", "null: this LoRA works at every token");
  const index_t r = c.rank(m.name);
  const bool kernel = m.kernel_rows > 0, dora = c.get("use_dora", false);
  peft_shapes s{{"lora_A.weight", {r, m.in}}, {"lora_B.weight", {m.out, r}}};
  if (dora) s.push_back({"lora_magnitude_vector", {m.out}});
  if (!dora && c.get("lora_bias", false)) s.push_back({"lora_B.bias", {m.out}});
  if (!kernel) return s;
  s[0].shape = {r, m.in, m.kernel_rows, m.kernel_cols};
  s[1].shape = {m.out, r, 1, 1};
  if (dora) s[2].shape = {1, m.out, 1, 1};
  return s;
}
inline adapters::any_adapter lora_of(const peft_config& c, const peft_module& m, const peft_shapes& s,
                                     const peft_shared&) {
  const adapters::lora o{
      .rank = c.rank(m.name), .alpha = c.alpha(m.name), .rslora = c.get("use_rslora", false)};
  const std::vector<float> vector(s.size() > 2 ? static_cast<std::size_t>(m.out) : 0);
  if (c.get("use_dora", false))
    return adapters::dora_state<float>(zeros(s[0]), zeros(s[1]), vector, o.scale());
  return adapters::lora_state<float>(zeros(s[0]), zeros(s[1]), o.scale(), vector);
}

inline index_t adalora_start_rank(const peft_config& c) {
  const auto r = c.get<index_t>("init_r", 12);
  require(r >= 1, c.where() + ": \"init_r\"", r, "at least 1");
  return r;
}
/// Of the kept triplets of a module: rank_pattern lists them under "<module>.lora_E".
inline peft_shapes adalora_shapes(const peft_config& c, const peft_module& m) {
  index_t r = adalora_start_rank(c);
  const auto found = c.fields().find("rank_pattern");
  if (found != c.fields().end() && found->is_object()) {
    const auto entry = found->find(m.name + ".lora_E");
    if (entry != found->end()) {
      const auto kept =
          json_as<std::vector<bool>>::from(*entry, concat(c.where(), ": rank_pattern of ", m.name));
      r = static_cast<index_t>(std::count(kept.begin(), kept.end(), true));
    }
  }
  return {{"lora_A", {r, m.in}}, {"lora_E", {r, 1}}, {"lora_B", {m.out, r}}};
}
inline adapters::any_adapter adalora_of(const peft_config& c, const peft_module&, const peft_shapes& s,
                                        const peft_shared&) {
  const double scale = c.get("lora_alpha", 8.0) / (static_cast<double>(adalora_start_rank(c)) + 1e-5);
  return adapters::adalora_state<float>(zeros(s[0]), zeros(s[1]), zeros(s[2]), scale);
}

/// All modules have one rank, that of the shared pair.
inline index_t vera_rank(const peft_config& c) { return c.rank("", "r", 256); }
inline peft_shapes vera_shapes(const peft_config& c, const peft_module& m) {
  return {{"vera_lambda_b", {m.out}}, {"vera_lambda_d", {vera_rank(c)}}};
}
inline adapters::any_adapter vera_of(const peft_config&, const peft_module& m, const peft_shapes& s,
                                     const peft_shared& shared) {
  return adapters::vera_state<float>(shared.vera, m.out, m.in, zeros(s[0]), zeros(s[1]));
}

inline peft_shapes loha_shapes(const peft_config& c, const peft_module& m) {
  const index_t r = c.rank(m.name);
  if (m.places() > 1 && c.get("use_effective_conv2d", false)) {
    const std::vector<index_t> core{r, r, m.kernel_rows, m.kernel_cols};
    return {{"hada_w1_a", {r, m.out}}, {"hada_w1_b", {r, m.in}}, {"hada_t1", core},
            {"hada_w2_a", {r, m.out}}, {"hada_w2_b", {r, m.in}}, {"hada_t2", core}};
  }
  const index_t in = m.in * m.places();
  return {
      {"hada_w1_a", {m.out, r}}, {"hada_w1_b", {r, in}}, {"hada_w2_a", {m.out, r}}, {"hada_w2_b", {r, in}}};
}
inline adapters::any_adapter loha_of(const peft_config& c, const peft_module& m, const peft_shapes& s,
                                     const peft_shared&) {
  const double scale = c.alpha(m.name, "alpha") / static_cast<double>(c.rank(m.name));
  if (s.size() == 4)
    return adapters::loha_state<float>(zeros(s[0]), zeros(s[1]), zeros(s[2]), zeros(s[3]), scale);
  const adapters::tucker<float> t{zeros(s[2]), zeros(s[0]), zeros(s[1])};
  return adapters::loha_state<float>({t, t}, m.kernel_rows, m.kernel_cols, scale);
}

inline adapters::lokr_state<float> lokr_zeros(const peft_config& c, const peft_module& m) {
  const adapters::lokr o{.rank = c.rank(m.name),
                         .alpha = c.alpha(m.name, "alpha"),
                         .factor = c.get<index_t>("decompose_factor", -1),
                         .decompose_both = c.get("decompose_both", false)};
  return o.shape<float>(m.out, m.in, m.kernel_rows, m.kernel_cols, c.get("use_effective_conv2d", false));
}
/// From a state that is dropped again: whatever the rank, it has no more elements than the squares of the
/// module's extents.
inline peft_shapes lokr_shapes(const peft_config& c, const peft_module& m) {
  peft_shapes s;
  lokr_zeros(c, m).for_each_tensor([&](const auto& p) {
    s.push_back({p.key, p.shape});
    if (p.key == "lokr_w2" && m.kernel_rows > 0)
      s.back().shape = {p.value.rows(), p.value.cols() / m.places(), m.kernel_rows, m.kernel_cols};
  });
  return s;
}
inline adapters::any_adapter lokr_of(const peft_config& c, const peft_module& m, const peft_shapes&,
                                     const peft_shared&) {
  return lokr_zeros(c, m);
}

inline peft_shapes ia3_shapes(const peft_config& c, const peft_module& m) {
  if (c.is_feedforward(m.name)) return {{"ia3_l", {1, m.in}}};
  return {{"ia3_l", {m.out, 1}}};
}
inline adapters::any_adapter ia3_of(const peft_config& c, const peft_module& m, const peft_shapes&,
                                    const peft_shared&) {
  return adapters::ia3_state<float>(m.out, m.in, c.is_feedforward(m.name));
}

inline adapters::oft oft_options(const peft_config& c) {
  return {.block_size = c.get<index_t>("oft_block_size", 32),
          .blocks = c.get<index_t>("r", 0),
          .neumann = c.get("use_cayley_neumann", true),
          .terms = c.get("num_cayley_neumann_terms", 5),
          .shared = c.get("block_share", false)};
}
inline peft_shapes oft_shapes(const peft_config& c, const peft_module& m) {
  const auto o = oft_options(c);
  const index_t in = m.in * m.places(), block = o.block_for(in);
  return {{"oft_R.weight", {o.shared ? 1 : in / block, block * (block - 1) / 2}}};
}
inline adapters::any_adapter oft_of(const peft_config& c, const peft_module& m, const peft_shapes&,
                                    const peft_shared&) {
  const auto o = oft_options(c);
  const index_t in = m.in * m.places();
  return adapters::oft_state<float>(m.out, in, o.block_for(in), {o.neumann, o.terms}, o.shared);
}

/// Of MiSS and Bone: "", "bat" or "mini".
inline std::string miss_variant(const peft_config& c) {
  const auto init = c.fields().find("init_weights");
  std::string variant = init != c.fields().end() && init->is_string() ? init->get<std::string>() : "";
  require(variant.empty() || variant == "bat" || variant == "mini", c.where() + ": \"init_weights\"", variant,
          "true, false, bat or mini");
  return variant;
}
inline peft_shapes miss_shapes(const peft_config& c, const peft_module& m) {
  const char* key = c.type() == "BONE" ? "bone_block" : "miss_block";
  const index_t r = c.rank(m.name, "r", 64), in = m.in * m.places();
  const std::string variant = miss_variant(c);
  if (variant == "bat") {
    require(m.out % r == 0 && in % r == 0, concat(c.where(), ": rank of ", m.name), r, "a divisor of ", m.out,
            " and ", in);
    return {{key, {m.out / r, r, r}}};
  }
  if (variant != "mini") return {{key, {r, m.out}}};
  const auto columns = c.get<index_t>("mini_r", 1);
  require(columns >= 1 && m.out % columns == 0, c.where() + ": \"mini_r\"", columns, "a divisor of ", m.out,
          ", the rows of ", m.name);
  return {{key, {r, columns}}};
}
inline adapters::any_adapter miss_of(const peft_config& c, const peft_module& m, const peft_shapes& s,
                                     const peft_shared&) {
  const index_t in = m.in * m.places();
  if (miss_variant(c) != "bat") return adapters::bone_state<float>(m.out, in, zeros(s[0]), s[0].key);
  return adapters::bat_state<float>(in, matrix<float>(m.out, s[0].shape[1]), s[0].key);
}

struct peft_method {
  std::string_view type;
  peft_shapes (*shapes)(const peft_config&, const peft_module&);
  adapters::any_adapter (*zeros)(const peft_config&, const peft_module&, const peft_shapes&,
                                 const peft_shared&);
  bool convolutions = false;
};
inline const peft_method& peft_method_of(const peft_config& c, const peft_module& m) {
  static constexpr std::array<peft_method, 9> all{{{"LORA", lora_shapes, lora_of, true},
                                                   {"ADALORA", adalora_shapes, adalora_of},
                                                   {"VERA", vera_shapes, vera_of},
                                                   {"LOHA", loha_shapes, loha_of, true},
                                                   {"LOKR", lokr_shapes, lokr_of, true},
                                                   {"IA3", ia3_shapes, ia3_of},
                                                   {"OFT", oft_shapes, oft_of},
                                                   {"MISS", miss_shapes, miss_of},
                                                   {"BONE", miss_shapes, miss_of}}};
  const std::string type = c.type();
  for (const auto& method : all) {
    if (method.type != type) continue;
    require(m.kernel_rows == 0 || method.convolutions, concat(c.where(), ": convolution ", m.name), type,
            "LORA, LOHA or LOKR");
    return method;
  }
  std::string list;
  for (const auto t : peft_types) list += concat(list.empty() ? "" : ", ", t);
  fail(c.where() + ": \"peft_type\"", type, concat("one of ", list, suggestion(type, peft_types)));
}

inline peft_shapes embedding_shapes(const peft_config& c, const peft_module& m) {
  require(c.type() == "LORA" && !c.get("use_dora", false), concat(c.where(), ": embedding ", m.name),
          c.type(), "LORA without use_dora");
  require_unchanged_base(c);
  const index_t r = c.rank(m.name);
  return {{"lora_embedding_A", {r, m.in}}, {"lora_embedding_B", {m.out, r}}};
}

}  // namespace detail

/// The tensors that the file must have for a module, the LoRA of an embedding table included. Ranks are as
/// the configuration says, whatever the file holds, and cost no memory.
inline peft_shapes peft_shapes_of(const peft_config& c, const peft_module& m) {
  return m.embedding ? detail::embedding_shapes(c, m) : detail::peft_method_of(c, m).shapes(c, m);
}

/// The state of one module, of the shapes above, with zeros for values. Where the configuration comes with a
/// file, the shapes are to be compared with that first.
inline adapters::any_adapter make_peft_state(const peft_config& c, const peft_module& m,
                                             const peft_shared& shared) {
  const auto& method = detail::peft_method_of(c, m);
  const peft_shapes shapes = method.shapes(c, m);
  auto state = method.zeros(c, m, shapes, shared);
  for (std::size_t k = 0; k < shapes.size(); ++k) state.tensors()[k].shape = shapes[k].shape;
  return state;
}

/// The LoRA of an embedding table, with zeros for values.
inline adapters::lora_embedding<float> make_peft_embedding(const peft_config& c, const peft_module& m) {
  const peft_shapes s = detail::embedding_shapes(c, m);
  const adapters::lora o{
      .rank = c.rank(m.name), .alpha = c.alpha(m.name), .rslora = c.get("use_rslora", false)};
  return {detail::zeros(s[0]), detail::zeros(s[1]), o.scale()};
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
