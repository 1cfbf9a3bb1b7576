// tersor - reverse-mode differentiation over matrices, recorded while the program runs
// SPDX-License-Identifier: MIT
#pragma once

#include <deque>             // std::deque
#include <functional>        // std::function
#include <initializer_list>  // std::initializer_list

#include <tersor/grad/parameter.hpp>
#include <tersor/grad/saved_tensor.hpp>

namespace tersor::grad {

template <scalar T>
class tape;
template <scalar T>
class variable;
template <scalar T>
class operation;
template <scalar T>
class backward_pass;

namespace detail {

template <scalar T>
struct checkpoint_access;

template <scalar T>
struct node {
  index_t rows = 0, cols = 0;
  index_t handles = 0;                     // variables that refer to it: with the last one, the value goes
  std::shared_ptr<const matrix<T>> value;  // may live on in saved tensors
  std::vector<index_t> inputs;
  std::function<void(backward_pass<T>&)> backward;
  buffer<T> gradient;
  parameter<T>* leaf = nullptr;  // gradients go there
  // The last encoding, which all that save this value for the same use share: q, k and v of one input.
  std::weak_ptr<const stored_tensor<T>> stored;
  tensor_use stored_for{};
  bool needs_gradient = false;
  bool keeps_gradient = false;
};

/// The nodes of a tape in the order in which they were computed.
template <scalar T>
struct graph {
  std::deque<node<T>> nodes;
  std::shared_ptr<memory_pool<T>> memory;
  std::shared_ptr<const tensor_codec<T>> codec;
  context ctx;
  bool recording = true;
  bool spent = false;  // a backward pass has run

  index_t add(std::shared_ptr<const matrix<T>> value, bool needs_gradient) {
    node<T>& n = nodes.emplace_back();
    n.rows = value->rows();
    n.cols = value->cols();
    n.value = std::move(value);
    n.needs_gradient = needs_gradient;
    return static_cast<index_t>(nodes.size()) - 1;
  }
  node<T>& at(index_t i) { return nodes[static_cast<std::size_t>(i)]; }

  void accumulate(index_t i, buffer<T> g) {
    node<T>& n = at(i);
    assert(g.rows() == n.rows && g.cols() == n.cols);
    if (n.leaf != nullptr) return n.leaf->accumulate(g.get(), ctx);
    if (!n.gradient) {
      n.gradient = std::move(g);
      return;
    }
    map(
        n.gradient.size(), ctx, n.gradient.data(), [](T a, T b) { return a + b; },
        std::as_const(n.gradient).data(), std::as_const(g).data());
  }
  /// Frees what only a backward pass would need, although variables may still refer to nodes.
  void release() {
    spent = true;
    for (auto& n : nodes) {
      n.backward = nullptr;
      if (n.handles == 0) n.gradient = {};
    }
  }
  void backward(index_t last) {
    spent = true;
    for (index_t i = last; i >= 0; --i) {
      node<T>& n = at(i);
      if (!n.backward) continue;
      // The function holds saved tensors: they go as soon as it has run.
      const auto function = std::exchange(n.backward, nullptr);
      if (!n.gradient) continue;
      backward_pass<T> pass(*this, i);
      function(pass);
    }
  }
};

}  // namespace detail

/// A matrix on a tape: a handle, cheap to copy. The value lives while a variable refers to it or the backward
/// pass needs it.
template <scalar T>
class variable {
 public:
  variable() = default;
  variable(const variable& other) : graph_(other.graph_), index_(other.index_) { hold(1); }
  variable(variable&& other) noexcept : graph_(std::move(other.graph_)), index_(other.index_) {}
  variable& operator=(variable other) noexcept {
    std::swap(graph_, other.graph_);
    std::swap(index_, other.index_);
    return *this;
  }
  ~variable() { hold(-1); }

  explicit operator bool() const { return graph_ != nullptr; }
  index_t rows() const { return node().rows; }
  index_t cols() const { return node().cols; }
  const matrix<T>& value() const { return *node().value; }
  /// The number in a 1 x 1 variable.
  T item() const {
    require(rows() == 1 && cols() == 1, "item: shape", concat(rows(), " x ", cols()), "1 x 1");
    return value()(0, 0);
  }
  /// Does it depend on an input or a parameter that is trained?
  bool needs_gradient() const { return node().needs_gradient; }
  /// Of an input, or of a variable that `keep_gradient` was called for: after the backward pass. Of a
  /// parameter see `parameter::gradient`.
  const matrix<T>& gradient() const {
    require(static_cast<bool>(node().gradient), "gradient of a variable", "none",
            "an input, or keep_gradient() before, and a backward pass that reaches it");
    return node().gradient.get();
  }
  bool has_gradient() const { return static_cast<bool>(node().gradient); }
  /// Lets `gradient` be read after the backward pass, which otherwise frees it.
  void keep_gradient() const { graph_->at(index_).keeps_gradient = true; }

 private:
  friend class tape<T>;
  friend class operation<T>;
  friend struct detail::checkpoint_access<T>;
  variable(std::shared_ptr<detail::graph<T>> g, index_t i) : graph_(std::move(g)), index_(i) { hold(1); }
  const detail::node<T>& node() const {
    require(graph_ != nullptr, "variable", "empty", "one made by a tape");
    return graph_->at(index_);
  }
  void hold(index_t n) noexcept {
    if (!graph_) return;
    auto& held = graph_->at(index_);
    held.handles += n;
    if (held.handles == 0) held.value = nullptr;
  }
  std::shared_ptr<detail::graph<T>> graph_;
  index_t index_ = 0;
};

/// Error that names `name` and the first element that is NaN or infinite: for the loss of a training step.
template <scalar T>
void require_finite(const variable<T>& x, std::string_view name) {
  tersor::require_finite(x.value().view(), name);
}

/// What the backward function of an operation works with: the gradient of the operation's result, and the way
/// to those of its inputs.
template <scalar T>
class backward_pass {
 public:
  backward_pass(detail::graph<T>& g, index_t i)
      : graph_(g), inputs_(g.at(i).inputs), gradient_(std::move(g.at(i).gradient)) {
    if (g.at(i).keeps_gradient) {
      g.at(i).gradient = make(gradient_.rows(), gradient_.cols());
      std::copy_n(gradient_.data(), gradient_.size(), g.at(i).gradient.data());
    }
  }

  const context& ctx() const { return graph_.ctx; }
  /// A matrix of the tape's memory, with unspecified elements.
  buffer<T> make(index_t rows, index_t cols) const { return {graph_.memory, rows, cols}; }
  /// Of the loss with respect to the result: [rows, cols] of the result.
  const matrix<T>& gradient() const { return gradient_.get(); }
  /// The same to be changed and passed on; `gradient()` is gone then.
  buffer<T> take_gradient() { return std::move(gradient_); }
  /// Is the gradient of this input wanted?
  bool needs(std::size_t input) const { return node(input).needs_gradient; }
  /// Adds to the gradient of an input, which has the input's shape; dropped if it is not wanted.
  void add(std::size_t input, buffer<T> g) {
    if (needs(input)) graph_.accumulate(inputs_[input], std::move(g));
  }
  void add(std::size_t input, matrix<T> g) {
    if (!needs(input)) return;
    require_shape(std::as_const(g).view(), node(input).rows, node(input).cols,
                  concat("gradient of input ", input));
    add(input, buffer<T>(graph_.memory, std::move(g)));
  }
  /// Adds alpha a b, without a matrix in between.
  void add_product(std::size_t input, real_of<T> alpha, matrix_view<const T> a, matrix_view<const T> b) {
    if (!needs(input)) return;
    auto& n = node(input);
    if (n.leaf != nullptr) return n.leaf->accumulate_product(alpha, a, b, ctx());
    const auto beta = n.gradient ? real_of<T>(1) : real_of<T>(0);
    if (!n.gradient) n.gradient = make(n.rows, n.cols);
    detail::product<T>(alpha, a, b, beta, n.gradient.view(), ctx());
  }
  /// Calls f(gradient, fresh) with the matrix to which the input's gradient is added. Where `fresh`, it holds
  /// nothing and all of it is to be overwritten.
  template <class F>
  void add_with(std::size_t input, const F& f) {
    if (!needs(input)) return;
    auto& n = node(input);
    if (n.leaf != nullptr) return n.leaf->accumulate_with(f);
    const bool fresh = !n.gradient;
    if (fresh) n.gradient = make(n.rows, n.cols);
    f(n.gradient.get(), fresh);
  }

 private:
  friend struct detail::checkpoint_access<T>;
  detail::node<T>& node(std::size_t input) const { return graph_.at(inputs_[input]); }

  detail::graph<T>& graph_;
  const std::vector<index_t>& inputs_;
  buffer<T> gradient_;
};

/// Reverse-mode differentiation over matrices. Operations on variables (grad/elementwise.hpp and its
/// neighbours) compute at once and record what their derivative needs; `backward` then walks back from a
/// scalar and adds to the gradients of the parameters. T is float, double, or a dual of one of them (for
/// Hessian-vector products).
///
///     tersor::grad::parameter<float> w("w", weights);           // [out, in]
///     tersor::grad::tape<float> tape;
///     auto x = tape.constant(inputs);                            // [tokens, in]
///     auto loss = mean(square(matmul_transposed(x, tape.use(w)) - tape.constant(targets)));
///     tape.backward(loss);                                       // w.gradient()
///     tape.clear();                                              // for the next step; memory is used again
///
/// A value is freed with the last variable that refers to it unless the backward pass needs it; saved tensors
/// and gradients are freed as the pass goes by them. Results are the same bits for any number of threads. A
/// tape is for one thread at a time; its loops are parallel inside.
template <scalar T>
class tape {
 public:
  /// @param codec how tensors are stored between forward and backward; null: as they are. Parameters never
  /// are encoded, they stay in memory anyway.
  explicit tape(const context& ctx = {}, std::shared_ptr<const tensor_codec<T>> codec = nullptr)
      : graph_(std::make_shared<detail::graph<T>>()) {
    graph_->memory = std::make_shared<memory_pool<T>>();
    graph_->codec = std::move(codec);
    graph_->ctx = ctx;
  }

  const context& ctx() const { return graph_->ctx; }
  memory_pool<T>& memory() { return *graph_->memory; }
  /// With recording off, nothing is kept for a backward pass: for evaluation.
  void set_recording(bool on) { graph_->recording = on; }
  bool is_recording() const { return graph_->recording; }
  /// Forgets everything that was recorded but keeps the memory to be used again. Variables made before stay
  /// readable, value and gradient.
  void clear() {
    graph_->release();
    auto next = std::make_shared<detail::graph<T>>();
    next->memory = graph_->memory;
    next->codec = graph_->codec;
    next->ctx = graph_->ctx;
    next->recording = graph_->recording;
    graph_ = std::move(next);
  }

  /// A matrix that has no gradient.
  variable<T> constant(matrix<T> x) { return leaf(std::move(x), false); }
  /// A matrix whose gradient can be read from the variable.
  variable<T> input(matrix<T> x) { return leaf(std::move(x), true); }
  /// A parameter, which must outlive the tape's use of it and keep its value until the backward pass is over.
  variable<T> use(parameter<T>& p) {
    const index_t i =
        graph_->add(std::shared_ptr<const matrix<T>>(std::shared_ptr<void>(), &p.value), !p.frozen.all());
    graph_->at(i).leaf = &p;
    return {graph_, i};
  }

  /// Adds the derivative of `loss`, a 1 x 1 variable, to the gradients of all it depends on. Once for each
  /// recording.
  void backward(const variable<T>& loss) {
    require(loss.rows() == 1 && loss.cols() == 1, "backward: shape of the loss",
            concat(loss.rows(), " x ", loss.cols()), "1 x 1");
    backward(loss, matrix<T>(1, 1, T(1)));
  }
  /// The same for any variable y and the gradient of a loss with respect to y: a vector-Jacobian product.
  void backward(const variable<T>& y, matrix<T> gradient) {
    require(y.graph_ == graph_, "backward: variable", "of another tape, or from before clear()",
            "one of this tape");
    require(!graph_->spent, "backward", "a second time", "a new recording, after clear()");
    require_shape(std::as_const(gradient).view(), y.rows(), y.cols(), "backward: gradient");
    if (!y.needs_gradient()) return;
    graph_->accumulate(y.index_, buffer<T>(graph_->memory, std::move(gradient)));
    graph_->backward(y.index_);
  }

 private:
  friend struct detail::checkpoint_access<T>;
  friend class operation<T>;

  explicit tape(std::shared_ptr<detail::graph<T>> g) : graph_(std::move(g)) {}
  variable<T> leaf(matrix<T> x, bool needs_gradient) {
    return {graph_, graph_->add(share(buffer<T>(graph_->memory, std::move(x))), needs_gradient)};
  }
  /// A tape for a part of this one: the same memory, codec and context.
  tape child(bool recording) const {
    tape t(std::make_shared<detail::graph<T>>());
    t.graph_->memory = graph_->memory;
    t.graph_->codec = graph_->codec;
    t.graph_->ctx = graph_->ctx;
    t.graph_->recording = recording;
    return t;
  }
  std::shared_ptr<detail::graph<T>> graph_;
};

/// An operation while it is computed: the way to write a new one.
///
///     template <scalar T>
///     variable<T> square(const variable<T>& x) {
///       operation<T> op("square", {x});
///       auto y = op.make(x.rows(), x.cols());
///       ...                                              // y from x.value()
///       if (!op.needs_gradient()) return op.result(std::move(y));
///       return op.result(std::move(y), [saved = op.save(0, "x")](backward_pass<T>& pass) {
///         const auto x = saved.load();                    // of the gradient in pass, 2 x times is x's
///         ...
///         pass.add(0, std::move(g));
///       });
///     }
template <scalar T>
class operation {
 public:
  /// @param name a literal; @param inputs not empty, all of one tape.
  operation(std::string_view name, std::vector<variable<T>> inputs)
      : name_(name), inputs_(std::move(inputs)) {
    require(!inputs_.empty(), concat(name, ": inputs"), "none", "one at least");
    for (const auto& x : inputs_) {
      require(static_cast<bool>(x), concat(name, ": variable"), "empty", "one made by a tape");
      require(x.graph_ == inputs_[0].graph_, concat(name, ": variable"),
              "of another tape, or from before clear()", "all of one tape");
      needs_gradient_ = needs_gradient_ || x.needs_gradient();
    }
  }

  std::string_view name() const { return name_; }
  const context& ctx() const { return graph().ctx; }
  /// A matrix of the tape's memory, with unspecified elements.
  buffer<T> make(index_t rows, index_t cols) const { return {graph().memory, rows, cols}; }
  /// A matrix that was made elsewhere as one of the tape's.
  buffer<T> adopt(matrix<T> x) const { return {graph().memory, std::move(x)}; }
  /// Must the backward function be recorded?
  bool needs_gradient() const { return needs_gradient_ && graph().recording; }
  /// Records a backward function even if no input needs a gradient: it has parameters of its own.
  void has_parameters() { needs_gradient_ = true; }
  /// `fail` unless the shapes of the inputs are right; `expected` says what they should be.
  template <class... Expected>
  void check(bool condition, const Expected&... expected) const {
    if (condition) [[likely]]
      return;
    std::string shapes;
    for (const auto& x : inputs_) shapes += concat(shapes.empty() ? "" : " and ", x.rows(), " x ", x.cols());
    fail(concat(name_, ": shapes"), shapes, concat(expected...));
  }

  /// Keeps an input for the backward pass, as the tape's codec stores it. @param tensor its name, a literal.
  saved_tensor<T> save(std::size_t input, std::string_view tensor) {
    const variable<T>& x = inputs_[input];
    auto& node = graph().at(x.index_);
    if (node.leaf != nullptr || !graph().codec) return saved_tensor<T>(node.value);
    const tensor_use use{name_, tensor};
    if (auto stored = node.stored.lock(); stored && node.stored_for == use) return saved_tensor<T>(stored);
    auto stored = encode(*node.value, use);
    if (!stored) return saved_tensor<T>(node.value);
    node.stored = stored;
    node.stored_for = use;
    return saved_tensor<T>(std::move(stored));
  }
  /// Keeps another tensor, in most cases the result.
  saved_tensor<T> save(std::shared_ptr<const matrix<T>> x, std::string_view tensor) {
    auto stored = graph().codec ? encode(*x, {name_, tensor}) : nullptr;
    return stored ? saved_tensor<T>(std::move(stored)) : saved_tensor<T>(std::move(x));
  }

  variable<T> result(buffer<T> y) { return result(share(std::move(y))); }
  variable<T> result(std::shared_ptr<const matrix<T>> y) {
    auto& g = graph();
    return {inputs_[0].graph_, g.add(std::move(y), needs_gradient_)};
  }
  /// The value of an input as a constant of the tape, without a copy.
  variable<T> constant(std::size_t input) {
    auto& g = graph();
    return {inputs_[input].graph_, g.add(g.at(inputs_[input].index_).value, false)};
  }
  /// @param backward called once with the gradient of y, in the order opposite to the recording.
  template <class Y, class Backward>
  variable<T> result(Y y, Backward backward) {
    variable<T> made = result(std::move(y));
    auto& node = graph().at(made.index_);
    node.backward = std::move(backward);
    for (const auto& x : inputs_) node.inputs.push_back(x.index_);
    return made;
  }

 private:
  detail::graph<T>& graph() const { return *inputs_[0].graph_; }
  std::shared_ptr<const detail::stored_tensor<T>> encode(const matrix<T>& x, const tensor_use& use) const {
    auto encoded = graph().codec->encode(x, use);
    if (!encoded) return nullptr;
    return std::make_shared<const detail::stored_tensor<T>>(std::move(encoded), graph().memory);
  }

  std::string_view name_;
  std::vector<variable<T>> inputs_;
  bool needs_gradient_ = false;
};

}  // namespace tersor::grad
