// tersor - operator over the blocks of a GGUF file
// SPDX-License-Identifier: MIT
#pragma once

#include <memory>  // std::shared_ptr

#include <tersor/op/ggml_decode.hpp>
#include <tersor/op/operator.hpp>

namespace tersor::op {

/// W [rows, cols] in a block type of GGUF, row-major, as the file holds it. Bits per weight as the type's.
class ggml_blocks : public decoded_operator<ggml_blocks> {
 public:
  ggml_blocks() = default;
  /// @param bytes rows * (cols / block) blocks, which `owner` keeps alive (null: they are copied). @param
  /// order for each row of W its row in `bytes`; empty: the same. Rows in another order are copied. @param
  /// let_go see real_array.
  ggml_blocks(ggml_type type, index_t rows, index_t cols, std::span<const std::byte> bytes,
              std::shared_ptr<const void> owner, std::span<const std::int32_t> order = {},
              real_array::release_function let_go = nullptr)
      : type_(type), rows_(rows), cols_(cols) {
    require(can_decode(type), "ggml_blocks: type", tersor::name(type), "one of ", decodable_types());
    require(rows >= 0 && cols >= 0 && cols % info(type).block == 0, "ggml_blocks: columns", cols,
            "a multiple of ", info(type).block);
    const auto row = static_cast<std::size_t>(row_bytes());
    require(bytes.size() == row * static_cast<std::size_t>(rows), "ggml_blocks: bytes", bytes.size(),
            row * static_cast<std::size_t>(rows));
    if (order.empty() && owner) {
      foreign_ = bytes;
      owner_ = std::move(owner);
      release_ = let_go;
      return;
    }
    require(order.empty() || static_cast<index_t>(order.size()) == rows, "ggml_blocks: order", order.size(),
            rows);
    own_.resize(bytes.size());
    for (index_t r = 0; r < rows; ++r) {
      const index_t from = order.empty() ? r : order[static_cast<std::size_t>(r)];
      require(from >= 0 && from < rows, "ggml_blocks: order", from, "0 .. ", rows - 1);
      std::memcpy(own_.data() + static_cast<std::size_t>(r) * row,
                  bytes.data() + static_cast<std::size_t>(from) * row, row);
    }
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  ggml_type type() const { return type_; }
  /// The blocks, row after row.
  std::span<const std::byte> bytes() const { return owner_ ? foreign_ : std::as_bytes(std::span(own_)); }
  /// Lets foreign memory leave until it is read again, where its owner can do so.
  void release() const {
    if (release_ != nullptr) release_(owner_.get(), foreign_);
  }
  static constexpr std::string_view kind() { return "ggml_blocks"; }

  /// Rows [r0, r1) of W into w, whose rows are contiguous.
  void decode(index_t r0, index_t r1, matrix_view<float> w) const {
    const auto row = static_cast<std::size_t>(row_bytes());
    const auto count = static_cast<std::size_t>(r1 - r0);
    decode_ggml(type_, bytes().subspan(static_cast<std::size_t>(r0) * row, count * row),
                std::span(w.data, count * static_cast<std::size_t>(cols_)));
  }

  void save(archive_writer& out) const {
    detail::save_archive a{out};
    a.extents(rows_, cols_);
    a.attribute("type", std::string(tersor::name(type_)));
    const std::array<index_t, 2> shape{rows_, row_bytes()};
    out.tensor("blocks", dtype::u8, shape, bytes());
  }
  static ggml_blocks load(std::string_view, archive_reader& in) {
    ggml_blocks op;
    detail::load_archive a{in};
    a.extents(op.rows_, op.cols_);
    std::string text;
    a.attribute("type", text);
    const auto* known = find_ggml_type(std::string_view(text));
    require(known != nullptr && can_decode(known->type), in.where() + ": attribute type", text, "one of ",
            decodable_types());
    op.type_ = known->type;
    require(op.cols_ % known->block == 0, in.where() + ": attribute cols", op.cols_, "a multiple of ",
            known->block);
    a.tensor("blocks", op.own_, {op.rows_, op.row_bytes()});
    return op;
  }
  storage_report storage() const { return storage_of(*this); }

 private:
  index_t row_bytes() const { return cols_ / info(type_).block * info(type_).bytes; }

  ggml_type type_ = ggml_type::q8_0;
  index_t rows_ = 0, cols_ = 0;
  std::vector<std::uint8_t> own_;
  std::span<const std::byte> foreign_;
  std::shared_ptr<const void> owner_;  // of foreign_; null: the bytes are own_
  real_array::release_function release_ = nullptr;
};

}  // namespace tersor::op
