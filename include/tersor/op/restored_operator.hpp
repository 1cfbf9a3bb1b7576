// tersor - operators in a layout for products, which all other uses see as what they were made of
// SPDX-License-Identifier: MIT
#pragma once

#include <tersor/op/operator.hpp>

namespace tersor::op {

namespace detail {

/// Hands on what an operator writes that does not live longer than the call.
class owning_writer final : public archive_writer {
 public:
  explicit owning_writer(archive_writer& out) : out_(out) {}
  void attribute(std::string_view name, std::string value) override {
    out_.attribute(name, std::move(value));
  }
  void tensor(std::string_view name, dtype type, std::span<const index_t> shape,
              std::span<const std::byte> bytes) override {
    out_.owned_tensor(name, type, shape, {bytes.begin(), bytes.end()});
  }
  void begin_part(std::string_view name, std::string_view kind) override { out_.begin_part(name, kind); }
  void end_part() override { out_.end_part(); }

 private:
  archive_writer& out_;
};

}  // namespace detail

/// In files, and in products with the transpose, an operator is the one that `restore()` gives.
template <class Op>
class restored_operator {
 public:
  void apply_transposed(matrix_view<const float> x, matrix_view<float> y, const context& ctx = {}) const {
    self().restore().apply_transposed(x, y, ctx);
  }
  matrix<float> to_dense() const { return self().restore().to_dense(); }
  void save(archive_writer& out) const {
    detail::owning_writer owning(out);
    self().restore().save(owning);
  }

 protected:
  const Op& self() const { return static_cast<const Op&>(*this); }
};

}  // namespace tersor::op
