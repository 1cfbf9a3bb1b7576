// tersor - fine-tuning on a text: adapters of a decoder's linear layers, or the weights themselves
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora_plus.hpp>
#include <tersor/adapters/training_rule.hpp>
#include <tersor/core/random.hpp>
#include <tersor/grad/optimizer.hpp>
#include <tersor/grad/schedule.hpp>
#include <tersor/model/llama_graph.hpp>

namespace tersor::model {

using adapters::adapter_map;

struct finetune_options {
  index_t steps = 200;   ///< updates of the whole run
  index_t batch = 8;     ///< random sequences per update
  index_t window = 512;  ///< tokens of a sequence
  double learning_rate = 1e-3;
  double up_ratio = 1;             ///< learning rate of up projections and vectors over the others (LoRA+)
  double weight_decay = 0;         ///< decoupled; biases and vectors of norms have none
  double max_norm = 0;             ///< of all gradients together; 0: not clipped
  index_t warmup = 20;             ///< updates until the full learning rate
  dtype weight_type = dtype::f32;  ///< what is trained is rounded to after each update: f32, bf16 or f16
  grad::decay_form decay = grad::decay_form::linear;
  bool checkpoint = true;  ///< compute blocks again in the backward pass instead of keeping their activations

  void validate() const {
    require(steps >= 1, "finetune: steps", steps, "at least 1");
    require(batch >= 1, "finetune: batch", batch, "at least 1");
    require(window >= 2, "finetune: window", window, "at least 2");
    constexpr index_t most_tokens = index_t{1} << 24;  // of a step, whose memory grows with them
    require(batch <= std::max<index_t>(most_tokens / window, 1), "finetune: batch", batch, "at most ",
            most_tokens, " tokens a step, in windows of ", window);
    require(learning_rate >= 0 && std::isfinite(learning_rate), "finetune: learning_rate", learning_rate,
            "a finite number >= 0");
    require(up_ratio >= 1 && std::isfinite(up_ratio), "finetune: up_ratio", up_ratio, "a finite number >= 1");
    require(weight_decay >= 0, "finetune: weight_decay", weight_decay, "0 or more");
    require(max_norm >= 0, "finetune: max_norm", max_norm, "0 (not clipped) or more");
    require_wide_real(weight_type, "finetune: weight_type");
    require(warmup >= 0 && warmup < steps, "finetune: warmup", warmup, "0 .. ", steps - 1,
            ", fewer than the steps");
  }
};

/// What an interrupted run goes on from: with the same model, text and options the rest is the same bits.
struct finetune_state {
  grad::optimizer_state optimizer;                             ///< with the updates so far
  std::vector<std::pair<std::string, matrix<float>>> tensors;  ///< that are trained: "linear.key", "weight"
  adapters::rule_state rule;
};

/// Trains adapters, the model itself staying as it is, or tensors of the model. One thread of control; loops
/// inside are parallel, and results are the same bits for any number of threads.
///
///     tersor::model::finetuner run(model, adapters, ids, {.learning_rate = 2e-3});
///     while (!run.done()) double loss = run.step();
///     // adapters now hold what was trained
class finetuner {
 public:
  /// @param adapters by the names of linears of `m`; they and `m` must outlive the run. @param ids the text,
  /// at least one window long. @param rule of a method with a penalty or a schedule.
  finetuner(const llama& m, adapter_map& adapters, std::vector<int> ids, finetune_options options,
            context ctx = {}, std::shared_ptr<adapters::training_rule> rule = nullptr)
      : finetuner(m, std::move(ids), options, std::move(ctx)) {
    require(!adapters.empty(), "finetune: adapters", 0, "at least one");
    adapters_ = &adapters;
    rule_ = std::move(rule);
    for (auto& [name, adapter] : adapters) {
      for (auto& t : adapter.tensors()) add(name, concat(name, ".", t.key), t.value, t.kind);
      graph_.adapt(name, [this, name = name](const grad::variable<float>& x) { return layer(name, x); });
    }
    follow_masks();
    start();
  }
  /// @param tensors of `m` to train, by the names of `llama_graph::tensor_names`. `m` stays as it is:
  /// `store_weights` puts what was trained into a model.
  finetuner(const llama& m, const std::vector<std::string>& tensors, std::vector<int> ids,
            finetune_options options, context ctx = {})
      : finetuner(m, std::move(ids), options, std::move(ctx)) {
    require(!tensors.empty(), "finetune: tensors", 0, "at least one");
    for (const auto& name : tensors) {
      const bool vector = m.has_vector(name);
      const auto kind = vector ? adapters::parameter_kind::bias : adapters::parameter_kind::projection;
      graph_.train(name, add(name, name, graph_.value(name), kind));
    }
    start();
  }
  finetuner(const finetuner&) = delete;
  finetuner& operator=(const finetuner&) = delete;

  index_t steps() const { return static_cast<index_t>(optimizer_->steps()); }
  bool done() const { return steps() >= options_.steps; }
  /// Elements that train now.
  index_t trainable_count() const {
    index_t n = 0;
    for (const auto* p : optimizer_->parameters()) n += p->frozen.trainable_count();
    return n;
  }
  /// Bytes that the tape holds at most: activations, gradients of activations and work space.
  index_t peak_bytes() { return tape_.memory().peak(); }
  /// Bytes of the optimizer's state.
  index_t optimizer_bytes() const { return optimizer_->state_bytes(); }

  /// One update; returns the loss before it, without the method's penalty. A loss or gradient that is not
  /// finite is an error that names the step and, where it can be found, the layer; the adapters then hold the
  /// last good values.
  double step() {
    require(!done(), "finetune: step", steps() + 1, "at most ", options_.steps);
    const auto number = concat("finetune: step ", steps() + 1);
    const auto batch = sample(steps());
    optimizer_->clear_gradients();
    double loss = 0;
    {
      const auto l = graph_.loss(tape_, batch, options_.window);
      loss = static_cast<double>(l.value()(0, 0));
      if (!std::isfinite(loss)) {
        tape_.clear();
        looking_for_ = &number;
        (void)graph_.loss(tape_, batch, options_.window);  // throws where the first value is not finite
        fail(concat(number, ": loss"), loss, "a finite number");
      }
      tape_.backward(l);
    }
    tape_.clear();
    if (rule_)
      for (const auto& [name, g] : rule_->penalty_gradients(*adapters_, ctx_)) accumulate(name, g);
    for (auto* p : optimizer_->parameters())
      if (p->has_gradient()) require_finite(p->gradient().view(), concat(number, ": gradient of ", p->name));
    if (options_.max_norm > 0) grad::clip_gradients<float>(optimizer_->parameters(), options_.max_norm, ctx_);
    optimizer_->step(schedule_(steps() + 1));
    write_back();
    if (rule_) {
      rule_->after_step(steps(), *adapters_, gradients());
      read_values();
      follow_masks();
      optimizer_->follow_masks();  // so that a saved state is packed by the masks it is restored with
    }
    return loss;
  }

  /// Puts the tensors that were trained into a model of the same shapes.
  void store_weights(llama& m) const {
    require(adapters_ == nullptr, "finetune: store_weights", "a run of adapters",
            "one of the model's tensors");
    for (const auto& [name, mine] : parameters_) llama_graph::store(m, name, mine.front()->value);
  }

  finetune_state state() const {
    finetune_state s{optimizer_->state(), {}, rule_ ? rule_->save(*adapters_) : adapters::rule_state{}};
    for (const auto& [name, mine] : parameters_)
      for (const auto& p : mine) s.tensors.emplace_back(p->name, p->value);
    return s;
  }
  void restore(const finetune_state& s) {
    std::map<std::string, const matrix<float>*> values;
    for (const auto& [name, value] : s.tensors) values[name] = &value;
    for (auto& [name, mine] : parameters_)
      for (auto& p : mine) {
        const auto found = values.find(p->name);
        require(found != values.end(), "finetune: saved tensor", p->name, "one of the saved run");
        require_shape(found->second->view(), p->rows(), p->cols(), concat("finetune: saved ", p->name));
        p->value = *found->second;
      }
    write_back();
    if (rule_) {
      rule_->restore(s.optimizer.steps, s.rule, *adapters_);
      follow_masks();
    }
    optimizer_->restore(s.optimizer);  // its tensors are packed by the masks
  }

 private:
  finetuner(const llama& m, std::vector<int> ids, finetune_options options, context ctx)
      : model_(m),
        ids_(std::move(ids)),
        options_(options),
        ctx_(std::move(ctx)),
        schedule_{.form = options.decay, .warmup = options.warmup, .total = options.steps},
        graph_(m),
        tape_(ctx_) {
    options_.validate();
    require(static_cast<index_t>(ids_.size()) >= options_.window, "finetune: tokens of the text", ids_.size(),
            "at least one window of ", options_.window);
    graph_.checkpoint_blocks(options_.checkpoint);
  }
  grad::parameter<float>& add(const std::string& owner, std::string name, matrix<float> value,
                              adapters::parameter_kind kind) {
    auto& mine = parameters_[owner];
    mine.push_back(std::make_unique<grad::parameter<float>>(std::move(name), std::move(value)));
    const auto [rate, decay] = adapters::lora_plus{.learning_rate = options_.learning_rate,
                                                   .ratio = options_.up_ratio,
                                                   .weight_decay = options_.weight_decay}
                                   .group_of(kind);
    auto group = std::ranges::find_if(groups_, [rate = rate, decay = decay](const auto& g) {
      return g.learning_rate == rate && g.weight_decay == decay;
    });
    if (group == groups_.end())
      group = groups_.insert(group, {.parameters = {},
                                     .learning_rate = rate,
                                     .weight_decay = decay,
                                     .weight_type = options_.weight_type});
    group->parameters.push_back(mine.back().get());
    return *mine.back();
  }
  void start() { optimizer_.emplace(grad::adamw{}, std::move(groups_), ctx_); }

  /// The sequences of an update, which depend on its number and the seed alone.
  std::vector<int> sample(index_t step) const {
    auto random = random_generator(ctx_.seed).fork(static_cast<std::uint64_t>(step));
    std::vector<int> batch;
    batch.reserve(static_cast<std::size_t>(options_.batch * options_.window));
    const auto starts = ids_.size() - static_cast<std::size_t>(options_.window) + 1;
    for (index_t b = 0; b < options_.batch; ++b) {
      const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(random.uniform_index(starts));
      batch.insert(batch.end(), first, first + options_.window);
    }
    return batch;
  }
  grad::variable<float> layer(const std::string& name, const grad::variable<float>& x) {
    const auto& adapter = adapters_->at(name);
    const auto& base = model_.linear(name);
    std::span<const float> bias;
    if (model_.has_vector(name + ".bias")) bias = model_.vector(name + ".bias");
    const adapters::layer_view<float> view(base, bias);
    matrix<float> y(x.rows(), base.rows());
    adapter.forward(view, x.value().view(), y.view(), ctx_);
    if (looking_for_) require_finite(y.view(), concat(*looking_for_, ": output of ", name));
    return grad::custom(
        x, std::move(y),
        [this, &name = adapters_->find(name)->first, view](const matrix<float>& in, const matrix<float>& gy) {
          const auto& a = adapters_->at(name);
          auto g = a.make_gradients();
          matrix<float> gx(in.rows(), in.cols());
          a.backward(view, in.view(), gy.view(), gx.view(), g, ctx_);
          accumulate(name, g);
          return gx;
        });
  }
  void accumulate(const std::string& name, const adapters::gradients<float>& g) {
    auto& mine = parameters_.at(name);
    for (std::size_t i = 0; i < g.size(); ++i)
      if (!g[i].empty()) mine[i]->accumulate(g[i], ctx_);
  }
  adapters::gradient_map gradients() const {
    adapters::gradient_map all;
    for (const auto& [name, mine] : parameters_)
      for (const auto& p : mine) all[name].push_back(p->has_gradient() ? p->gradient() : matrix<float>());
    return all;
  }
  void write_back() {
    if (!adapters_) return;
    for (auto& [name, adapter] : *adapters_)
      for (std::size_t i = 0; i < adapter.tensors().size(); ++i)
        adapter.tensors()[i].value = parameters_.at(name)[i]->value;
  }
  void read_values() {
    for (const auto& [name, adapter] : *adapters_)
      for (std::size_t i = 0; i < adapter.tensors().size(); ++i)
        parameters_.at(name)[i]->value = adapter.tensors()[i].value;
  }
  void follow_masks() {
    for (const auto& [name, adapter] : *adapters_)
      for (std::size_t i = 0; i < adapter.tensors().size(); ++i)
        parameters_.at(name)[i]->frozen = adapter.tensors()[i].frozen;
  }

  const llama& model_;
  adapter_map* adapters_ = nullptr;  // null: tensors of the model are trained
  std::vector<int> ids_;
  finetune_options options_;
  context ctx_;
  std::shared_ptr<adapters::training_rule> rule_;
  grad::schedule schedule_;
  llama_graph graph_;
  grad::tape<float> tape_;
  std::map<std::string, std::vector<std::unique_ptr<grad::parameter<float>>>> parameters_;
  std::vector<grad::parameter_group<float>> groups_;  // until the start
  std::optional<grad::optimizer<float>> optimizer_;
  const std::string* looking_for_ = nullptr;  // the step whose loss was not finite
};

/// A linear layer with its adapter, in a model's operator slot. The bias, if the adapter changes it, is the
/// caller's business.
class adapted_linear {
 public:
  adapted_linear(op::any_operator base, adapters::any_adapter adapter)
      : base_(std::move(base)), adapter_(std::move(adapter)) {
    require(adapter_.out_features() == base_.rows() && adapter_.in_features() == base_.cols(),
            "adapter: layer", concat(base_.rows(), " x ", base_.cols()), adapter_.out_features(), " x ",
            adapter_.in_features());
  }
  index_t rows() const { return base_.rows(); }
  index_t cols() const { return base_.cols(); }
  static constexpr std::string_view kind() { return "adapted_linear"; }
  const op::any_operator& base() const { return base_; }
  const adapters::any_adapter& adapter() const { return adapter_; }

  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    adapter_.forward(adapters::layer_view<float>(base_), x, y, ctx);
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    linalg::gemm<float>(1.0F, x, to_dense().view(), 0.0F, y, ctx);
  }
  matrix<float> to_dense() const { return adapter_.effective({base_.to_dense(), {}}).weight; }
  void save(op::archive_writer&) const {
    fail("adapter", adapter_.id(), "a merged layer: adapters are saved in folders of their own");
  }

 private:
  op::any_operator base_;
  adapters::any_adapter adapter_;
};

/// Puts adapters into the slots of a model, unmerged; biases that they change are changed. A bias of the
/// adapter's own (LoRA's) is added by its slot.
inline void attach(llama& m, const adapter_map& adapters) {
  for (const auto& [name, adapter] : adapters) {
    const std::string bias = name + ".bias";
    if (m.has_vector(bias)) {
      const auto weight = m.linear(name).to_dense();
      auto changed = adapter.effective({weight, m.vector(bias)}).bias;
      const auto own = adapter.effective({weight, {}}).bias;
      for (std::size_t o = 0; o < own.size(); ++o) changed[o] -= own[o];
      m.set_vector(bias, std::move(changed));
    }
    m.set_linear(name, adapted_linear(m.linear(name), adapter));
  }
}

}  // namespace tersor::model
