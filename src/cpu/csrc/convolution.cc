#include "convolution.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <type_traits>
#include <unordered_map>

#include "layout.h"
#include "loops.h"
#include "stem.h"
#include "threads.h"
#include "weights.h"
#include "winograd.h"

namespace slowfast {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

// The same bytes are (n * t, h, w, c), (n, t, h * w, c) and (n, t, h, w, c): a kernel without extent in time is a 2-D
// convolution of frames, one of nothing but time a 2-D convolution of time x pixels, any other a 3-D one.
struct Problem {
  memory::dims input, weight, output, stride, dilation, padding;
  Tag activations;
  memory::desc plain_weight;  // MindSpore's, without the points in time that no frame meets
  int64_t skipped;            // numbers of those before the first that is met

  explicit Problem(const ConvolutionShape& s) {
    const bool over_time = s.kernel_t > 1 || s.stride_t > 1;
    const bool over_pixels = s.kernel_h * s.kernel_w * s.stride_h * s.stride_w > 1;
    // Points of the kernel further away than a sample has frames never meet one. oneDNN 3.10 computes nonsense for
    // them.
    const int64_t kernel_t = std::min(s.kernel_t, 2 * s.frames - 1), outer = (s.kernel_t - kernel_t) / 2;
    const int64_t gap = s.dilation - 1, pad_h = s.kernel_h / 2 * s.dilation, pad_w = s.kernel_w / 2 * s.dilation;
    if (over_time && over_pixels) {
      input = {s.samples, s.in_channels, s.frames, s.height, s.width};
      weight = {s.out_channels, s.in_channels, kernel_t, s.kernel_h, s.kernel_w};
      output = {s.samples, s.out_channels, s.out_frames, s.out_height, s.out_width};
      stride = {s.stride_t, s.stride_h, s.stride_w};
      dilation = {0, gap, gap};
      padding = {kernel_t / 2, pad_h, pad_w};
    } else if (over_time) {
      input = {s.samples, s.in_channels, s.frames, s.height * s.width};
      weight = {s.out_channels, s.in_channels, kernel_t, 1};
      output = {s.samples, s.out_channels, s.out_frames, s.height * s.width};
      stride = {s.stride_t, 1};
      dilation = {0, 0};
      padding = {kernel_t / 2, 0};
    } else {
      input = {s.samples * s.frames, s.in_channels, s.height, s.width};
      weight = {s.out_channels, s.in_channels, s.kernel_h, s.kernel_w};
      output = {s.samples * s.frames, s.out_channels, s.out_height, s.out_width};
      stride = {s.stride_h, s.stride_w};
      dilation = {gap, gap};
      padding = {pad_h, pad_w};
    }
    activations = input.size() == 5 ? Tag::ndhwc : Tag::nhwc;
    const int64_t point = s.kernel_h * s.kernel_w, filter = s.kernel_t * point, all = s.in_channels * filter;
    memory::dims steps{all, filter, s.kernel_w, 1};  // out, in, height, width
    if (over_time && over_pixels) steps = {all, filter, point, s.kernel_w, 1};
    if (over_time && !over_pixels) steps = {all, filter, 1, 1};
    plain_weight = memory::desc(weight, Type::f32, steps);
    skipped = outer * point;
  }
};

// A convolution, the reorder between MindSpore's plain weights and those that it wants, and the layouts of both.
struct Convolution {
  Step compute, reorder;
  memory::desc input, weight, output, plain;
};

enum class Pass : int64_t { kForward, kGradientInput, kGradientWeight, kProduct };
using Key = std::vector<int64_t>;

// Primitives are made once for each shape and kept for the life of the process.
template <typename Make>
const Convolution& cached(const Key& key, const Make& make) {
  static auto* convolutions = new std::map<Key, Convolution>();
  auto found = convolutions->find(key);
  if (found == convolutions->end()) found = convolutions->emplace(key, make()).first;
  return found->second;
}

Key key_of(const Problem& problem, Pass pass, Type type, int64_t variant = 0) {
  Key key{static_cast<int64_t>(pass), static_cast<int64_t>(type), variant};
  const auto steps = problem.plain_weight.get_strides();
  for (auto* dims : {&problem.input, &problem.weight, &problem.output, &problem.stride, &problem.dilation, &steps})
    key.insert(key.end(), dims->begin(), dims->end());
  return key;
}

memory::desc channels_last(const memory::dims& dims, Type type, const Problem& problem) {
  return memory::desc(dims, type, problem.activations);
}

dnnl::convolution_forward::primitive_desc forward_description(const Problem& p, Type type, const memory::desc& bias,
                                                              const dnnl::primitive_attr& attributes) {
  const auto kind = bias ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
  return {cpu_engine(),
          kind,
          dnnl::algorithm::convolution_direct,
          channels_last(p.input, type, p),
          memory::desc(p.weight, type, Tag::any),
          bias,
          channels_last(p.output, type, p),
          p.stride,
          p.dilation,
          p.padding,
          p.padding,
          attributes};
}

Convolution make_forward(const Problem& p, Type type, bool affine, bool residual, bool relu) {
  dnnl::post_ops post_ops;
  if (residual) post_ops.append_binary(dnnl::algorithm::binary_add, channels_last(p.output, type, p));
  if (relu) post_ops.append_eltwise(dnnl::algorithm::eltwise_relu, 0.f, 0.f);
  auto attributes = with_scratchpad();
  attributes.set_post_ops(post_ops);
  const auto bias = affine ? memory::desc({p.output[1]}, Type::f32, Tag::a) : memory::desc();
  const auto description = forward_description(p, type, bias, attributes);
  return {Step(description),      make_reorder(p.plain_weight, description.weights_desc(), affine),
          description.src_desc(), description.weights_desc(),
          description.dst_desc(), p.plain_weight};
}

Convolution make_gradient_input(const Problem& p, Type type) {
  const dnnl::convolution_backward_data::primitive_desc description(
      cpu_engine(), dnnl::algorithm::convolution_direct, channels_last(p.input, type, p),
      memory::desc(p.weight, type, Tag::any), channels_last(p.output, type, p), p.stride, p.dilation, p.padding,
      p.padding, forward_description(p, type, {}, {}), with_scratchpad());
  return {Step(description),           make_reorder(p.plain_weight, description.weights_desc()),
          description.diff_src_desc(), description.weights_desc(),
          description.diff_dst_desc(), p.plain_weight};
}

Convolution make_gradient_weight(const Problem& p, Type type) {
  const dnnl::convolution_backward_weights::primitive_desc description(
      cpu_engine(), dnnl::algorithm::convolution_direct, channels_last(p.input, type, p),
      memory::desc(p.weight, Type::f32, Tag::any), channels_last(p.output, type, p), p.stride, p.dilation, p.padding,
      p.padding, forward_description(p, type, {}, {}), with_scratchpad());
  return {Step(description),           make_reorder(description.diff_weights_desc(), p.plain_weight),
          description.src_desc(),      description.diff_weights_desc(),
          description.diff_dst_desc(), p.plain_weight};
}

memory packed_weight(const Convolution& convolution) {
  return as_memory(convolution.weight, scratch(Scratch::kWeights, convolution.weight.get_size()));
}

// Brings a plain weight, scaled by `scale` of each output channel unless that is null, into `packed`.
const memory& pack(const Convolution& convolution, const float* weight, const float* scale, const memory& packed) {
  std::unordered_map<int, memory> arguments{{DNNL_ARG_FROM, as_memory(convolution.plain, weight)},
                                            {DNNL_ARG_TO, packed}};
  const memory::desc channels({convolution.plain.get_dims()[0]}, Type::f32, Tag::a);
  if (scale) arguments.insert({DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC, as_memory(channels, scale)});
  convolution.reorder.execute(arguments);
  return packed;
}

// product (out, in) = dy (rows, out) transposed times x (rows, in); added to what is there, or in its place.
void transposed_product(Type type, int64_t rows, int64_t in, int64_t out, const void* dy, const void* x, float* product,
                        bool add) {
  auto& multiply = cached({static_cast<int64_t>(Pass::kProduct), static_cast<int64_t>(type), add, rows, in, out}, [&] {
    const memory::desc left({out, rows}, type, Tag::ba), right({rows, in}, type, Tag::ab);
    const memory::desc result({out, in}, Type::f32, Tag::ab);
    dnnl::post_ops post_ops;
    if (add) post_ops.append_sum(1.f);
    auto attributes = with_scratchpad();
    attributes.set_post_ops(post_ops);
    const dnnl::matmul::primitive_desc description(cpu_engine(), left, right, result, attributes);
    return Convolution{Step(description), Step(), right, result, left, result};
  });
  multiply.compute.execute({{DNNL_ARG_SRC, as_memory(multiply.output, dy)},
                            {DNNL_ARG_WEIGHTS, as_memory(multiply.input, x)},
                            {DNNL_ARG_DST, as_memory(multiply.weight, product)}});
}

// The frames that a kernel of one frame reads, side by side.
template <typename T>
const T* read_frames(const ConvolutionShape& s, const T* x) {
  if (s.stride_t == 1) return x;
  const int64_t size = s.height * s.width * s.in_channels;
  auto* frames = static_cast<T*>(scratch(Scratch::kInput, s.samples * s.out_frames * size * sizeof(T)));
  parallel(s.samples * s.out_frames, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t from = i / s.out_frames * s.frames + i % s.out_frames * s.stride_t;
      std::memcpy(frames + i * size, x + from * size, size * sizeof(T));
    }
  });
  return frames;
}

// The weight's gradient for kernels of one pixel: for each point in time the product of frames shifted against each
// other; kernels of one frame may take steps in time. oneDNN's convolution over time reaches a quarter of the product's
// speed, and its AVX2 kernels give wrong sums for one frame with steps in time.
template <typename T>
void products_gradient_weight(const ConvolutionShape& s, const T* dy, const T* x, float* dweight) {
  const Type type = data_type_of<T>();
  const int64_t pixels = s.height * s.width, points = s.kernel_t, size = s.out_channels * s.in_channels;
  if (points == 1) {
    transposed_product(type, s.samples * s.out_frames * pixels, s.in_channels, s.out_channels, dy, read_frames(s, x),
                       dweight, false);
    return;
  }
  auto* parts = static_cast<float*>(scratch(Scratch::kWeights, points * size * sizeof(float)));
  for (int64_t point = 0; point < points; point++) {
    const int64_t shift = point - points / 2, frames = s.frames - std::abs(shift);
    float* part = parts + point * size;
    if (frames <= 0) std::memset(part, 0, size * sizeof(float));
    for (int64_t sample = 0; sample < s.samples && frames > 0; sample++) {
      const T* from = x + (sample * s.frames + std::max<int64_t>(shift, 0)) * pixels * s.in_channels;
      const T* to = dy + (sample * s.frames + std::max<int64_t>(-shift, 0)) * pixels * s.out_channels;
      transposed_product(type, frames * pixels, s.in_channels, s.out_channels, to, from, part, sample > 0);
    }
  }
  parallel(size, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++)
      for (int64_t point = 0; point < points; point++) dweight[i * points + point] = parts[point * size + i];
  });
}

}  // namespace

ConvolutionShape::ConvolutionShape(const int64_t* input, const int64_t* weight, int64_t frames, const int64_t* stride,
                                   int64_t dilation)
    : samples(input[0] / frames),
      frames(frames),
      height(input[1]),
      width(input[2]),
      in_channels(input[3]),
      out_channels(weight[0]),
      kernel_t(weight[2]),
      kernel_h(weight[3]),
      kernel_w(weight[4]),
      stride_t(stride[0]),
      stride_h(stride[1]),
      stride_w(stride[2]),
      dilation(dilation),
      out_frames((frames - 1) / stride_t + 1),
      out_height((height - 1) / stride_h + 1),
      out_width((width - 1) / stride_w + 1) {
  if (input[0] % frames) throw std::invalid_argument("the folded frames are no multiple of a sample's frames");
  if (in_channels != weight[1]) throw std::invalid_argument("input and weight differ in channels");
  if (kernel_t % 2 == 0 || kernel_h % 2 == 0 || kernel_w % 2 == 0) throw std::invalid_argument("an even kernel");
}

// With a kernel in time and space oneDNN 3.10 has wrong results in bfloat16 (for small frames by AMX, for all by
// AVX-512). Such layers are computed in float32, between conversions of what they read and give.
template <typename T>
bool is_widened(const ConvolutionShape& shape) {
  return std::is_same_v<T, bfloat16> && Problem(shape).input.size() == 5;
}

template <typename T>
float* widened(const T* x, int64_t size, Scratch place) {
  auto* wide = static_cast<float*>(scratch(place, size * sizeof(float)));
  convert(size, x, wide);
  return wide;
}

template <typename T>
void convolve(const ConvolutionShape& shape, const T* x, const float* weight, const Epilogue& epilogue, T* y) {
  if (is_stem(shape) && epilogue.residual == nullptr) {
    convolve_stem(shape, x, weight, epilogue, y);
    return;
  }
  if (is_winograd(shape)) {
    convolve_winograd(shape, x, weight, epilogue, y);
    return;
  }
  if (is_widened<T>(shape)) {
    Epilogue wide = epilogue;
    if (wide.residual)
      wide.residual = widened(static_cast<const T*>(wide.residual), shape.output_size(), Scratch::kResidual);
    auto* result = static_cast<float*>(scratch(Scratch::kOutput, shape.output_size() * sizeof(float)));
    convolve(shape, widened(x, shape.input_size(), Scratch::kInput), weight, wide, result);
    convert(shape.output_size(), result, y);
    return;
  }
  const Problem problem(shape);
  const Type type = data_type_of<T>();
  const bool affine = epilogue.scale != nullptr, residual = epilogue.residual != nullptr;
  const auto& convolution = cached(key_of(problem, Pass::kForward, type, affine + 2 * residual + 4 * epilogue.relu),
                                   [&] { return make_forward(problem, type, affine, residual, epilogue.relu); });
  const auto pack_into = [&](const memory& packed) {
    return pack(convolution, weight + problem.skipped, epilogue.scale, packed);
  };
  const memory packed = epilogue.evaluates ? kept_weight(weight, shape.weight_size(), epilogue.scale,
                                                         shape.out_channels, convolution.weight, pack_into)
                                           : pack_into(packed_weight(convolution));
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, as_memory(convolution.input, x)},
                                            {DNNL_ARG_WEIGHTS, packed},
                                            {DNNL_ARG_DST, as_memory(convolution.output, y)}};
  if (affine) arguments.insert({DNNL_ARG_BIAS, as_memory({{shape.out_channels}, Type::f32, Tag::a}, epilogue.shift)});
  if (residual)
    arguments.insert(
        {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, as_memory(convolution.output, epilogue.residual)});
  convolution.compute.execute(arguments);
}

template <typename T>
void convolve_gradient_input(const ConvolutionShape& shape, const T* dy, const float* weight, T* dx) {
  // Rounded over two axes, a gradient would gain little time for what it loses.
  if (is_winograd(shape) && (std::is_same_v<T, float> || shape.kernel_t > 1)) {
    convolve_winograd_gradient_input(shape, dy, weight, dx);
    return;
  }
  if (is_widened<T>(shape)) {
    auto* result = static_cast<float*>(scratch(Scratch::kInput, shape.input_size() * sizeof(float)));
    convolve_gradient_input(shape, widened(dy, shape.output_size(), Scratch::kOutput), weight, result);
    convert(shape.input_size(), result, dx);
    return;
  }
  const Problem problem(shape);
  const Type type = data_type_of<T>();
  auto& convolution =
      cached(key_of(problem, Pass::kGradientInput, type), [&] { return make_gradient_input(problem, type); });
  const auto packed = packed_weight(convolution);
  convolution.reorder.execute(
      {{DNNL_ARG_FROM, as_memory(convolution.plain, weight + problem.skipped)}, {DNNL_ARG_TO, packed}});
  convolution.compute.execute({{DNNL_ARG_DIFF_DST, as_memory(convolution.output, dy)},
                               {DNNL_ARG_WEIGHTS, packed},
                               {DNNL_ARG_DIFF_SRC, as_memory(convolution.input, dx)}});
}

template <typename T>
void convolve_gradient_weight(const ConvolutionShape& shape, const T* dy, const T* x, float* dweight) {
  const bool is_one_pixel = shape.kernel_h * shape.kernel_w * shape.stride_h * shape.stride_w == 1;
  if (is_one_pixel && (shape.kernel_t == 1 || shape.stride_t == 1)) {
    products_gradient_weight(shape, dy, x, dweight);
    return;
  }
  if (is_stem(shape)) {
    convolve_stem_gradient_weight(shape, dy, x, dweight);
    return;
  }
  if (is_widened<T>(shape)) {
    const float* wide_dy = widened(dy, shape.output_size(), Scratch::kOutput);
    convolve_gradient_weight(shape, wide_dy, widened(x, shape.input_size(), Scratch::kInput), dweight);
    return;
  }
  const Problem problem(shape);
  const Type type = data_type_of<T>();
  auto& convolution =
      cached(key_of(problem, Pass::kGradientWeight, type), [&] { return make_gradient_weight(problem, type); });
  const auto packed = packed_weight(convolution);
  // oneDNN 3.10 reads scratch memory that it did not write where frames are narrower than the kernel.
  const bool narrow = shape.width < shape.kernel_w;
  convolution.compute.execute({{DNNL_ARG_SRC, as_memory(convolution.input, x)},
                               {DNNL_ARG_DIFF_DST, as_memory(convolution.output, dy)},
                               {DNNL_ARG_DIFF_WEIGHTS, packed}},
                              narrow);
  if (problem.skipped) std::memset(dweight, 0, shape.weight_size() * sizeof(float));
  convolution.reorder.execute(
      {{DNNL_ARG_FROM, packed}, {DNNL_ARG_TO, as_memory(convolution.plain, dweight + problem.skipped)}});
}

template void convolve(const ConvolutionShape&, const float*, const float*, const Epilogue&, float*);
template void convolve(const ConvolutionShape&, const bfloat16*, const float*, const Epilogue&, bfloat16*);
template void convolve_gradient_input(const ConvolutionShape&, const float*, const float*, float*);
template void convolve_gradient_input(const ConvolutionShape&, const bfloat16*, const float*, bfloat16*);
template void convolve_gradient_weight(const ConvolutionShape&, const float*, const float*, float*);
template void convolve_gradient_weight(const ConvolutionShape&, const bfloat16*, const bfloat16*, float*);

}  // namespace slowfast
