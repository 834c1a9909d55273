#include "threads.h"

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "oneapi/dnnl/dnnl_threadpool.hpp"

namespace slowfast {
namespace {

constexpr int kSpins = 2000;  // pauses before a thread sleeps: some 40 microseconds

int thread_count() {
  const char* value = std::getenv("OMP_NUM_THREADS");
  int count = value ? std::atoi(value) : 0;
  if (count > 0) return count;
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof(processors), &processors) == 0) return std::max(1, CPU_COUNT(&processors));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

thread_local bool ThreadPool::in_parallel_ = false;

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  for (int i = 1; i < threads; i++) std::thread([this] { work(); }).detach();
}

void ThreadPool::parallel_for(int n, const std::function<void(int, int)>& task) {
  if (n <= 1 || threads_ == 1 || in_parallel_) {
    for (int i = 0; i < n; i++) task(i, n);
    return;
  }
  task_ = &task;
  n_ = n;
  next_.store(0);
  pending_.store(threads_ - 1);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  take();
  for (int spin = 0; pending_.load() > 0 && spin < kSpins; spin++) _mm_pause();
  for (int left; (left = pending_.load()) > 0;) pending_.wait(left);
}

void ThreadPool::take() {
  in_parallel_ = true;
  for (int i; (i = next_.fetch_add(1)) < n_;) (*task_)(i, n_);
  in_parallel_ = false;
}

void ThreadPool::work() {
  for (uint32_t seen = 0;; seen++) {
    for (int spin = 0; spin < kSpins && epoch_.load() == seen; spin++) _mm_pause();
    epoch_.wait(seen);
    take();
    if (pending_.fetch_sub(1) == 1) pending_.notify_all();
  }
}

ThreadPool& thread_pool() {
  // Never destroyed: its threads may outlive the static objects of a process that ends.
  static auto* pool = [] {
    const int threads = thread_count();
    dnnl_threadpool_interop_set_max_concurrency(threads);
    return new ThreadPool(threads);
  }();
  return *pool;
}

void parallel(int64_t length, const std::function<void(int64_t, int64_t, int)>& body) {
  const int n = static_cast<int>(std::min<int64_t>(thread_pool().get_num_threads(), length));
  thread_pool().parallel_for(n, [&](int i, int) { body(length * i / n, length * (i + 1) / n, i); });
}

}  // namespace slowfast
