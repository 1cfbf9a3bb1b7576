// tersor - fine-tuning: adapters of a decoder's linear layers, trained on a text
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/any_adapter.hpp>
#include <tersor/core/random.hpp>
#include <tersor/grad/optimizer.hpp>
#include <tersor/grad/schedule.hpp>
#include <tersor/model/llama_graph.hpp>

namespace tersor::model {

/// Adapters of a model's linears by name.
using adapter_map = std::map<std::string, adapters::any_adapter>;

struct finetune_options {
  index_t steps = 200;   ///< updates of the whole run
  index_t batch = 8;     ///< random sequences per update
  index_t window = 512;  ///< tokens of a sequence
  double learning_rate = 1e-3;
  double up_ratio = 1;      ///< learning rate of up projections and vectors over the others (LoRA+)
  double weight_decay = 0;  ///< of matrices, decoupled
  double max_norm = 0;      ///< of all gradients together; 0: not clipped
  index_t warmup = 20;      ///< updates until the full learning rate
  grad::decay_form decay = grad::decay_form::linear;
  bool checkpoint = true;  ///< compute blocks again in the backward pass instead of keeping their activations

  void validate() const {
    require(steps >= 1, "finetune: steps", steps, "at least 1");
    require(batch >= 1, "finetune: batch", batch, "at least 1");
    require(window >= 2, "finetune: window", window, "at least 2");
    require(learning_rate >= 0 && std::isfinite(learning_rate), "finetune: learning_rate", learning_rate,
            "a finite number >= 0");
    require(up_ratio > 0 && std::isfinite(up_ratio), "finetune: up_ratio", up_ratio, "a finite number > 0");
    require(weight_decay >= 0, "finetune: weight_decay", weight_decay, "0 or more");
    require(max_norm >= 0, "finetune: max_norm", max_norm, "0 (not clipped) or more");
    require(warmup >= 0 && warmup < steps, "finetune: warmup", warmup, "0 .. ", steps - 1,
            ", fewer than the steps");
  }
};

/// What an interrupted run goes on from: with the same model, text and options the rest is the same bits.
struct finetune_state {
  index_t step = 0;
  grad::optimizer_state optimizer;
  std::vector<std::pair<std::string, matrix<float>>> tensors;  ///< of the adapters: "linear.key"
};

/// Trains adapters, the model itself staying as it is. One thread of control; loops inside are parallel, and
/// results are the same bits for any number of threads.
///
///     tersor::model::finetuner run(model, adapters, ids, {.learning_rate = 2e-3});
///     while (!run.done()) double loss = run.step();
///     // adapters now hold what was trained
class finetuner {
 public:
  /// Called after each update with the number of updates so far, before the masks are read again: for
  /// adapters whose budget or trainable part follows a schedule. It may change values and masks.
  using controller = std::function<void(index_t step, adapter_map& adapters,
                                        const std::map<std::string, adapters::gradients<float>>& gradients)>;

  /// @param adapters by the names of linears of `m`; they and `m` must outlive the run. @param ids the text,
  /// at least one window long.
  finetuner(const llama& m, adapter_map& adapters, std::vector<int> ids, finetune_options options,
            context ctx = {}, controller after_step = nullptr)
      : model_(m),
        adapters_(adapters),
        ids_(std::move(ids)),
        options_(options),
        ctx_(std::move(ctx)),
        after_step_(std::move(after_step)),
        graph_(m),
        tape_(ctx_) {
    options_.validate();
    require(static_cast<index_t>(ids_.size()) >= options_.window, "finetune: tokens of the text", ids_.size(),
            "at least one window of ", options_.window);
    require(!adapters_.empty(), "finetune: adapters", 0, "at least one");
    graph_.checkpoint_blocks(options_.checkpoint);
    schedule_ = {.form = options_.decay, .warmup = options_.warmup, .total = options_.steps};
    std::array<grad::parameter_group<float>, 2> groups;
    groups[0] = {
        .parameters = {}, .learning_rate = options_.learning_rate, .weight_decay = options_.weight_decay};
    groups[1] = {.parameters = {}, .learning_rate = options_.learning_rate * options_.up_ratio};
    for (auto& [name, adapter] : adapters_) {
      auto& mine = parameters_[name];
      for (auto& t : adapter.tensors()) {
        mine.push_back(std::make_unique<grad::parameter<float>>(concat(name, ".", t.key), t.value));
        const bool up = t.kind != adapters::parameter_kind::projection;
        groups[up ? 1 : 0].parameters.push_back(mine.back().get());
      }
      graph_.adapt(name, [this, name = name](const grad::variable<float>& x) { return layer(name, x); });
    }
    follow_masks();
    optimizer_.emplace(grad::adamw{}, std::vector(groups.begin(), groups.end()), ctx_);
  }
  finetuner(const finetuner&) = delete;
  finetuner& operator=(const finetuner&) = delete;

  index_t steps() const { return static_cast<index_t>(optimizer_->steps()); }
  bool done() const { return steps() >= options_.steps; }
  /// Elements that train now.
  index_t trainable_count() const {
    index_t n = 0;
    for (const auto& [name, adapter] : adapters_) n += adapter.trainable_count();
    return n;
  }
  /// Bytes that the tape holds at most: activations, gradients of activations and work space.
  index_t peak_bytes() { return tape_.memory().peak(); }

  /// One update; returns the loss before it. A loss or gradient that is not finite is an error that names the
  /// step and, where it can be found, the layer; the adapters then hold the last good values.
  double step() {
    require(!done(), "finetune: step", steps() + 1, "at most ", options_.steps);
    const auto number = concat("finetune: step ", steps() + 1);
    const auto batch = sample(steps());
    gradients_.clear();
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
    for (auto* p : optimizer_->parameters())
      if (p->has_gradient()) require_finite(p->gradient().view(), concat(number, ": gradient of ", p->name));
    if (options_.max_norm > 0) grad::clip_gradients<float>(optimizer_->parameters(), options_.max_norm, ctx_);
    optimizer_->step(schedule_(steps() + 1));
    write_back();
    if (after_step_) {
      after_step_(steps(), adapters_, gradients_);
      read_values();
      follow_masks();
    }
    return loss;
  }

  finetune_state state() const {
    finetune_state s{steps(), optimizer_->state(), {}};
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
    optimizer_->restore(s.optimizer);
    write_back();
  }

 private:
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
    const auto& adapter = adapters_.at(name);
    const auto& base = model_.linear(name);
    std::span<const float> bias;
    if (model_.has_vector(name + ".bias")) bias = model_.vector(name + ".bias");
    const adapters::layer_view<float> view(base, bias);
    matrix<float> y(x.rows(), base.rows());
    adapter.forward(view, x.value().view(), y.view(), ctx_);
    if (looking_for_) require_finite(y.view(), concat(*looking_for_, ": output of ", name));
    return grad::custom(
        x, std::move(y),
        [this, &name = adapters_.find(name)->first, view](const matrix<float>& in, const matrix<float>& gy) {
          const auto& a = adapters_.at(name);
          auto g = a.make_gradients();
          matrix<float> gx(in.rows(), in.cols());
          a.backward(view, in.view(), gy.view(), gx.view(), g, ctx_);
          auto& mine = parameters_.at(name);
          for (std::size_t i = 0; i < g.size(); ++i)
            if (!g[i].empty()) mine[i]->accumulate(g[i], ctx_);
          if (after_step_) gradients_[name] = std::move(g);
          return gx;
        });
  }
  void write_back() {
    for (auto& [name, adapter] : adapters_) {
      const auto& mine = parameters_.at(name);
      for (std::size_t i = 0; i < mine.size(); ++i) adapter.tensors()[i].value = mine[i]->value;
    }
  }
  void read_values() {
    for (const auto& [name, adapter] : adapters_)
      for (std::size_t i = 0; i < adapter.tensors().size(); ++i)
        parameters_.at(name)[i]->value = adapter.tensors()[i].value;
  }
  void follow_masks() {
    for (const auto& [name, adapter] : adapters_) {
      const auto& mine = parameters_.at(name);
      for (std::size_t i = 0; i < mine.size(); ++i) {
        const auto& t = adapter.tensors()[i];
        auto& mask = mine[i]->frozen;
        mask.unfreeze();
        if (!t.trains()) {
          mask.freeze_all();
        } else if (t.trainable_count() < t.size()) {
          matrix<std::uint8_t> frozen(t.value.rows(), t.value.cols());
          for (index_t r = 0; r < frozen.rows(); ++r)
            for (index_t c = 0; c < frozen.cols(); ++c) frozen(r, c) = t.frozen(r, c) ? 1 : 0;
          mask.freeze_elements(frozen);
        }
      }
    }
  }

  const llama& model_;
  adapter_map& adapters_;
  std::vector<int> ids_;
  finetune_options options_;
  context ctx_;
  controller after_step_;
  llama_graph graph_;
  grad::tape<float> tape_;
  grad::schedule schedule_;
  std::map<std::string, std::vector<std::unique_ptr<grad::parameter<float>>>> parameters_;
  std::map<std::string, adapters::gradients<float>> gradients_;  // of the last update, for a controller
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
