// tersor - deterministic parallel loops
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>           // std::min
#include <atomic>              // std::atomic
#include <condition_variable>  // std::condition_variable
#include <cstdint>             // std::uint64_t
#include <exception>           // std::exception_ptr
#include <functional>          // std::function
#include <mutex>               // std::mutex
#include <thread>              // std::thread
#include <vector>              // std::vector

#include <tersor/core/context.hpp>
#include <tersor/core/view.hpp>

namespace tersor {

namespace detail {

/// True on a thread that is running a task of a parallel loop: an inner loop then stays on that thread.
inline thread_local bool inside_parallel = false;

struct parallel_scope {
  bool before = inside_parallel;
  parallel_scope() { inside_parallel = true; }
  ~parallel_scope() { inside_parallel = before; }
  parallel_scope(const parallel_scope&) = delete;
  parallel_scope& operator=(const parallel_scope&) = delete;
};

/// Tells the processor that this thread is waiting in a loop.
inline void spin_pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Threads that are started once. Between loops they wait awake for some tens of microseconds, since waking a
/// sleeping thread takes longer than a small product, and then sleep: threads that spin without end (as
/// OpenMP's may) slow down whatever else the machine runs.
class thread_pool {
 public:
  static thread_pool& instance() {
    static thread_pool pool;
    return pool;
  }
  /// Runs work() on the calling thread and on `helpers` others, and returns when all are done. False, having
  /// done nothing, if another loop has the pool.
  bool run(index_t helpers, const std::function<void()>& work) {
    const std::unique_lock<std::mutex> owner(in_use_, std::try_to_lock);
    if (!owner) return false;
    bool wake = false;
    {
      const std::lock_guard<std::mutex> guard(lock_);
      while (static_cast<index_t>(threads_.size()) < helpers) threads_.emplace_back([this] { serve(); });
      work_ = &work;
      wanted_ = helpers;
      unfinished_.store(helpers, std::memory_order_relaxed);
      posted_.fetch_add(1, std::memory_order_release);
      wake = sleeping_ > 0;
    }
    if (wake) wake_.notify_all();
    work();
    for (int i = 0; i < patience && unfinished_.load(std::memory_order_acquire) > 0; ++i) spin_pause();
    std::unique_lock<std::mutex> guard(lock_);
    done_.wait(guard, [&] { return unfinished_.load(std::memory_order_acquire) == 0; });
    work_ = nullptr;
    return true;
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

 private:
  static constexpr int patience = 4000;  // pauses: about 50 us

  thread_pool() = default;
  ~thread_pool() {
    {
      const std::lock_guard<std::mutex> guard(lock_);
      stopping_ = true;
      posted_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& t : threads_) t.join();
  }
  void serve() {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; i < patience && posted_.load(std::memory_order_acquire) == seen; ++i) spin_pause();
      const std::function<void()>* work = nullptr;
      {
        std::unique_lock<std::mutex> guard(lock_);
        ++sleeping_;
        wake_.wait(guard, [&] { return stopping_ || wanted_ > 0; });
        --sleeping_;
        if (stopping_) return;
        --wanted_;
        work = work_;
        seen = posted_.load(std::memory_order_relaxed);
      }
      (*work)();
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        const std::lock_guard<std::mutex> guard(lock_);
        done_.notify_one();
      }
    }
  }
  std::mutex in_use_, lock_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  const std::function<void()>* work_ = nullptr;
  index_t wanted_ = 0, sleeping_ = 0;
  std::atomic<index_t> unfinished_{0};
  std::atomic<std::uint64_t> posted_{0};  // loops so far
  bool stopping_ = false;
};

}  // namespace detail

/// Runs task(i) for i in [0, count) on up to `ctx.threads` threads (0: all of the machine). Tasks are handed
/// out in any order, so a task must write only what belongs to its own i; a result that needs a sum over
/// tasks stores one partial value per i and adds them up in order afterwards. Then results are the same bits
/// for any number of threads. After an exception no further task is begun, and the first one, by
/// index, is rethrown. Nested loops run on the thread of
/// their task.
template <class Task>
void parallel_for(index_t count, const context& ctx, Task&& task) {
  if (count <= 0) return;
  const index_t threads = std::min<index_t>(count, ctx.thread_count());
  if (threads > 1 && !detail::inside_parallel) {
    std::exception_ptr first;
    index_t first_index = count;
    std::mutex lock;
    std::atomic<index_t> next{0};
    const std::function<void()> work = [&] {
      const detail::parallel_scope scope;
      for (index_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
#if TERSOR_HAS_EXCEPTIONS
        try {
          task(i);
        } catch (...) {
          const std::lock_guard<std::mutex> guard(lock);
          if (i < first_index) {
            first_index = i;
            first = std::current_exception();
          }
          next.store(count, std::memory_order_relaxed);  // no task after this one is begun
        }
#else
        task(i);
#endif
      }
    };
    if (detail::thread_pool::instance().run(threads - 1, work)) {
#if TERSOR_HAS_EXCEPTIONS
      if (first) std::rethrow_exception(first);
#endif
      return;
    }
  }
  if (ctx.thread_count() >
      1) {  // one task, a nested loop or a busy pool: what is inside may still be parallel
    for (index_t i = 0; i < count; ++i) task(i);
  } else {
    const detail::parallel_scope scope;
    for (index_t i = 0; i < count; ++i) task(i);
  }
}

/// Runs task(begin, end) over [0, count) cut in chunks of `grain` (the last may be shorter). The cut depends
/// on the sizes only, never on the number of threads.
template <class Task>
void parallel_chunks(index_t count, index_t grain, const context& ctx, Task&& task) {
  assert(grain > 0);
  const index_t chunks = (count + grain - 1) / grain;
  parallel_for(chunks, ctx, [&](index_t c) { task(c * grain, std::min(count, (c + 1) * grain)); });
}

}  // namespace tersor
