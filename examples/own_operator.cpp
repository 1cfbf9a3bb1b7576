// tersor - example: an operator of your own, measured, added to another and written
// SPDX-License-Identifier: MIT
//
// Shows: what a compressed form of a weight has to have; that sizes, files and products follow from it; that
// a file of it says its kind to a reader that does not know it. Alone (nlohmann-json3-dev):
//   g++ -std=c++20 -O2 -pthread -I include -I /usr/include/eigen3 examples/own_operator.cpp && ./a.out
#include <cstdio>
#include <filesystem>

#include <tersor/io/operator_archive.hpp>
#include <tersor/lowrank/svd.hpp>
#include <tersor/op/sum.hpp>
#include <tersor/solve/layer.hpp>

namespace {

using tersor::index_t;

/// Rows from a book: row r of W is row `choice[r]` of `book` [entries, cols], times `scale[r]`.
class row_book : public tersor::op::decoded_operator<row_book> {
 public:
  row_book() = default;
  row_book(const tersor::matrix<float>& book, std::vector<std::int32_t> choice, tersor::real_array scale)
      : rows_(static_cast<index_t>(choice.size())),
        cols_(book.cols()),
        entries_(book.rows()),
        choice_(std::move(choice)),
        book_(tersor::store_as(tersor::dtype::f16, book.values())),
        scale_(std::move(scale)) {
    check("row_book");
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  static constexpr std::string_view kind() { return "row_book"; }

  /// Rows r0 to r1 of W into w [r1 - r0, cols]; products and `to_dense` come from it.
  void decode(index_t r0, index_t r1, tersor::matrix_view<float> w) const {
    for (index_t r = r0; r < r1; ++r)
      for (index_t c = 0; c < cols_; ++c)
        w(r - r0, c) = scale_[r] * book_[choice_[static_cast<std::size_t>(r)] * cols_ + c];
  }

  /// All that is stored, once: saving, loading with checks of shapes, and sizes come from it.
  template <class Self, class Archive>
  static void describe(Self& self, Archive& archive) {
    archive.extents(self.rows_, self.cols_);
    archive.attribute("entries", self.entries_);
    if constexpr (Archive::loading)
      tersor::require(self.entries_ >= 1 && self.entries_ <= self.rows_, "row_book: entries", self.entries_,
                      "1 .. ", self.rows_);
    archive.tensor("choice", self.choice_, {self.rows_});
    archive.tensor("book", self.book_, {self.entries_, self.cols_});
    archive.tensor("scale", self.scale_, {self.rows_});
    if constexpr (Archive::loading) self.check(archive.in.where());
  }

 private:
  // A file may hold anything: what indexes memory is checked.
  void check(const std::string& where) const {
    for (const auto c : choice_)
      tersor::require(c >= 0 && c < entries_, tersor::concat(where, ".choice"), c, "0 .. ", entries_ - 1);
  }
  index_t rows_ = 0, cols_ = 0, entries_ = 0;
  std::vector<std::int32_t> choice_;
  tersor::real_array book_, scale_;
};
static_assert(tersor::op::linear_operator<row_book>);

}  // namespace

int main() {
  namespace op = tersor::op;
  constexpr index_t out = 64, in = 96, entries = 4;
  tersor::random_generator random(1);
  tersor::matrix<float> book(entries, in), w(out, in);
  for (float& v : book.values()) v = static_cast<float>(random.normal());
  std::vector<std::int32_t> choice;
  std::vector<float> scale;
  for (index_t r = 0; r < out; ++r) {
    choice.push_back(static_cast<std::int32_t>(r % entries));
    scale.push_back(0.5F + static_cast<float>(random.uniform()));
    for (index_t c = 0; c < in; ++c)
      w(r, c) = scale.back() * book(r % entries, c) + 0.1F * static_cast<float>(random.normal());
  }

  const op::any_operator own = row_book(book, choice, tersor::store_as(tersor::dtype::f16, scale));
  auto left = w;  // what it does not hold, for a second operator
  const auto held = own.to_dense();
  for (index_t i = 0; i < left.size(); ++i) left.data()[i] -= held.data()[i];
  const op::any_operator rest = tersor::lowrank::svd{.rank = 4}(left).op;
  for (const op::any_operator& whole : {own, op::any_operator(op::sum(own, rest))}) {
    const auto report = tersor::solve::measure(w.view(), whole, nullptr);
    std::printf("%-9s %6.3f bits per weight, error %.4f\n", whole.kind().data(), report.bits_per_weight,
                report.relative_error);
    for (const auto& part : whole.storage().parts)
      std::printf("    %-10s %5zu bytes\n", part.name.c_str(), part.bytes);
  }

  const auto path = std::filesystem::temp_directory_path() / "tersor_own_operator.safetensors";
  tersor::io::safetensors_writer file;
  tersor::io::operator_writer operators(file);
  operators.add("own", own);
  operators.finish();
  file.write(path);
  const tersor::io::checkpoint files(path);
  try {
    tersor::io::operator_reader(files).read("own");
  } catch (const tersor::error& e) {
    std::printf("the library's reader: kind = %s\n", e.value().c_str());
  }
  std::filesystem::remove(path);
}
