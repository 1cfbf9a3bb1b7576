// tersor - optimizers: a projection of the gradient, an inner rule, a codec for the state
// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>       // std::pow, std::sqrt
#include <cstring>     // std::memcpy
#include <functional>  // std::function
#include <map>         // std::map
#include <set>         // std::set
#include <string>      // std::string
#include <tuple>       // std::tuple

#include <tersor/core/options.hpp>
#include <tersor/core/real_array.hpp>
#include <tersor/grad/parameter.hpp>
#include <tersor/grad/saved_tensor.hpp>

namespace tersor::grad {

/// A state tensor of a rule: its name, and its shape for a gradient of m x n.
struct state_slot {
  std::string_view name;
  index_t rows, cols;
};

/// A rule turns a gradient into a direction with the help of its state:
/// - `slots(m, n)`: the tensors it keeps for a gradient of m x n; they are zero at first;
/// - `direction(g, slots, t, out, ctx)`: fills out [m, n], and moves the slots, at the t-th update (t = 1, 2,
/// ...) of
///   this tensor. The optimizer then takes W <- W - rate (direction + decay W).
template <class Rule, class T>
concept update_rule = requires(const Rule& rule, const matrix<T>& g, std::span<matrix<T>> slots,
                               matrix<T>& out, const context& ctx) {
  { Rule::id } -> std::convertible_to<std::string_view>;
  { rule.slots(index_t{1}, index_t{1}) } -> std::convertible_to<std::vector<state_slot>>;
  rule.direction(g, slots, index_t{1}, out, ctx);
  rule.validate();
};

/// Gradient descent with momentum: m <- momentum m + g, direction m, or g + momentum m with Nesterov's look
/// ahead.
struct sgd {
  double momentum = 0;
  bool nesterov = false;

  static constexpr std::string_view id = "sgd";
  static constexpr auto options() {
    return std::tuple{option{"momentum",
                             &sgd::momentum,
                             {.help = "share of the last direction that is kept", .min = 0, .max = 1}},
                      option{"nesterov", &sgd::nesterov, {.help = "take the gradient of the next point"}}};
  }
  void validate() const { validate_options(*this, id); }

  std::vector<state_slot> slots(index_t m, index_t n) const {
    if (momentum == 0) return {};
    return {{"momentum", m, n}};
  }
  template <std::floating_point T>
  void direction(const matrix<T>& g, std::span<matrix<T>> slots, index_t, matrix<T>& out,
                 const context& ctx) const {
    if (slots.empty())
      return detail::map(
          g.size(), ctx, out.data(), [](T x) { return x; }, g.data());
    const T mu = static_cast<T>(momentum);
    T* m = slots[0].data();
    const T* last = m;
    detail::map(
        g.size(), ctx, m, [mu](T x, T u) { return mu * x + u; }, last, g.data());
    if (nesterov)
      detail::map(
          g.size(), ctx, out.data(), [mu](T x, T u) { return u + mu * x; }, last, g.data());
    else
      detail::map(
          g.size(), ctx, out.data(), [](T x) { return x; }, last);
  }
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101; Kingma and Ba,
/// arXiv:1412.6980): m <- β₁ m + (1 - β₁) g, v <- β₂ v + (1 - β₂) g², direction (m / (1 - β₁ᵗ)) / (sqrt(v /
/// (1 - β₂ᵗ)) + ε).
struct adamw {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;

  static constexpr std::string_view id = "adamw";
  static constexpr auto options() {
    return std::tuple{option{"beta1",
                             &adamw::beta1,
                             {.help = "decay of the mean of gradients", .symbol = "β₁", .min = 0, .max = 1}},
                      option{"beta2",
                             &adamw::beta2,
                             {.help = "decay of the mean of squares", .symbol = "β₂", .min = 0, .max = 1}},
                      option{"epsilon",
                             &adamw::epsilon,
                             {.help = "added to the root of the mean square", .symbol = "ε", .min = 0}}};
  }
  void validate() const {
    validate_options(*this, id);
    require(beta1 < 1, "adamw: beta1", beta1, "less than 1");
    require(beta2 < 1, "adamw: beta2", beta2, "less than 1");
  }

  std::vector<state_slot> slots(index_t m, index_t n) const {
    return {{"first moment", m, n}, {"second moment", m, n}};
  }
  template <std::floating_point T>
  void direction(const matrix<T>& g, std::span<matrix<T>> slots, index_t t, matrix<T>& out,
                 const context& ctx) const {
    const double step = static_cast<double>(t);
    const T b1 = static_cast<T>(beta1), c1 = static_cast<T>(1 - beta1), b2 = static_cast<T>(beta2),
            c2 = static_cast<T>(1 - beta2);
    const T first = static_cast<T>(1 / (1 - std::pow(beta1, step)));
    const T second = static_cast<T>(1 / std::sqrt(1 - std::pow(beta2, step)));
    const T eps = static_cast<T>(epsilon);
    T *m = slots[0].data(), *v = slots[1].data();
    const T *old_m = m, *old_v = v;
    parallel_chunks(g.size(), detail::grain, ctx, [&](index_t i, index_t end) {
      const index_t n = end - i;
      detail::map_row(
          n, m + i, [=](T x, T u) { return b1 * x + c1 * u; }, old_m + i, g.data() + i);
      detail::map_row(
          n, v + i, [=](T x, T u) { return b2 * x + c2 * u * u; }, old_v + i, g.data() + i);
      detail::map_row(
          n, out.data() + i, [=](T x, T y) { return x * first / (detail::square_root(y) * second + eps); },
          old_m + i, old_v + i);
    });
  }
};

/// A tensor of an exported state, as it is stored: `type` is "f32" or "f64" for rows x cols numbers,
/// "encoded" for what a codec wrote.
struct state_tensor {
  std::string name;  ///< parameter, then slot: "model.layers.0.mlp.up_proj.weight/second moment"
  std::string type;
  index_t rows = 0, cols = 0;
  std::vector<std::byte> bytes;
  friend bool operator==(const state_tensor&, const state_tensor&) = default;
};
/// The state of an optimizer as a value: to be written to a file, and read back.
struct optimizer_state {
  index_t steps = 0;
  std::vector<std::pair<std::string, index_t>> updates;  ///< of each parameter
  std::vector<state_tensor> tensors;
  friend bool operator==(const optimizer_state&, const optimizer_state&) = default;
};

namespace detail {

template <std::floating_point T>
constexpr std::string_view type_name() {
  return std::is_same_v<T, float> ? "f32" : "f64";
}
template <std::floating_point T>
state_tensor exported(std::string name, const matrix<T>& x) {
  state_tensor s{std::move(name), std::string(type_name<T>()), x.rows(), x.cols(), {}};
  s.bytes.resize(static_cast<std::size_t>(x.size()) * sizeof(T));
  if (!s.bytes.empty()) std::memcpy(s.bytes.data(), x.data(), s.bytes.size());
  return s;
}
template <std::floating_point T>
matrix<T> imported(const state_tensor& s) {
  require(s.type == type_name<T>(), concat(s.name, ": type"), s.type, type_name<T>());
  require(s.bytes.size() == static_cast<std::size_t>(s.rows * s.cols) * sizeof(T), concat(s.name, ": bytes"),
          s.bytes.size(), static_cast<std::size_t>(s.rows * s.cols) * sizeof(T));
  matrix<T> x(s.rows, s.cols);
  if (!s.bytes.empty()) std::memcpy(x.data(), s.bytes.data(), s.bytes.size());
  return x;
}

}  // namespace detail

/// Maps a gradient to a smaller one on which the rule works, and the rule's direction back (GaLore). One
/// object for each parameter; its tensors are part of the optimizer's state.
template <std::floating_point T>
class gradient_projection {
 public:
  virtual ~gradient_projection() = default;
  /// g [m, n] to what the rule sees, whose shape stays the same. @param t the number of this tensor's update,
  /// from 1.
  virtual matrix<T> project(const matrix<T>& g, index_t t, const context& ctx) = 0;
  /// A direction of the projected shape back to [m, n].
  virtual matrix<T> lift(const matrix<T>& direction, const context& ctx) const = 0;
  /// Its own state by name; `load` gets what `save` gave.
  virtual std::vector<std::pair<std::string, matrix<T>>> save() const { return {}; }
  virtual void load(const std::vector<std::pair<std::string, matrix<T>>>&) {}
};

/// When the decay W <- W - rate decay W is taken.
enum class decay_order {
  before,  ///< from the weights before the step, as AdamW
  after    ///< from those after it, as GaLore
};

/// Parameters that are trained alike.
template <std::floating_point T>
struct parameter_group {
  std::vector<parameter<T>*> parameters;
  double learning_rate = 1e-3;
  double weight_decay = 0;
  decay_order order = decay_order::before;
  /// Weights are rounded to this type after each step: f32 (as they are), bf16 or f16. That is how a model
  /// trains whose weights have no copy in single precision. One that leaves the range of f16 is an error that
  /// names its parameter; those before it have been moved then.
  dtype weight_type = dtype::f32;
  /// Stores the rule's state between steps; null: as it is.
  std::shared_ptr<const tensor_codec<T>> codec{};
  /// Makes the projection of a gradient of rows x cols; null: none.
  std::function<std::unique_ptr<gradient_projection<T>>(index_t rows, index_t cols)> projection{};
};

/// The norm of all gradients together; parameters without one count nothing.
template <std::floating_point T>
double gradient_norm(std::span<parameter<T>* const> parameters, const context& ctx = {}) {
  double squares = 0;
  for (const parameter<T>* p : parameters) {
    if (!p->has_gradient()) continue;
    const T* g = p->gradient().data();
    const auto sums =
        detail::sums_over_rows<double>(p->size(), 1, ctx, [&](index_t first, index_t last, double* partial) {
          partial[0] += detail::sum_row<T>(
              last - first, [](auto v) { return v * v; }, g + first);
        });
    squares += sums[0];
  }
  return std::sqrt(squares);
}
/// Scales all gradients by the same factor so that their norm is at most `max_norm`; returns the norm before.
/// A norm that is not finite is an error: clipping would hide it.
template <std::floating_point T>
double clip_gradients(std::span<parameter<T>* const> parameters, double max_norm, const context& ctx = {}) {
  require(max_norm > 0, "clip_gradients: max_norm", max_norm, "more than 0");
  const double norm = gradient_norm(parameters, ctx);
  if (!std::isfinite(norm))
    for (const parameter<T>* p : parameters)
      if (p->has_gradient()) tersor::require_finite(p->gradient().view(), concat("gradient of ", p->name));
  require(std::isfinite(norm), "clip_gradients: norm", norm, "a finite number");
  if (norm > max_norm)
    for (parameter<T>* p : parameters) p->scale_gradient(static_cast<T>(max_norm / norm), ctx);
  return norm;
}

/// Moves parameters along their gradients: W <- W - rate (lift(rule(project(G))) + decay W), where the rule's
/// state is kept behind a codec. Frozen elements are left out before all of that: the rule sees the others
/// only, packed; not a bit of a frozen weight changes, and no state is kept for it. A mask may change between
/// steps: elements that are frozen then lose their state, elements that are freed begin with a state of zero,
/// and a tensor that was frozen as a whole begins anew.
///
///     tersor::grad::optimizer<float> o(tersor::grad::adamw{}, {{.parameters = {&a}, .learning_rate = 1e-4},
///                                                              {.parameters = {&b}, .learning_rate =
///                                                              16e-4}});
///     ... tape.backward(loss);
///     tersor::grad::clip_gradients<float>(o.parameters(), 1.0);
///     o.step(schedule(o.steps() + 1));
///     o.clear_gradients();
///
/// Cost: a pass over weights, gradients and states. State: the slots of the rule for trainable elements.
template <std::floating_point T>
class optimizer {
 public:
  /// @param rule one of this header's, or any `update_rule`. @param groups no parameter twice, names all
  /// different; the parameters must outlive the optimizer.
  template <update_rule<T> Rule>
  optimizer(Rule rule, std::vector<parameter_group<T>> groups, context ctx = {})
      : groups_(std::move(groups)), ctx_(std::move(ctx)), rule_id_(Rule::id) {
    rule.validate();
    slots_ = [rule](index_t m, index_t n) { return rule.slots(m, n); };
    direction_ = [rule](const matrix<T>& g, std::span<matrix<T>> slots, index_t t, matrix<T>& out,
                        const context& c) { rule.direction(g, slots, t, out, c); };
    std::set<std::string> names;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const auto& group = groups_[g];
      require(group.learning_rate >= 0, concat("groups[", g, "].learning_rate"), group.learning_rate,
              "0 or more");
      require(group.weight_decay >= 0, concat("groups[", g, "].weight_decay"), group.weight_decay,
              "0 or more");
      require_wide_real(group.weight_type, concat("groups[", g, "].weight_type"));
      for (parameter<T>* p : group.parameters) {
        require(names.insert(p->name).second, "optimizer: parameter", p->name, "a name that no other has");
        parameters_.push_back(p);
        tensors_.push_back({p, g, p->frozen, 0, {}, nullptr});
      }
    }
  }

  const std::vector<parameter_group<T>>& groups() const { return groups_; }
  /// Changes a group's learning rate or decay between steps.
  parameter_group<T>& group(std::size_t i) { return groups_.at(i); }
  std::span<parameter<T>* const> parameters() const { return parameters_; }
  /// Updates so far.
  index_t steps() const { return steps_; }
  void clear_gradients() {
    for (parameter<T>* p : parameters_) p->clear_gradient();
  }

  /// Brings the state in line with masks that have changed, as the next `step` would.
  void follow_masks() {
    for (auto& t : tensors_) follow_mask(t);
  }
  /// One update. @param factor of every learning rate, from a schedule. A parameter without a gradient is not
  /// touched.
  void step(double factor = 1) {
    follow_masks();
    for (auto& t : tensors_)
      if (t.of->has_gradient() && !t.of->frozen.all()) update(t, factor);
    ++steps_;
  }

  /// Bytes of state that are kept, as the codecs store them.
  index_t state_bytes() const {
    index_t n = 0;
    for (const auto& t : tensors_)
      for (const auto& s : t.slots)
        n += s.encoded ? s.encoded->bytes() : memory_pool<T>::bytes(s.plain.rows(), s.plain.cols());
    return n;
  }

  /// All that the next steps depend on but the parameters.
  optimizer_state state() const {
    optimizer_state out;
    out.steps = steps_;
    for (const auto& t : tensors_) {
      out.updates.emplace_back(t.of->name, t.updates);
      for (const auto& s : t.slots) {
        std::string name = concat(t.of->name, "/", s.name);
        if (s.encoded)
          out.tensors.push_back({std::move(name), "encoded", s.rows, s.cols, s.encoded->save()});
        else
          out.tensors.push_back(detail::exported(std::move(name), s.plain));
      }
      if (t.projection)
        for (const auto& [name, x] : t.projection->save())
          out.tensors.push_back(detail::exported(concat(t.of->name, "/projection/", name), x));
    }
    return out;
  }
  /// Continues from a state of an optimizer with the same rule, groups and masks: the next steps are the same
  /// bits.
  void restore(const optimizer_state& saved) {
    std::map<std::string, const state_tensor*> by_name;
    for (const auto& s : saved.tensors) by_name[s.name] = &s;
    std::map<std::string, index_t> updates(saved.updates.begin(), saved.updates.end());
    std::vector<tensor> restored;  // an error leaves the optimizer as it was
    for (const auto& old : tensors_) {
      tensor& t = restored.emplace_back(tensor{old.of, old.group, old.of->frozen, 0, {}, nullptr});
      const auto known = updates.find(t.of->name);
      require(known != updates.end(), "optimizer state: parameter", t.of->name, "one that was saved");
      t.updates = known->second;
      if (t.updates == 0) continue;
      const std::string prefix = concat(t.of->name, "/projection/");
      std::vector<std::pair<std::string, matrix<T>>> projection;
      for (const auto& s : saved.tensors)
        if (s.name.starts_with(prefix))
          projection.emplace_back(s.name.substr(prefix.size()), detail::imported<T>(s));
      make_projection(t);
      if (t.projection) t.projection->load(projection);
      for (const auto& wanted : slots_(1, 1)) {
        const auto found = by_name.find(concat(t.of->name, "/", wanted.name));
        require(found != by_name.end(), "optimizer state: tensor", concat(t.of->name, "/", wanted.name),
                "one that was saved");
        const state_tensor& s = *found->second;
        slot made{wanted.name, s.rows, s.cols, {}, nullptr};
        if (s.type == "encoded") {
          const auto& codec = groups_[t.group].codec;
          require(codec != nullptr, concat(s.name, ": codec"), "none", "the one that it was saved with");
          made.encoded = codec->restore(s.bytes, s.rows, s.cols, {rule_id_, wanted.name});
        } else {
          made.plain = detail::imported<T>(s);
        }
        t.slots.push_back(std::move(made));
      }
    }
    tensors_ = std::move(restored);
    steps_ = saved.steps;
  }

 private:
  struct slot {
    std::string_view name;
    index_t rows, cols;
    matrix<T> plain;  // one of the two
    std::unique_ptr<encoded_tensor<T>> encoded;
  };
  struct tensor {
    parameter<T>* of;
    std::size_t group;
    freeze_mask mask;  // for which the slots are packed
    index_t updates;
    std::vector<slot> slots;
    std::unique_ptr<gradient_projection<T>> projection;
  };

  static matrix<T> take(slot& s) { return s.encoded ? s.encoded->decode() : std::move(s.plain); }
  void store(const tensor& t, slot& s, matrix<T> x) const {
    const auto& codec = groups_[t.group].codec;
    s.encoded = codec ? codec->encode(x, {rule_id_, s.name}) : nullptr;
    s.plain = s.encoded ? matrix<T>() : std::move(x);
  }
  void make_projection(tensor& t) const {
    const auto& make = groups_[t.group].projection;
    if (make && !t.projection) t.projection = make(t.mask.packed_rows(), t.mask.packed_cols());
  }

  static void forget(tensor& t) {
    t.slots.clear();
    t.updates = 0;
  }
  /// Drops the state of elements that have been frozen, and adds zeros for those that have been freed.
  void follow_mask(tensor& t) {
    const freeze_mask& mask = t.of->frozen;
    if (t.mask == mask) return;
    const freeze_mask before = std::exchange(t.mask, mask);
    t.projection = nullptr;  // of another shape
    if (mask.all()) return forget(t);
    for (auto& s : t.slots) {
      // A slot that is not element by element (row sums, a projected moment) cannot be cut: it begins anew.
      if (groups_[t.group].projection || s.rows != before.packed_rows() || s.cols != before.packed_cols())
        return forget(t);
      const matrix<T> packed = take(s);
      matrix<T> whole(mask.rows(), mask.cols());
      before.scatter(packed, whole);
      s.rows = mask.packed_rows();
      s.cols = mask.packed_cols();
      store(t, s, mask.gather(whole));
    }
  }

  void update(tensor& t, double factor) {
    parameter<T>& p = *t.of;
    const auto& group = groups_[t.group];
    const bool partial = !t.mask.none();
    const matrix<T> packed = partial ? t.mask.gather(p.gradient()) : matrix<T>();
    const matrix<T>& g = partial ? packed : p.gradient();
    ++t.updates;
    make_projection(t);
    const matrix<T> projected = t.projection ? t.projection->project(g, t.updates, ctx_) : matrix<T>();
    const matrix<T>& seen = t.projection ? projected : g;

    const auto wanted = slots_(seen.rows(), seen.cols());
    if (t.slots.empty())
      for (const auto& s : wanted)
        t.slots.push_back({s.name, s.rows, s.cols, matrix<T>(s.rows, s.cols), nullptr});
    std::vector<matrix<T>> state;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      require(t.slots[i].rows == wanted[i].rows && t.slots[i].cols == wanted[i].cols,
              concat(p.name, ": shape of ", wanted[i].name), concat(t.slots[i].rows, " x ", t.slots[i].cols),
              wanted[i].rows, " x ", wanted[i].cols);
      state.push_back(take(t.slots[i]));
    }
    matrix<T> direction(seen.rows(), seen.cols());
    direction_(seen, state, t.updates, direction, ctx_);
    for (std::size_t i = 0; i < state.size(); ++i) store(t, t.slots[i], std::move(state[i]));
    if (t.projection) direction = t.projection->lift(direction, ctx_);
    require_shape(direction.view(), g.rows(), g.cols(), concat(p.name, ": direction"));

    const double rate = group.learning_rate * factor, decay = rate * group.weight_decay;
    const T step = static_cast<T>(rate), keep = static_cast<T>(1 - decay);
    const bool first = group.order == decay_order::before;
    const auto move = [=](T w, T d) { return first ? w * keep - step * d : (w - step * d) * keep; };
    // Packed or not, the weights go the same way: whether others are frozen changes no bit of them.
    matrix<T> gathered = partial ? t.mask.gather(p.value) : matrix<T>();
    matrix<T>& w = partial ? gathered : p.value;
    detail::map(w.size(), ctx_, w.data(), move, std::as_const(w).data(), std::as_const(direction).data());
    if (group.weight_type != dtype::f32)
      for (T& x : w.values()) x = round_to(group.weight_type, static_cast<float>(x), p.name);
    if (partial) t.mask.scatter(gathered, p.value);
  }

  std::vector<parameter_group<T>> groups_;
  context ctx_;
  std::string_view rule_id_;
  std::function<std::vector<state_slot>(index_t, index_t)> slots_;
  std::function<void(const matrix<T>&, std::span<matrix<T>>, index_t, matrix<T>&, const context&)> direction_;
  std::vector<parameter<T>*> parameters_;
  std::vector<tensor> tensors_;
  index_t steps_ = 0;
};

}  // namespace tersor::grad
