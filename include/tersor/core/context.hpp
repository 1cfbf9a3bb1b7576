// tersor - how a long computation is run: threads, seed, progress, cancellation
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>      // std::uint64_t
#include <functional>   // std::function
#include <string_view>  // std::string_view
#include <thread>       // std::thread::hardware_concurrency

#include <tersor/core/error.hpp>

namespace tersor {

/// One step of a long run: what is being worked on, and how far it is.
struct progress_event {
  std::string_view what;  ///< layer or step, e.g. "model.layers.3.mlp.down_proj"
  long long done = 0;     ///< finished steps
  long long total = 0;    ///< all steps
};

/// Optional last argument of whatever takes time. Results do not depend on `threads`; randomness depends on
/// `seed` alone.
struct context {
  int threads = 0;         ///< 0: as many as the machine has
  std::uint64_t seed = 0;  ///< of every random choice
  std::function<void(const progress_event&)> on_progress{};
  std::function<bool()> is_cancelled{};  ///< asked between steps; true ends the run with `tersor::cancelled`

  int thread_count() const {
    if (threads > 0) return threads;
    const unsigned n = std::thread::hardware_concurrency();
    return n == 0 ? 1 : static_cast<int>(n);
  }
  /// Reports progress and ends the run if the caller asked for that.
  void step(std::string_view what, long long done, long long total) const {
    if (on_progress) on_progress({what, done, total});
    if (is_cancelled && is_cancelled()) {
#if TERSOR_HAS_EXCEPTIONS
      throw tersor::cancelled();
#else
      fail("run", "cancelled", "");
#endif
    }
  }
};

}  // namespace tersor
