// tersor - deterministic parallel loops
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>  // std::min
#include <atomic>     // std::atomic
#include <exception>  // std::exception_ptr
#include <mutex>      // std::mutex
#include <thread>     // std::thread
#include <vector>     // std::vector

#if defined(_OPENMP)
#include <omp.h>
#endif

#include <tersor/core/context.hpp>
#include <tersor/core/view.hpp>

namespace tersor {

namespace detail {

/// True inside a parallel loop: an inner loop then runs on the calling thread.
inline thread_local bool inside_parallel = false;

struct parallel_scope {
  bool before = inside_parallel;
  parallel_scope() { inside_parallel = true; }
  ~parallel_scope() { inside_parallel = before; }
  parallel_scope(const parallel_scope&) = delete;
  parallel_scope& operator=(const parallel_scope&) = delete;
};

}  // namespace detail

/// Runs task(i) for i in [0, count) on up to `ctx.threads` threads (0: all of the machine). Tasks are handed
/// out in any order, so a task must write only what belongs to its own i; a result that needs a sum over
/// tasks stores one partial value per i and adds them up in order afterwards. Then results are the same bits
/// for any number of threads. The first exception, by index, is rethrown. Nested loops run serially.
template <class Task>
void parallel_for(index count, const context& ctx, Task&& task) {
  if (count <= 0) return;
  const index threads = std::min<index>(count, ctx.thread_count());
  if (threads <= 1 || detail::inside_parallel) {
    for (index i = 0; i < count; ++i) task(i);
    return;
  }
  std::exception_ptr first;
  index first_index = count;
  std::mutex lock;
  std::atomic<index> next{0};
  auto work = [&] {
    detail::parallel_scope scope;
    for (index i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
#if TERSOR_HAS_EXCEPTIONS
      try {
        task(i);
      } catch (...) {
        std::lock_guard<std::mutex> guard(lock);
        if (i < first_index) {
          first_index = i;
          first = std::current_exception();
        }
      }
#else
      task(i);
#endif
    }
  };
#if defined(_OPENMP)
#pragma omp parallel num_threads(static_cast <int>(threads))
  work();
#else
  std::vector<std::thread> team;
  team.reserve(static_cast<std::size_t>(threads - 1));
  for (index t = 1; t < threads; ++t) team.emplace_back(work);
  work();
  for (auto& t : team) t.join();
#endif
#if TERSOR_HAS_EXCEPTIONS
  if (first) std::rethrow_exception(first);
#endif
}

/// Runs task(begin, end) over [0, count) cut in chunks of `grain` (the last may be shorter). The cut depends
/// on the sizes only, never on the number of threads.
template <class Task>
void parallel_chunks(index count, index grain, const context& ctx, Task&& task) {
  assert(grain > 0);
  const index chunks = (count + grain - 1) / grain;
  parallel_for(chunks, ctx, [&](index c) { task(c * grain, std::min(count, (c + 1) * grain)); });
}

}  // namespace tersor
