#include "onednn.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "loops.h"
#include "oneapi/dnnl/dnnl_threadpool.hpp"
#include "threads.h"

namespace slowfast {

// None of these is destroyed: an operator may run until the process ends.
dnnl::engine& cpu_engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& cpu_stream() {
  static auto* stream = new dnnl::stream(dnnl::threadpool_interop::make_stream(cpu_engine(), &thread_pool()));
  return *stream;
}

dnnl::memory as_memory(const dnnl::memory::desc& description, const void* data) {
  return dnnl::memory(description, cpu_engine(), const_cast<void*>(data));
}

void* scratch(Scratch purpose, size_t bytes) {
  constexpr size_t kPage = 2 << 20;
  static std::pair<void*, size_t> pieces[7];
  auto& [data, capacity] = pieces[static_cast<int>(purpose)];
  if (capacity < bytes) {
    std::free(data);
    capacity = (bytes + kPage - 1) / kPage * kPage;
    data = std::aligned_alloc(kPage, capacity);
    if (data == nullptr) {
      capacity = 0;
      throw std::bad_alloc();
    }
  }
  return data;
}

void Step::execute(std::unordered_map<int, dnnl::memory> arguments, bool clear) const {
  void* memory = scratch(Scratch::kPrimitive, scratchpad.get_size());
  if (clear) std::memset(memory, 0, scratchpad.get_size());
  arguments.insert({DNNL_ARG_SCRATCHPAD, as_memory(scratchpad, memory)});
  primitive.execute(cpu_stream(), arguments);
}

dnnl::primitive_attr with_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

Step make_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to, bool scaled) {
  auto attributes = with_scratchpad();
  if (scaled) attributes.set_scales_mask(DNNL_ARG_SRC, 1);
  return Step(dnnl::reorder::primitive_desc(cpu_engine(), from, cpu_engine(), to, attributes));
}

namespace {

bool has_avx512() {
  static const bool value = dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core &&
                            dnnl::get_effective_cpu_isa() != dnnl::cpu_isa::avx2_vnni &&
                            dnnl::get_effective_cpu_isa() != dnnl::cpu_isa::avx2_vnni_2;
  return value;
}

}  // namespace

template <>
const Loops<float>& loops() {
  return has_avx512() ? avx512::float_loops : avx2::float_loops;
}

template <>
const Loops<bfloat16>& loops() {
  return has_avx512() ? avx512::bfloat16_loops : avx2::bfloat16_loops;
}

const FloatLoops& float_loops() { return has_avx512() ? avx512::only_float_loops : avx2::only_float_loops; }

}  // namespace slowfast
