// tersor - instruction sets: one kernel source, compiled for several, chosen when the program runs
// SPDX-License-Identifier: MIT
#pragma once

#include <array>        // std::array
#include <string_view>  // std::string_view
#include <utility>      // std::pair

// Configuration: TERSOR_PORTABLE_KERNELS leaves out every target but the portable one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(TERSOR_PORTABLE_KERNELS)
#define TERSOR_TARGET_AVX2 __attribute__((target("avx2,fma")))
#define TERSOR_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#endif
#if defined(__GNUC__)
#define TERSOR_ALWAYS_INLINE __attribute__((always_inline)) inline
#else
#define TERSOR_ALWAYS_INLINE inline
#endif

namespace tersor::kernel {

enum class target {
  portable,  ///< what the program was compiled for
  avx2,      ///< AVX2 and FMA
  avx512     ///< AVX-512 F, BW, DQ, VL
};
constexpr auto option_names(target) {
  using row = std::pair<std::string_view, target>;
  return std::array<row, 3>{
      {{"portable", target::portable}, {"avx2", target::avx2}, {"avx512", target::avx512}}};
}

/// Can this build run kernels for `t` on this processor?
inline bool is_supported(target t) {
#if defined(TERSOR_TARGET_AVX2)
  if (t == target::avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
  if (t == target::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return t == target::portable;
}
/// The widest supported one.
inline target best_target() {
  static const target best = is_supported(target::avx512) ? target::avx512
                             : is_supported(target::avx2) ? target::avx2
                                                          : target::portable;
  return best;
}

namespace detail {

#if defined(TERSOR_TARGET_AVX2)
template <class Kernel, class... Args>
TERSOR_TARGET_AVX2 auto run_avx2(Args... args) {
  return Kernel::run(args...);
}
template <class Kernel, class... Args>
TERSOR_TARGET_AVX512 auto run_avx512(Args... args) {
  return Kernel::run(args...);
}
#endif

}  // namespace detail

/// Kernel::run(args...) compiled for `t`, which must be supported. `run` is a static member function marked
/// TERSOR_ALWAYS_INLINE, as is all it calls, so that its body is compiled once for each target.
template <class Kernel, class... Args>
auto run(target t, Args... args) {
#if defined(TERSOR_TARGET_AVX2)
  if (t == target::avx512) return detail::run_avx512<Kernel>(args...);
  if (t == target::avx2) return detail::run_avx2<Kernel>(args...);
#endif
  (void)t;
  return Kernel::run(args...);
}

}  // namespace tersor::kernel
