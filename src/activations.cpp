// tersor - softmax, SwiGLU and their like, compiled once for the programs that link tersor::precompiled
// SPDX-License-Identifier: MIT
#include <tersor/kernel/activations.hpp>

namespace tersor::kernel {

template double run<detail::total>(target, const float*, index_t);
template void run<detail::softmax>(target, float*, index_t);
template double run<detail::log_sum_exp>(target, const float*, index_t);
template detail::scaled_exponentials run<detail::exponentials>(target, float*, index_t, float);
template void run<detail::swiglu>(target, float*, const float*, index_t);
template void run<detail::rms_norm>(target, const float*, const float*, float, index_t, float*);

}  // namespace tersor::kernel
