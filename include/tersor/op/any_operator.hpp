// tersor - a linear operator of any kind, behind one type
// SPDX-License-Identifier: MIT
#pragma once

#include <memory>  // std::shared_ptr

#include <tersor/op/operator.hpp>

namespace tersor::op {

/// Holds any `linear_operator`, immutable and cheap to copy. Model slots and loaded files use it.
class any_operator {
 public:
  any_operator() = default;
  template <linear_operator Op>
  requires(!std::is_same_v<std::remove_cvref_t<Op>, any_operator>) any_operator(Op op)
      : held_(std::make_shared<const holder<Op>>(std::move(op))) {}

  explicit operator bool() const { return held_ != nullptr; }
  index_t rows() const { return held_->rows(); }
  index_t cols() const { return held_->cols(); }
  std::string_view kind() const { return held_->kind(); }
  void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    held_->apply(x, y, ctx);
  }
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    held_->apply_transposed(x, y, ctx);
  }
  matrix<float> to_dense() const { return held_->to_dense(); }
  storage_report storage() const { return storage_of(*this); }
  void save(archive_writer& out) const { held_->save(out); }
  /// Reads an operator of one of the library's kinds (op/load.hpp).
  static any_operator load(std::string_view kind, archive_reader& in);

  /// The held operator if it is an Op, else null.
  template <class Op>
  const Op* as() const {
    const auto* h = dynamic_cast<const holder<Op>*>(held_.get());
    return h ? &h->op : nullptr;
  }

 private:
  struct interface {
    virtual ~interface() = default;
    virtual index_t rows() const = 0;
    virtual index_t cols() const = 0;
    virtual std::string_view kind() const = 0;
    virtual void apply(matrix_view<const float>, matrix_view<float>, const context&) const = 0;
    virtual void apply_transposed(matrix_view<const float>, matrix_view<float>, const context&) const = 0;
    virtual matrix<float> to_dense() const = 0;
    virtual void save(archive_writer&) const = 0;
  };
  template <class Op>
  struct holder final : interface {
    Op op;
    explicit holder(Op o) : op(std::move(o)) {}
    index_t rows() const override { return op.rows(); }
    index_t cols() const override { return op.cols(); }
    std::string_view kind() const override { return op.kind(); }
    void apply(matrix_view<const float> x, matrix_view<float> y, const context& ctx) const override {
      op.apply(x, y, ctx);
    }
    void apply_transposed(matrix_view<const float> x, matrix_view<float> y,
                          const context& ctx) const override {
      op.apply_transposed(x, y, ctx);
    }
    matrix<float> to_dense() const override { return op.to_dense(); }
    void save(archive_writer& out) const override { op.save(out); }
  };
  std::shared_ptr<const interface> held_;
};

/// Bits per weight that an operator really stores.
template <class Op>
double bits_per_weight(const Op& op) {
  const auto weights = static_cast<double>(op.rows()) * static_cast<double>(op.cols());
  return weights == 0.0 ? 0.0 : 8.0 * static_cast<double>(storage_of(op).bytes()) / weights;
}

}  // namespace tersor::op
