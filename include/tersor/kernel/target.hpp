// tersor - instruction sets: one kernel source, compiled for several, chosen when the program runs
// SPDX-License-Identifier: MIT
#pragma once

#include <array>        // std::array
#include <string_view>  // std::string_view
#include <utility>      // std::declval, std::pair

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

// Configuration: TERSOR_PORTABLE_KERNELS leaves out every target but the portable one.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(TERSOR_PORTABLE_KERNELS)
#define TERSOR_X86_KERNELS 1
#define TERSOR_FEATURES_AVX2 "avx2,fma,f16c,popcnt"
#define TERSOR_FEATURES_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,popcnt"
#define TERSOR_TARGET_AVX2 __attribute__((target(TERSOR_FEATURES_AVX2)))
#define TERSOR_TARGET_AVX512 __attribute__((target(TERSOR_FEATURES_AVX512)))
#elif defined(__aarch64__) && defined(__GNUC__) && !defined(TERSOR_PORTABLE_KERNELS)
#define TERSOR_NEON_KERNELS 1
#define TERSOR_FEATURES_NEON "arch=armv8.2-a+dotprod"
#endif
#if defined(__GNUC__)
#define TERSOR_ALWAYS_INLINE __attribute__((always_inline)) inline
#define TERSOR_NO_INLINE __attribute__((noinline))
#else
#define TERSOR_ALWAYS_INLINE inline
#define TERSOR_NO_INLINE
#endif

// Between TERSOR_BEGIN_TARGET(features) and TERSOR_END_TARGET all functions are compiled for a target, so
// that they may use its intrinsics and be inlined into each other. Lambdas are not: name a function instead.
#if defined(__clang__)
#define TERSOR_PRAGMA(text) _Pragma(#text)
#define TERSOR_BEGIN_TARGET(features) \
  TERSOR_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TERSOR_END_TARGET TERSOR_PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define TERSOR_PRAGMA(text) _Pragma(#text)
#define TERSOR_BEGIN_TARGET(features) TERSOR_PRAGMA(GCC push_options) TERSOR_PRAGMA(GCC target(features))
#define TERSOR_END_TARGET TERSOR_PRAGMA(GCC pop_options)
#endif

// Before a loop of a few passes whose values are to stay in registers.
#if defined(__clang__)
#define TERSOR_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define TERSOR_UNROLL _Pragma("GCC unroll 16")
#else
#define TERSOR_UNROLL
#endif

namespace tersor::kernel {

enum class target {
  portable,  ///< what the program was compiled for
  avx2,      ///< AVX2 and FMA
  avx512,    ///< AVX-512 F, BW, DQ, VL and VNNI: Cascade Lake, Zen 4 and later
  neon       ///< Armv8.2 with the dot product
};
constexpr auto option_names(target) {
  using row = std::pair<std::string_view, target>;
  return std::array<row, 4>{{{"portable", target::portable},
                             {"avx2", target::avx2},
                             {"avx512", target::avx512},
                             {"neon", target::neon}}};
}

#if defined(TERSOR_NEON_KERNELS)
namespace detail {
inline bool has_dot_product() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return true;  // every 64-bit Arm of Apple's has it
#endif
}
}  // namespace detail
#endif

/// Can this build run kernels for `t` on this processor?
inline bool is_supported(target t) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
  if (t == target::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(TERSOR_NEON_KERNELS)
  if (t == target::neon) return detail::has_dot_product();
#endif
  return t == target::portable;
}
/// The widest supported one.
inline target best_target() {
  static const target best = is_supported(target::avx512) ? target::avx512
                             : is_supported(target::avx2) ? target::avx2
                             : is_supported(target::neon) ? target::neon
                                                          : target::portable;
  return best;
}

namespace detail {

template <class Kernel, class... Args>
using result_of_run = decltype(Kernel::run(std::declval<Args>()...));

#if defined(TERSOR_X86_KERNELS)
template <class Kernel, class... Args>
TERSOR_TARGET_AVX2 result_of_run<Kernel, Args...> run_avx2(Args... args) {
  return Kernel::run(args...);
}
template <class Kernel, class... Args>
TERSOR_TARGET_AVX512 result_of_run<Kernel, Args...> run_avx512(Args... args) {
  return Kernel::run(args...);
}
#endif

}  // namespace detail

/// Kernel::run(args...) compiled for `t`, which must be supported. `run` is a static member function marked
/// TERSOR_ALWAYS_INLINE, as is all it calls, so that its body is compiled once for each target. (On Arm the
/// portable code is NEON's already.)
template <class Kernel, class... Args>
detail::result_of_run<Kernel, Args...> run(target t, Args... args) {
#if defined(TERSOR_X86_KERNELS)
  if (t == target::avx512) return detail::run_avx512<Kernel>(args...);
  if (t == target::avx2) return detail::run_avx2<Kernel>(args...);
#endif
  (void)t;
  return Kernel::run(args...);
}

}  // namespace tersor::kernel
