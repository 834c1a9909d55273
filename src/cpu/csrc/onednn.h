// oneDNN's engine and stream, and what the operators share beside them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bfloat16.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace slowfast {

dnnl::engine& cpu_engine();

// Runs primitives on the thread pool, at once.
dnnl::stream& cpu_stream();

// A tensor of MindSpore's seen as oneDNN's.
dnnl::memory as_memory(const dnnl::memory::desc& description, const void* data);

template <typename T>
constexpr dnnl::memory::data_type data_type_of();
template <>
constexpr dnnl::memory::data_type data_type_of<float>() {
  return dnnl::memory::data_type::f32;
}
template <>
constexpr dnnl::memory::data_type data_type_of<bfloat16>() {
  return dnnl::memory::data_type::bf16;
}

// Scratch memory that grows and is kept, one piece for each purpose. One operator runs at a time, so they share it.
enum class Scratch { kWeights, kTransformed, kSums, kPrimitive, kInput, kOutput, kResidual };
void* scratch(Scratch purpose, size_t bytes);

}  // namespace slowfast
