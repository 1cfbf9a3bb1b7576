// tersor - conformance: adapters against huggingface/peft tuners/*/layer.py
// SPDX-License-Identifier: MIT
#include <cstdio>

#include <tersor/adapters/olora.hpp>
#include <tersor/adapters/pissa.hpp>
#include <tersor/io/output_folder.hpp>
#include <tersor/io/peft.hpp>
#include <tersor/io/peft_methods.hpp>
#include <tersor/io/safetensors_writer.hpp>

#include "../io/temporary_folder.hpp"
#include "vectors.hpp"

namespace adapter_peft_tests {

const conformance::technique peft{"adapter_peft",
                                  {"peft_type",
                                   "r",
                                   "lora_alpha",
                                   "lora_bias",
                                   "use_rslora",
                                   "use_dora",
                                   "conv",
                                   "init",
                                   "alpha",
                                   "use_effective_conv2d",
                                   "decompose_both",
                                   "decompose_factor",
                                   "feedforward",
                                   "oft_block_size",
                                   "use_cayley_neumann",
                                   "num_cayley_neumann_terms",
                                   "block_share",
                                   "coft",
                                   "eps",
                                   "init_weights",
                                   "mini_r",
                                   "init_r",
                                   "trainable",
                                   "columns",
                                   "boft_block_size",
                                   "boft_n_butterfly_factor",
                                   "num_vectors",
                                   "vector_length",
                                   "topk",
                                   "apply_GS",
                                   "randlora_alpha",
                                   "n_frequency",
                                   "scaling",
                                   "random_loc_seed"}};

namespace adapters = tersor::adapters;
namespace io = tersor::io;
using tersor::index_t;
using tersor::matrix;

void check_output(const conformance::test_case& c, const std::string& role, const matrix<float>& got) {
  const auto expected = c.output_vector(role);
  INFO(role);
  CHECK(conformance::max_difference(got.values(), expected, conformance::max_abs(expected)) <=
        c.tolerance(role));
}

/// Where a convolution looks: rows of x [images · height · width, channels · kh · kw].
struct unfolding {
  index_t images, channels, height, width, kernel_rows, kernel_cols, stride, padding;

  template <class F>
  void for_each(const F& f) const {
    index_t row = 0;
    for (index_t n = 0; n < images; ++n)
      for (index_t h = 0; h < out_height(); ++h)
        for (index_t w = 0; w < out_width(); ++w, ++row) {
          index_t column = 0;
          for (index_t c = 0; c < channels; ++c)
            for (index_t i = 0; i < kernel_rows; ++i)
              for (index_t j = 0; j < kernel_cols; ++j, ++column) {
                const index_t y = h * stride + i - padding, x = w * stride + j - padding;
                if (y >= 0 && y < height && x >= 0 && x < width)
                  f(row, column, static_cast<std::size_t>(((n * channels + c) * height + y) * width + x));
              }
        }
  }
  index_t out_height() const { return (height + 2 * padding - kernel_rows) / stride + 1; }
  index_t out_width() const { return (width + 2 * padding - kernel_cols) / stride + 1; }
  index_t rows() const { return images * out_height() * out_width(); }
  /// [images, out, height, width] as [rows, out], or back.
  matrix<float> by_rows(std::span<const float> maps, index_t out) const {
    const index_t places = out_height() * out_width();
    matrix<float> m(rows(), out);
    for (index_t n = 0; n < images; ++n)
      for (index_t o = 0; o < out; ++o)
        for (index_t p = 0; p < places; ++p)
          m(n * places + p, o) = maps[static_cast<std::size_t>((n * out + o) * places + p)];
    return m;
  }
  matrix<float> as_maps(const matrix<float>& m) const {
    const index_t places = out_height() * out_width(), out = m.cols();
    matrix<float> maps(images * out, places);
    for (index_t n = 0; n < images; ++n)
      for (index_t o = 0; o < out; ++o)
        for (index_t p = 0; p < places; ++p) maps(n * out + o, p) = m(n * places + p, o);
    return maps;
  }
};

/// The keys under which PEFT would store the adapter tensors of the case.
std::string file_key(std::string role) {
  role = role.substr(2);  // "t:"
  return role.starts_with("base_model.") ? role : "base_model.model.lin." + role;
}

/// The case as a folder, read back: shapes, keys and the configuration are those of the official program.
io::peft_adapter read_back(const conformance::test_case& c, const io::peft_module& module) {
  io::json fields = c.config();
  fields["target_modules"] = io::json::array({"lin"});
  if (fields.value("feedforward", false)) fields["feedforward_modules"] = io::json::array({"lin"});
  const tersor::test::temporary_folder folder;
  std::filesystem::create_directory(folder / "a");
  io::write_text_file(folder / "a" / "adapter_config.json", fields.dump());
  io::safetensors_writer file;
  for (const auto& item : c.description().at("tensors").items())
    if (item.key().starts_with("t:")) {
      const auto values = c.input_vector(item.key());
      const auto bytes = std::as_bytes(std::span(values));
      file.add(file_key(item.key()), tersor::dtype::f32, c.input_shape(item.key()),
               std::vector<std::byte>(bytes.begin(), bytes.end()));
    }
  file.write(folder / "a" / "adapter_model.safetensors");
  auto adapter = io::read_peft(folder / "a", std::span(&module, 1));
  // once more: the same bytes
  io::write_peft(adapter, folder / "b");
  io::write_peft(io::read_peft(folder / "b", std::span(&module, 1)), folder / "c");
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
    CHECK(io::read_text_file(folder / "b" / name) == io::read_text_file(folder / "c" / name));
  CHECK(io::safetensors_file(folder / "b" / "adapter_model.safetensors").names().size() ==
        io::safetensors_file(folder / "a" / "adapter_model.safetensors").names().size());
  return adapter;
}

void check_gradients(const conformance::test_case& c, std::span<const adapters::parameter<float>> tensors,
                     const adapters::gradients<float>& g) {
  for (std::size_t k = 0; k < tensors.size(); ++k) {
    std::string role = "g:" + tensors[k].key;
    if (!c.has_output(role)) role += ".weight";
    // official gradients that are known to be wrong are left out of the manifest
    if (c.has_output(role)) check_output(c, role, g[k]);
  }
}

void check_layer(const conformance::test_case& c) {
  const auto shape = c.input_shape("W");
  io::peft_module module{.name = "lin", .out = shape[0], .in = shape[1]};
  const auto weight = c.input_vector("W");
  std::vector<float> bias;
  if (c.has_input("b")) bias = c.input_vector("b");
  unfolding u{};
  if (shape.size() == 4) {
    module.kernel_rows = shape[2];
    module.kernel_cols = shape[3];
    const auto x = c.input_shape("x");
    int kh = 0, kw = 0, stride = 0, padding = 0;
    const auto text = c.option<std::string>("conv", "");
    REQUIRE(std::sscanf(text.c_str(), "%dx%d, stride %d, padding %d", &kh, &kw, &stride, &padding) == 4);
    REQUIRE((kh == shape[2] && kw == shape[3]));
    u = {x[0], x[1], x[2], x[3], shape[2], shape[3], stride, padding};
  }
  auto adapter = read_back(c, module);
  const auto& state = adapter.modules.at("lin");
  if (c.config().contains("trainable"))
    CHECK(state.trainable_count() == c.config().at("trainable").get<index_t>());

  adapters::dense_layer<float> layer{matrix<float>(module.out, module.in * module.places()), bias};
  std::ranges::copy(weight, layer.weight.values().begin());
  matrix<float> x, gy;
  if (shape.size() == 4) {
    const auto pixels = c.input_vector("x");
    x = matrix<float>(u.rows(), layer.weight.cols());
    u.for_each([&](index_t row, index_t column, std::size_t pixel) { x(row, column) = pixels[pixel]; });
    gy = u.by_rows(c.input_vector("G"), module.out);
  } else {
    x = c.input("x");
    gy = c.input("G");
  }
  matrix<float> y(x.rows(), module.out), gx(x.rows(), x.cols());
  state.forward(layer, x, y);
  auto g = state.make_gradients();
  state.backward(layer, x, gy, gx, g);
  if (shape.size() == 4) {
    check_output(c, "y", u.as_maps(y));
    matrix<float> folded(u.images * u.channels, u.height * u.width);
    u.for_each(
        [&](index_t row, index_t column, std::size_t pixel) { folded.values()[pixel] += gx(row, column); });
    check_output(c, "gx", folded);
  } else {
    check_output(c, "y", y);
    check_output(c, "gx", gx);
  }
  check_gradients(c, state.tensors(), g);
  const auto merged = adapter.merged("lin", layer);
  check_output(c, "W_merged", merged.weight);
  if (c.has_output("b_merged")) {
    matrix<float> b(1, module.out);
    std::ranges::copy(merged.bias, b.values().begin());
    check_output(c, "b_merged", b);
  }
  if (c.option("coft", false)) {  // the tensors are those after the projection, which changes nothing more
    auto projected = *state.as<adapters::oft_state<float>>();
    projected.project(c.config().at("eps").get<double>());
    CHECK(conformance::max_difference(projected.tensors()[0].value.values(),
                                      state.tensors()[0].value.values()) <= 1e-7);
  }
}

void check_embedding(const conformance::test_case& c) {
  const auto table = c.input("W"), gy = c.input("G");
  const auto positions = c.input_vector("x");
  const std::vector<std::int32_t> ids(positions.begin(), positions.end());
  const auto adapter =
      read_back(c, {.name = "lin", .out = table.cols(), .in = table.rows(), .embedding = true});
  const auto& state = adapter.embeddings.at("lin");
  CHECK(state.trainable_count() == c.config().at("trainable").get<index_t>());
  matrix<float> y(gy.rows(), gy.cols());
  state.forward(table, ids, y);
  check_output(c, "y", y);
  adapters::gradients<float> g;
  for (const auto& p : state.tensors()) g.emplace_back(p.value.rows(), p.value.cols());
  state.backward(ids, gy, g);
  check_gradients(c, state.tensors(), g);
  auto merged = state.delta_table();
  for (std::size_t i = 0; i < merged.values().size(); ++i) merged.values()[i] += table.values()[i];
  check_output(c, "W_merged", merged);
}

/// Signs inside the factors are free: products and norms are compared.
void check_start(const conformance::test_case& c, bool by_svd) {
  const auto w = c.input("W");
  const auto r = c.config().at("r").get<index_t>();
  const auto alpha = c.config().at("lora_alpha").get<double>();
  const auto start = by_svd ? adapters::pissa{.rank = r, .alpha = alpha}.init(w)
                            : adapters::olora{.rank = r, .alpha = alpha}.init(w);
  check_output(c, "BA", tersor::linalg::multiply(start.state.b(), start.state.a()));
  check_output(c, "W_base", start.weight);
  const auto norms = [](tersor::matrix_view<const float> m) {
    matrix<float> n(1, m.rows());
    for (index_t i = 0; i < m.rows(); ++i) {
      double sum = 0;
      for (index_t j = 0; j < m.cols(); ++j)
        sum += static_cast<double>(m(i, j)) * static_cast<double>(m(i, j));
      n(0, i) = static_cast<float>(std::sqrt(sum));
    }
    return n;
  };
  check_output(c, "A_row_norms", norms(start.state.a().view()));
  check_output(c, "B_col_norms", norms(start.state.b().view().transposed()));
}

void check(const conformance::test_case& c) {
  if (c.config().contains("columns")) {
    const auto table = c.output("table");
    for (index_t i = 0; i < table.rows(); ++i) {
      INFO("row " << i);
      CHECK(adapters::kronecker_split(static_cast<index_t>(table(i, 0)), static_cast<index_t>(table(i, 1))) ==
            std::pair{static_cast<index_t>(table(i, 2)), static_cast<index_t>(table(i, 3))});
    }
  } else if (c.config().contains("init")) {
    check_start(c, c.choice<bool>("init", "", {{"pissa", true}, {"olora", false}}));
  } else if (std::ranges::find(io::peft_types, c.option<std::string>("peft_type", "")) ==
             io::peft_types.end()) {
    WARN("skipped: " << c.name() << " (no method of that name yet)");
  } else if (c.has_input("t:lora_embedding_A")) {
    check_embedding(c);
  } else {
    check_layer(c);
  }
}

TEST_CASE("conformance: adapter_peft") { conformance::for_each_case(peft, check); }

}  // namespace adapter_peft_tests
