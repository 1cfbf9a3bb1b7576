// tersor - LoRA and rsLoRA: a low-rank product beside a frozen weight
// SPDX-License-Identifier: MIT
#pragma once

#include <array>    // std::array
#include <numeric>  // std::accumulate
#include <tuple>    // std::tuple

#include <tersor/adapters/rank_product.hpp>
#include <tersor/solve/stage.hpp>

namespace tersor::adapters {

/// How A starts; B is zero.
enum class lora_init {
  kaiming,  ///< U(±1 / √in), the official default
  gaussian  ///< N(0, 1 / r²)
};
constexpr auto option_names(lora_init) {
  using row = std::pair<std::string_view, lora_init>;
  return std::array<row, 2>{{{"kaiming", lora_init::kaiming}, {"gaussian", lora_init::gaussian}}};
}

/// The tensors of one layer: A [r, in], B [out, r], and a bias [out] at B's side where asked for, which is
/// scaled with the product. ΔW = s B A, Δb = s bias.
template <std::floating_point T = float>
class lora_state : public additive_state<lora_state<T>, T> {
 public:
  static constexpr std::string_view id = "lora";

  lora_state() = default;
  /// @param a [r, in]. @param b [out, r]. @param scale s. @param bias [out], or empty.
  lora_state(matrix<T> a, matrix<T> b, double scale, std::vector<T> bias = {})
      : additive_state<lora_state, T>(b.rows(), a.cols()), scale_(scale) {
    require(a.rows() > 0 && a.rows() == b.cols(), "lora: columns of B", b.cols(), a.rows(),
            ", the rows of A, and at least 1");
    require(bias.empty() || static_cast<index_t>(bias.size()) == b.rows(), "lora: size of the bias",
            bias.size(), b.rows());
    this->add_tensor({"lora_A.weight", parameter_kind::projection, std::move(a)});
    this->add_tensor({"lora_B.weight", parameter_kind::up_projection, std::move(b)});
    if (bias.empty()) return;
    const auto out = static_cast<index_t>(bias.size());
    matrix<T> row(1, out);
    std::ranges::copy(bias, row.values().begin());
    this->add_tensor({"lora_B.bias", parameter_kind::bias, {out}, std::move(row)});
  }

  index_t rank() const { return a().rows(); }
  double scale() const { return scale_; }
  void set_scale(double s) { scale_ = s; }
  const matrix<T>& a() const { return this->tensor(0).value; }
  const matrix<T>& b() const { return this->tensor(1).value; }
  bool has_bias() const { return this->tensors().size() > 2; }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    product().add(x, y, ctx);
    if (!has_bias()) return;
    const std::vector<T> bias = delta_bias();
    for (index_t t = 0; t < y.rows(); ++t)
      for (index_t o = 0; o < y.cols(); ++o) y(t, o) += bias[static_cast<std::size_t>(o)];
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    product().backward(x, gy, gx, {.a = &g[0], .b = &g[1]}, ctx);
    if (has_bias() && !g[2].empty())
      for (index_t t = 0; t < gy.rows(); ++t)
        for (index_t o = 0; o < gy.cols(); ++o) g[2](0, o) += static_cast<T>(scale_) * gy(t, o);
  }
  matrix<T> delta_weight(const context& ctx = {}) const { return product().dense(ctx); }
  std::vector<T> delta_bias() const {
    if (!has_bias()) return {};
    std::vector<T> bias(this->tensor(2).value.values().begin(), this->tensor(2).value.values().end());
    for (T& v : bias) v *= static_cast<T>(scale_);
    return bias;
  }
  rank_product<T> product() const {
    return {.scale = static_cast<T>(scale_), .a = a().view(), .b = b().view()};
  }

 private:
  double scale_ = 1;
};

/// LoRA (arXiv:2106.09685; official code microsoft/LoRA, layout of huggingface/peft) and rsLoRA
/// (arXiv:2312.03732): y = x Wᵀ + b + s (x Aᵀ) Bᵀ with W frozen, A [r, in], B [out, r], s = alpha / r, or
/// alpha / √r for rsLoRA, which keeps the size of the output independent of the rank. B starts at zero.
///
/// Cost: r (in + out) multiply-adds a token beside the base, twice that backward. Guarantee: the layer is
/// unchanged at the start; rank(ΔW) <= r. Stored: r (in + out) values.
///
///     auto adapter = tersor::adapters::lora{.rank = 8, .alpha = 16}.init(W, tersor::random_generator(1));
///     adapter.forward(W, x, y);                       // W: [out, in], a matrix or any operator
///     auto g = adapter.make_gradients();
///     adapter.backward(W, x, gy, gx, g);              // g[0]: of A, g[1]: of B
struct lora {
  index_t rank = 8;
  double alpha = 8;
  bool rslora = false;
  bool bias = false;
  lora_init start = lora_init::kaiming;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "lora",
                                              .family = "adapters",
                                              .title = "Low-rank adaptation",
                                              .arxiv = "2106.09685",
                                              .header = "tersor/adapters/lora.hpp",
                                              .guarantee = "identity at the start; rank of the change <= r"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &lora::rank, {.help = "inner dimension", .symbol = "r", .min = 1, .max = 65536}},
        option{"alpha", &lora::alpha, {.help = "scale times the rank", .symbol = "alpha", .min = 0}},
        option{"rslora", &lora::rslora, {.help = "divide alpha by the root of the rank"}},
        option{"bias", &lora::bias, {.help = "a trainable bias beside B"}},
        option{"start", &lora::start, {.help = "distribution of A"}},
        option{"value_type", &lora::value_type, {.help = "type in files"}}};
  }
  void validate() const {
    validate_options(*this, info.id);
    require(std::isfinite(alpha), "lora: alpha", alpha, "a finite number");
  }
  double scale() const {
    return alpha / (rslora ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank));
  }

  template <std::floating_point T = float>
  lora_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    validate();
    const index_t out = layer.rows(), in = layer.cols();
    matrix<T> a = start == lora_init::kaiming
                      ? detail::kaiming<T>(rank, in, random)
                      : detail::normal<T>(rank, in, 1.0 / static_cast<double>(rank), random);
    lora_state<T> state(std::move(a), matrix<T>(out, rank), scale(),
                        bias ? std::vector<T>(static_cast<std::size_t>(out)) : std::vector<T>{});
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = value_type; });
    return state;
  }
};

/// LoRA of an embedding table [vocabulary, dim]: row i gains s A[:, i]ᵀ Bᵀ, A [r, vocabulary], B [dim, r]. A
/// starts at zero and B at N(0, 1), so the table is unchanged at the start. Cost: r · dim a token.
template <std::floating_point T = float>
class lora_embedding {
 public:
  /// @param a [r, vocabulary]. @param b [dim, r].
  lora_embedding(matrix<T> a, matrix<T> b, double scale)
      : scale_(scale),
        tensors_{{"lora_embedding_A", parameter_kind::embedding, std::move(a)},
                 {"lora_embedding_B", parameter_kind::embedding, std::move(b)}} {
    require(this->a().rows() > 0 && this->a().rows() == this->b().cols(), "lora embedding: columns of B",
            this->b().cols(), this->a().rows(), ", the rows of A, and at least 1");
  }
  static lora_embedding init(const lora& options, index_t vocabulary, index_t dim, random_generator random) {
    options.validate();
    return {matrix<T>(options.rank, vocabulary), detail::normal<T>(dim, options.rank, 1.0, random),
            options.scale()};
  }

  const matrix<T>& a() const { return tensors_[0].value; }
  const matrix<T>& b() const { return tensors_[1].value; }
  std::span<parameter<T>> tensors() { return tensors_; }
  std::span<const parameter<T>> tensors() const { return tensors_; }
  index_t trainable_count() const { return tensors_[0].trainable_count() + tensors_[1].trainable_count(); }

  /// y [tokens, dim] = the rows `ids` of the table with the adapter.
  void forward(matrix_view<const T> table, std::span<const std::int32_t> ids, matrix_view<T> y,
               const context& ctx = {}) const {
    require_shape(table, a().cols(), b().rows(), "lora embedding: table");
    require_shape(y, static_cast<index_t>(ids.size()), b().rows(), "lora embedding: y");
    const matrix<T> h = columns(ids);
    for (index_t t = 0; t < y.rows(); ++t)
      for (index_t j = 0; j < y.cols(); ++j) y(t, j) = table(ids[static_cast<std::size_t>(t)], j);
    linalg::gemm<T>(static_cast<T>(scale_), h, b().view().transposed(), T(1), y, ctx);
  }
  /// Adds to g[0] of A and g[1] of B, where these are not empty.
  void backward(std::span<const std::int32_t> ids, matrix_view<const T> gy, gradients<T>& g,
                const context& ctx = {}) const {
    require_shape(gy, static_cast<index_t>(ids.size()), b().rows(), "lora embedding: gy");
    require(g.size() == 2, "lora embedding: gradients", g.size(), 2);
    const matrix<T> h = columns(ids);
    if (!g[1].empty()) linalg::gemm<T>(static_cast<T>(scale_), gy.transposed(), h, T(1), g[1], ctx);
    if (g[0].empty()) return;
    const matrix<T> gh = linalg::multiply(gy, b(), ctx);
    for (index_t t = 0; t < gh.rows(); ++t)
      for (index_t k = 0; k < gh.cols(); ++k)
        g[0](k, ids[static_cast<std::size_t>(t)]) += static_cast<T>(scale_) * gh(t, k);
  }
  /// What is added to the table [vocabulary, dim].
  matrix<T> delta_table(const context& ctx = {}) const {
    matrix<T> d(a().cols(), b().rows());
    linalg::gemm<T>(static_cast<T>(scale_), a().view().transposed(), b().view().transposed(), T(0), d, ctx);
    return d;
  }

 private:
  matrix<T> columns(std::span<const std::int32_t> ids) const {
    matrix<T> h(static_cast<index_t>(ids.size()), a().rows());
    for (index_t t = 0; t < h.rows(); ++t) {
      const index_t id = ids[static_cast<std::size_t>(t)];
      require(id >= 0 && id < a().cols(), concat("lora embedding: ids[", t, "]"), id, "0 .. ",
              a().cols() - 1);
      for (index_t k = 0; k < h.cols(); ++k) h(t, k) = a()(k, id);
    }
    return h;
  }
  double scale_;
  std::vector<parameter<T>> tensors_;
};

}  // namespace tersor::adapters
