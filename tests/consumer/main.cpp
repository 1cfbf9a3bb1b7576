// tersor - a program of somebody else: the library with Eigen and with raw memory
// SPDX-License-Identifier: MIT
#include <Eigen/Core>
#include <cstdio>

#if defined(WITH_SINGLE)
#include <tersor.hpp>
#elif defined(WITH_ALL)
#include <tersor/all.hpp>
#elif defined(WITH_UMBRELLA)
#include <tersor/tersor.hpp>
#else
#include <tersor/core/version.hpp>
#include <tersor/lowrank/svd.hpp>
#include <tersor/quant/gptq.hpp>
#endif

int main() {
  const Eigen::MatrixXf w = Eigen::MatrixXf::Constant(2, 3, 1.5F);
  const float raw[6] = {1.5F, 1.5F, 1.5F, 1.5F, 1.5F, 1.5F};
  bool right = tersor::to_matrix<float>(w) == tersor::to_matrix<float>(tersor::as_view(raw, {2, 3}));

#if defined(__cpp_lib_mdspan)
  right = right && tersor::to_matrix<float>(std::mdspan(raw, 2, 3)) == tersor::to_matrix<float>(w);
#endif

  // What is called here is linked, on threads too.
  tersor::calib::statistics inputs(3);
  inputs.add(w);
  const auto packed = tersor::quant::gptq{.bits = 8}(w, inputs, {.threads = 2});
  right = right && packed.report.relative_error < 0.01 && packed.op.storage().bytes() > 0;
  right = right && tersor::lowrank::svd{.rank = 1}(w).report.relative_error < 1e-2;
#if defined(WITH_ALL)
  right = right && tersor::pipeline::recipe::parse("gptq(bits=3)").text() == "gptq(bits=3)";
#endif
  std::printf("tersor %d.%d.%d: %s\n", TERSOR_VERSION_MAJOR, TERSOR_VERSION_MINOR, TERSOR_VERSION_PATCH,
              right ? "works" : "WRONG RESULTS");
  return right ? 0 : 1;
}
