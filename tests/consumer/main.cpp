// tersor - a program of somebody else: the library with Eigen and with raw memory
// SPDX-License-Identifier: MIT
#include <Eigen/Core>
#include <cstdio>

#if defined(WITH_ALL)
#include <tersor/all.hpp>
#else
#include <tersor/tersor.hpp>
#endif

int main() {
  const Eigen::MatrixXf w = Eigen::MatrixXf::Constant(2, 3, 1.5F);
  const float raw[6] = {1.5F, 1.5F, 1.5F, 1.5F, 1.5F, 1.5F};
  const bool same = tersor::to_matrix<float>(w) == tersor::to_matrix<float>(tersor::as_view(raw, {2, 3}));
  std::printf("tersor %d.%d.%d: %s\n", TERSOR_VERSION_MAJOR, TERSOR_VERSION_MINOR, TERSOR_VERSION_PATCH,
              same ? "the copies agree" : "the copies differ");
  return same ? 0 : 1;
}
