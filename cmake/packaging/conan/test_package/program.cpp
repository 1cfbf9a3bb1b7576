// tersor - a program that uses the Conan package
// SPDX-License-Identifier: MIT
#include <tersor/quant/rtn.hpp>

int main() {
  const float w[8] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 2.5F, 3.0F, 3.5F};
  const auto packed = tersor::quant::rtn{.bits = 8}(tersor::as_view(w, {2, 4}));
  return packed.op.rows() == 2 && packed.op.to_dense()(1, 3) > 3.4F ? 0 : 1;
}
