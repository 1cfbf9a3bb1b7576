// tersor - conformance: AFLoRA against zeyuliu1037/AFLoRA, LaMDA against ArminAzizi98/LaMDA
// SPDX-License-Identifier: MIT
#include <tersor/adapters/aflora.hpp>
#include <tersor/adapters/lamda.hpp>

#include "vectors.hpp"

namespace adapter_side_tests {

const conformance::technique side{"adapter_side",
                                  {"r",
                                   "scaling",
                                   "steps",
                                   "epochs",
                                   "initial_warmup_epochs",
                                   "final_warmup_epochs",
                                   "beta1",
                                   "beta2",
                                   "window",
                                   "tensors",
                                   "gradient",
                                   "rank",
                                   "max_steps",
                                   "gradient_accumulation",
                                   "eta",
                                   "columns",
                                   "hidden",
                                   "reduction",
                                   "layers",
                                   "bottleneck",
                                   "activation",
                                   "rms_eps",
                                   "layer_norm_eps",
                                   "layer"}};

namespace adapters = tersor::adapters;
using tersor::index_t;
using tersor::matrix;

/// Output, and gradients of x and of the tensors by their names in the manifest.
template <class State>
void check_path(const conformance::test_case& c, const State& state,
                const std::vector<std::pair<std::size_t, std::string>>& names) {
  const auto w = c.input("W"), x = c.input("x"), gy = c.input("G");
  const auto b = c.input_vector("b");
  const adapters::layer_view<float> layer(w, b);
  matrix<float> y(x.rows(), w.rows()), gx(x.rows(), w.cols());
  state.forward(layer, x, y);
  auto g = state.make_gradients();
  state.backward(layer, x, gy, gx, g);
  const auto check = [&](const matrix<float>& got, const std::string& role) {
    const auto expected = c.output(role);
    INFO(role);
    CHECK(conformance::max_difference(got.values(), expected.values(),
                                      conformance::max_abs(expected.values())) <= c.tolerance(role));
  };
  check(y, "y");
  check(gx, "gx");
  for (const auto& [index, name] : names) check(g[index], "g:" + name);
}

/// The gradients are base · magnitude · (1 + 0.5 sin(0.37 step + tensor index)).
void check_freezing(const conformance::test_case& c) {
  const auto names = c.config().at("tensors").get<std::vector<std::string>>();
  const auto magnitude = c.input_vector("magnitude");
  std::vector<adapters::parameter<float>> tensors;
  for (const auto& name : names)
    tensors.emplace_back(name, adapters::parameter_kind::projection, c.input("base:" + name));
  const adapters::aflora method{.total_steps = c.config().at("steps").get<index_t>(),
                                .epochs = c.config().at("epochs").get<index_t>(),
                                .warmup_epochs = c.config().at("initial_warmup_epochs").get<index_t>(),
                                .final_epochs = c.config().at("final_warmup_epochs").get<index_t>(),
                                .beta1 = c.config().at("beta1").get<double>(),
                                .beta2 = c.config().at("beta2").get<double>(),
                                .window = c.config().at("window").get<index_t>()};
  adapters::aflora_controller control(method);
  const auto ratio = c.output_vector("ratio"), threshold = c.output_vector("threshold");
  const auto frozen = c.output_integers("frozen");
  const double scale = conformance::max_abs(threshold);
  for (index_t step = 1; step <= method.total_steps; ++step) {
    std::vector<matrix<float>> g;
    std::vector<const matrix<float>*> views;
    std::vector<adapters::parameter<float>*> pointers;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      g.push_back(tensors[i].value);
      const double factor = static_cast<double>(magnitude[i]) *
                            (1 + 0.5 * std::sin(0.37 * static_cast<double>(step) + static_cast<double>(i)));
      for (float& v : g.back().values()) v = static_cast<float>(static_cast<double>(v) * factor);
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      views.push_back(&g[i]);
      pointers.push_back(&tensors[i]);
    }
    control.after_step<float>(step, pointers, views);
    const auto at = static_cast<std::size_t>(step - 1);
    INFO("step " << step);
    if (ratio[at] >= 0) CHECK(std::abs(control.remaining(step) - static_cast<double>(ratio[at])) <= 1e-6);
    CHECK(control.threshold().has_value() == (threshold[at] >= 0));
    if (control.threshold() && threshold[at] >= 0)
      CHECK(std::abs(*control.threshold() - static_cast<double>(threshold[at])) <=
            c.tolerance("threshold") * scale);
    for (std::size_t i = 0; i < tensors.size(); ++i)
      CHECK(static_cast<int>(!tensors[i].trains()) == frozen[at * tensors.size() + i]);
  }
}

void check(const conformance::test_case& c) {
  if (c.has_input("db")) {
    auto row = [&](const char* name) {
      auto m = c.input(name);
      return matrix<float>(m.rows() == 1 ? m : tersor::copy_as<float>(m.view().transposed()));
    };
    check_path(c, adapters::aflora_state<float>(c.input("A"), c.input("B"), row("d"), row("db")),
               {{0, "A"}, {1, "B"}, {2, "d"}, {3, "db"}});
  } else if (c.has_input("S")) {
    check_path(c,
               adapters::lamda_state<float>(c.input("A"), c.input("S"), c.input("B"),
                                            c.config().at("scaling").get<double>()),
               {{1, "S"}, {2, "B"}});
  } else if (c.has_input("magnitude")) {
    check_freezing(c);
  } else if (c.config().contains("max_steps")) {
    const adapters::lamda_freezing f{c.config().at("max_steps").get<index_t>(),
                                     c.config().at("eta").get<double>()};
    const auto table = c.output("table");
    for (index_t i = 0; i < table.rows(); ++i)
      CHECK(f.frozen_as_released(static_cast<index_t>(table(i, 0)), c.config().at("rank").get<index_t>(),
                                 c.config().at("gradient_accumulation").get<index_t>()) ==
            static_cast<index_t>(table(i, 1)));
  } else {
    WARN("skipped: " << c.name() << " (no method of that name yet)");
  }
}

TEST_CASE("conformance: adapter_side") { conformance::for_each_case(side, check); }

}  // namespace adapter_side_tests
