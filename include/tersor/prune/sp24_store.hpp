// tersor - 2:4 compressed storage: the codec as a stage, and to and from operators
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/prune/sp24_codec.hpp>
#include <tersor/solve/stage.hpp>
#include <tersor/solve/update.hpp>

namespace tersor::prune {

using solve::operator|;
using solve::operator+;

/// The entries that m stores, [rows, cols], 1 = stored.
template <class T>
matrix<std::uint8_t> sp24_kept(const sp24_matrix<T>& m) {
  matrix<std::uint8_t> kept(m.rows, m.cols);
  for (index_t r = 0; r < m.rows; ++r)
    for (index_t g = 0; g < m.groups(); ++g) {
      kept(r, 4 * g + (m.code(r, g) & 3)) = 1;
      kept(r, 4 * g + (m.code(r, g) >> 2)) = 1;
    }
  return kept;
}

/// The 2:4 operator of m, values stored as `value_type`.
template <class T>
op::sparse_nm to_operator(const sp24_matrix<T>& m, dtype value_type = dtype::f32) {
  std::vector<float> values;
  for (const T& v : m.values) values.push_back(static_cast<float>(v));
  return {2, 4, sp24_kept(m), op::element_store(store_as(value_type, values))};
}
/// The 2:4 operator of 8-bit values, w = scale[row] * value, stored as 8-bit codes. @param scale [rows].
inline op::sparse_nm to_operator(const sp24_matrix<std::int8_t>& m, std::span<const float> scale,
                                 dtype scale_type = dtype::f32) {
  require(static_cast<index_t>(scale.size()) == m.rows, "to_operator: scales", scale.size(), m.rows);
  const matrix<float> zero(m.rows, 1, 128.0F);
  std::vector<std::uint8_t> codes;
  for (const std::int8_t v : m.values) codes.push_back(static_cast<std::uint8_t>(v + 128));
  op::affine_grid grid(8, m.rows, m.cols, m.cols, matrix_view<const float>(scale.data(), {m.rows, 1}),
                       zero.view(), scale_type);
  return {2, 4, sp24_kept(m), op::element_store(codes, std::move(grid))};
}

namespace detail {

/// The portable form of a 2:4 operator; `convert(row, columns, values)` gives a row's values as T.
template <class T, class Convert>
sp24_matrix<T> sp24_from_operator(const op::sparse_nm& op, const Convert& convert) {
  require(op.n() == 2 && op.m() == 4, "to_sp24: pattern", concat(op.n(), ":", op.m()), "2:4");
  require(op.cols() % 4 == 0, "to_sp24: columns", op.cols(), "a multiple of 4");
  sp24_matrix<T> m{op.rows(), op.cols(), {}, {}};
  m.codes.resize(static_cast<std::size_t>(m.rows * m.row_bytes()));
  std::vector<float> row(static_cast<std::size_t>(op.kept_per_row()));
  for (index_t r = 0; r < m.rows; ++r) {
    const auto columns = op.columns(r);
    op.values().read(r * op.kept_per_row(), r, columns, row);
    const std::vector<T> values = convert(r, columns, row);
    m.values.insert(m.values.end(), values.begin(), values.end());
    for (index_t g = 0; g < m.groups(); ++g) {
      const auto* c = columns.data() + 2 * g;
      m.set_code(r, g, c[0] % 4 | c[1] % 4 << 2);
    }
  }
  return m;
}

}  // namespace detail

/// The portable form of a 2:4 operator: the same positions, values decoded.
inline sp24_matrix<float> to_sp24(const op::sparse_nm& op) {
  return detail::sp24_from_operator<float>(
      op, [](index_t, const auto&, const std::vector<float>& values) { return values; });
}
/// The portable form of a quantized 2:4 operator, values as signed integers, code - zero point: w = scale *
/// value with the scales of `op.values().grid()`. Error if the operator holds reals, or where a value is
/// outside -128 .. 127.
inline sp24_matrix<std::int8_t> to_sp24_int8(const op::sparse_nm& op) {
  require(op.values().is_quantized(), "to_sp24_int8: values", "reals", "codes on a grid");
  const op::affine_grid& grid = op.values().grid();
  std::vector<float> scale(static_cast<std::size_t>(grid.groups())), zero(scale.size());
  return detail::sp24_from_operator<std::int8_t>(op, [&](index_t r, const auto& columns, const auto& values) {
    grid.row(r, scale, zero);
    std::vector<std::int8_t> integers;
    for (std::size_t k = 0; k < values.size(); ++k) {
      const float v = std::round(values[k] / scale[static_cast<std::size_t>(grid.group_of(columns[k]))]);
      require(v >= -128 && v <= 127, concat("to_sp24_int8: value [", r, ", ", columns[k], "]"), v,
              "-128 .. 127");
      integers.push_back(static_cast<std::int8_t>(v));
    }
    return integers;
  });
}

/// 2:4 storage (arXiv:2104.08378; layouts of pytorch torch/sparse/_semi_structured_conversions.py and of
/// vllm-project/compressed-tensors): as a stage it stores a weight that already is 2:4, and refuses any
/// other; `sp24_encode` and `sp24_gpu_metadata` are the codec, `to_sp24` and `to_operator` lead to and from
/// it.
///
/// Cost: one pass. Guarantee: the weight comes back bit by bit (-0 may become 0), but for the rounding to
/// `value_type`. Bits per weight: value bits / 2 + 1.
///
///     auto half = tersor::prune::sp24_encode(W.view());  // W: [out, in], 2:4
///     auto meta = tersor::prune::sp24_gpu_metadata<std::uint16_t>(half);
///     auto result = tersor::prune::sp24_store{}(W);  // or as an operator
///     result.op.apply(x, y);
struct sp24_store {
  dtype value_type = dtype::f32;

  static constexpr solve::stage_kind kind = solve::stage_kind::compressor;
  static constexpr solve::calibration_need needs = solve::calibration_need::none;
  static constexpr solve::technique_info info{
      .id = "sp24_store",
      .family = "prune",
      .title = "2:4 compressed storage",
      .arxiv = "2104.08378",
      .header = "tersor/prune/sp24_store.hpp",
      .guarantee = "lossless for every 2:4 matrix, an error for any other"};
  static constexpr auto options() { return std::tuple{solve::value_type_option<sp24_store>()}; }
  void validate() const { validate_options(*this, info.id); }

  /// @param w [out, in], any tensor type. @param inputs only adds a weighted error to the report.
  template <matrix_like W>
  solve::compressed<op::any_operator> operator()(const W& w, const calib::statistics* inputs = nullptr,
                                                 const context& ctx = {}) const {
    return solve::compress_weight<op::any_operator>(*this, w, inputs, ctx);
  }

  solve::outcome compress(const solve::layer& l, const context& = {}) const {
    validate();
    solve::check_layer(l);
    if (l.sparsity.n == 2 && l.sparsity.m == 4 && l.sparsity.permutation.empty())
      return solve::pruned_outcome(info.id, l.weight.view(), l.sparsity, {2, 4}, value_type);
    const auto half = sp24_encode(l.weight.view());
    return {to_operator(half, value_type), solve::constrain(sp24_kept(half), {2, 4}, l.sparsity), {}};
  }
};

}  // namespace tersor::prune
