// oneDNN's engine and stream, and what the operators share beside them.
#pragma once

#include <cstdint>
#include <unordered_map>

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

// A primitive and the scratch memory that it asks for, by attributes `with_scratchpad`. (Scratch memory of oneDNN's own
// belongs to the thread that makes a primitive, while MindSpore runs operators on any of its threads.)
struct Step {
  dnnl::primitive primitive;
  dnnl::memory::desc scratchpad;

  Step() = default;
  template <typename Description>
  explicit Step(const Description& description)
      : primitive(description.get()), scratchpad(description.scratchpad_desc()) {}
  // Runs it; `clear` sets the scratch memory to zero before.
  void execute(std::unordered_map<int, dnnl::memory> arguments, bool clear = false) const;
};

dnnl::primitive_attr with_scratchpad();

// From one layout or type to another; `scaled` by a factor for each of the first axis.
Step make_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to, bool scaled = false);

}  // namespace slowfast
