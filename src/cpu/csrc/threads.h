// One pool of threads for oneDNN's primitives and for our own loops.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "oneapi/dnnl/dnnl_threadpool_iface.hpp"

namespace slowfast {

// Hands out the indices of a loop one by one. Between loops a worker spins for a moment, then sleeps.
class ThreadPool : public dnnl::threadpool_interop::threadpool_iface {
 public:
  explicit ThreadPool(int threads);
  int get_num_threads() const override { return threads_; }
  bool get_in_parallel() const override { return in_parallel_; }
  uint64_t get_flags() const override { return 0; }  // parallel_for returns when all is done
  void wait() override {}                            // nothing to wait for then
  void parallel_for(int n, const std::function<void(int, int)>& task) override;

 private:
  void take();
  void work();

  const int threads_;
  int n_ = 0;
  const std::function<void(int, int)>* task_ = nullptr;
  std::atomic<int> next_{0}, pending_{0};
  std::atomic<uint32_t> epoch_{0};
  static thread_local bool in_parallel_;
};

// The process's pool, of OMP_NUM_THREADS threads or as many as the process may use processors.
ThreadPool& thread_pool();

// Cuts [0, length) into one contiguous range for each thread: body(begin, end, thread).
void parallel(int64_t length, const std::function<void(int64_t, int64_t, int)>& body);

}  // namespace slowfast
