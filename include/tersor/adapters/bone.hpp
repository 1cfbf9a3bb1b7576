// tersor - Bone and MiSS: one small block repeated along the inputs
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/adapters/lora.hpp>

namespace tersor::adapters {

/// The tensor of one layer: N [r, m], m = out, or a divisor of it that is repeated along the outputs. With
/// M[j, o] = N[j, o mod m], ΔW[o, a r + j] = M[j, o] for every chunk a of r inputs, the last one maybe short.
template <std::floating_point T = float>
class bone_state : public additive_state<bone_state<T>, T> {
 public:
  static constexpr std::string_view id = "bone";

  bone_state() = default;
  /// @param block [r, m]. @param key "miss_block", or "bone_block" in older files.
  bone_state(index_t out, index_t in, matrix<T> block, std::string key = "miss_block")
      : additive_state<bone_state, T>(out, in) {
    require(block.rows() > 0 && block.cols() > 0 && out % block.cols() == 0, "bone: columns of the block",
            block.cols(), "a divisor of ", out, ", the rows of the weight");
    this->add_tensor({std::move(key), parameter_kind::projection, std::move(block)});
  }

  index_t rank() const { return block().rows(); }
  const matrix<T>& block() const { return this->tensor(0).value; }

  void add_delta(matrix_view<const T> x, matrix_view<T> y, const context& ctx = {}) const {
    this->check_forward(x, y);
    linalg::gemm<T>(T(1), folded(x), wide(), T(1), y, ctx);
  }
  void add_backward(matrix_view<const T> x, matrix_view<const T> gy, matrix_view<T> gx, gradients<T>& g,
                    const context& ctx = {}) const {
    this->check_backward(x, gy, gx, g);
    if (!g[0].empty()) {
      const matrix<T> gm = linalg::multiply(folded(x).view().transposed(), gy, ctx);
      for (index_t j = 0; j < gm.rows(); ++j)
        for (index_t o = 0; o < gm.cols(); ++o) g[0](j, o % g[0].cols()) += gm(j, o);
    }
    if (gx.cols() == 0) return;
    const matrix<T> part = linalg::multiply(gy, wide().view().transposed(), ctx);
    for (index_t t = 0; t < gx.rows(); ++t)
      for (index_t i = 0; i < gx.cols(); ++i) gx(t, i) += part(t, i % rank());
  }
  matrix<T> delta_weight(const context& = {}) const {
    matrix<T> w(this->out_features(), this->in_features());
    for (index_t o = 0; o < w.rows(); ++o)
      for (index_t i = 0; i < w.cols(); ++i) w(o, i) = block()(i % rank(), o % block().cols());
    return w;
  }
  /// The same as a LoRA of scale 1: A picks the inputs of each place, B = Mᵀ.
  lora_state<T> as_lora() const {
    matrix<T> a(rank(), this->in_features());
    for (index_t i = 0; i < a.cols(); ++i) a(i % rank(), i) = T(1);
    lora_state<T> state(std::move(a), copy_as<T>(wide().view().transposed()), 1.0);
    state.for_each_tensor([&](parameter<T>& p) { p.stored_type = this->tensor(0).stored_type; });
    return state;
  }

 private:
  /// M [r, out].
  matrix<T> wide() const {
    matrix<T> m(rank(), this->out_features());
    for (index_t j = 0; j < m.rows(); ++j)
      for (index_t o = 0; o < m.cols(); ++o) m(j, o) = block()(j, o % block().cols());
    return m;
  }
  /// The sums of x over the chunks [tokens, r].
  matrix<T> folded(matrix_view<const T> x) const {
    matrix<T> sums(x.rows(), rank());
    for (index_t t = 0; t < x.rows(); ++t)
      for (index_t i = 0; i < x.cols(); ++i) sums(t, i % rank()) += x(t, i);
    return sums;
  }
};

/// Bone, today's MiSS (arXiv:2409.15371; official code JL-er/MiSS, layout of huggingface/peft): a block M
/// [r, out], zero at the start, is added to every chunk of r input columns of Wᵀ. No alpha: the scale is 1.
/// `mini` > 0 stores mini columns of M and repeats them.
///
/// Cost: in additions and r out multiply-adds a token, half of LoRA's. Guarantee: the layer is unchanged at
/// the start; rank(ΔW) <= r. Stored: r out values, or r · mini. Bat, the first published version, is
/// adapters/bat.hpp.
///
///     auto adapter = tersor::adapters::bone{.rank = 64}.init(W, tersor::random_generator(1));
///     adapter.forward(W, x, y);  // W: [out, in], x: [tokens, in]
struct bone {
  index_t rank = 64;
  index_t mini = 0;
  bool random_start = false;
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::adapter;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{.id = "bone",
                                              .family = "adapters",
                                              .title = "Matrix shard sharing",
                                              .arxiv = "2409.15371",
                                              .header = "tersor/adapters/bone.hpp",
                                              .guarantee = "identity at the start; rank of the change <= r"};
  static constexpr auto options() {
    return std::tuple{
        option{"rank", &bone::rank, {.help = "rows of the block", .symbol = "r", .min = 1, .max = 65536}},
        option{"mini", &bone::mini, {.help = "columns that are stored; 0: all", .symbol = "m", .min = 0}},
        option{"random_start", &bone::random_start, {.help = "start at random, not at zero"}},
        option{"value_type", &bone::value_type, {.help = "type in files"}}};
  }
  void validate() const { validate_options(*this, info.id); }

  template <std::floating_point T = float>
  bone_state<T> init(const layer_view<std::type_identity_t<T>>& layer, random_generator random) const {
    validate();
    const index_t cols = mini > 0 ? mini : layer.rows();
    require(cols <= layer.rows() && layer.rows() % cols == 0, "bone: mini", mini,  // before the memory
            "a divisor of the ", layer.rows(), " outputs");
    bone_state<T> state(layer.rows(), layer.cols(),
                        random_start ? detail::kaiming<T>(rank, cols, random) : matrix<T>(rank, cols));
    state.tensors()[0].stored_type = value_type;
    return state;
  }
};

}  // namespace tersor::adapters
