#include "winograd.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "loops.h"
#include "threads.h"
#include "weights.h"

namespace slowfast {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

constexpr int64_t kLines = 256;  // of a product, at least: its weights are read once for all of them

// How the outputs are cut into tiles of kWinogradOutputs along each filtered axis. A tile along time takes a whole line
// of pixels with it; a tile of height and width takes every `dilation`-th pixel.
struct Tiling {
  const ConvolutionShape& s;
  const bool over_time;
  const int64_t inputs, outputs;                    // points of a tile
  const int64_t pixels;                             // that a tile takes with it
  const int64_t count_t, count_h, count_w, phases;  // tiles of a sample, or of a frame for each phase of the dilation
  const int64_t count;

  explicit Tiling(const ConvolutionShape& s)
      : s(s),
        over_time(s.kernel_t == 3),
        inputs(over_time ? kWinogradInputs : kWinogradInputs * kWinogradInputs),
        outputs(over_time ? kWinogradOutputs : kWinogradOutputs * kWinogradOutputs),
        pixels(over_time ? s.width : 1),
        count_t(over_time ? tiles(s.frames) : s.frames),
        count_h(over_time ? s.height : tiles(phase_length(s.height))),
        count_w(over_time ? 1 : tiles(phase_length(s.width))),
        phases(over_time ? 1 : s.dilation),
        count(s.samples * count_t * phases * phases * count_h * count_w) {}

  static int64_t tiles(int64_t length) { return (length + kWinogradOutputs - 1) / kWinogradOutputs; }
  int64_t phase_length(int64_t length) const { return (length + s.dilation - 1) / s.dilation; }

  // Offsets of a tile's first output along the axes, then those of its points, in pixels; -1 for a point that is
  // outside. `before` is 1 for inputs, which begin a point before the outputs.
  void offsets(int64_t tile, int64_t before, int64_t length, int64_t* result) const {
    const int64_t column = tile % count_w, row = tile / count_w % count_h;
    tile /= count_w * count_h;
    const int64_t phase_w = tile % phases, phase_h = tile / phases % phases;
    tile /= phases * phases;
    if (over_time) {
      const int64_t sample = tile / count_t, first = tile % count_t * kWinogradOutputs - before;
      for (int64_t i = 0; i < length; i++) {
        const int64_t frame = first + i;
        const bool inside = frame >= 0 && frame < s.frames;
        result[i] = inside ? ((sample * s.frames + frame) * s.height + row) * s.width : -1;
      }
      return;
    }
    const int64_t first_h = row * kWinogradOutputs - before, first_w = column * kWinogradOutputs - before;
    for (int64_t i = 0; i < length; i++)
      for (int64_t j = 0; j < length; j++) {
        const int64_t h = phase_h + s.dilation * (first_h + i), w = phase_w + s.dilation * (first_w + j);
        const bool inside = h >= 0 && w >= 0 && h < s.height && w < s.width;
        *result++ = inside ? (tile * s.height + h) * s.width + w : -1;
      }
  }
};

// The product of the tiles' lines (points, lines, in) with the weights (points, in, out).
struct Product {
  Step compute;
  memory::desc lines, packed, result;
};

const Product& product(Type type, int64_t points, int64_t lines, int64_t in, int64_t out) {
  static auto* products = new std::map<std::vector<int64_t>, Product>();
  const std::vector<int64_t> key{static_cast<int64_t>(type), points, lines, in, out};
  auto found = products->find(key);
  if (found == products->end()) {
    const dnnl::matmul::primitive_desc description(cpu_engine(), memory::desc({points, lines, in}, type, Tag::abc),
                                                   memory::desc({points, in, out}, type, Tag::any),
                                                   memory::desc({points, lines, out}, Type::f32, Tag::abc),
                                                   with_scratchpad());
    const Product made{Step(description), description.src_desc(), description.weights_desc(), description.dst_desc()};
    found = products->emplace(key, made).first;
  }
  return found->second;
}

// The weight (out, in, points), each output channel scaled unless `scale` is null, as (points, out, in).
float* transformed_weight(const ConvolutionShape& s, const float* weight, const float* scale, bool reversed) {
  const int axes = s.kernel_t == 3 ? 1 : 2;
  const int64_t matrix = s.out_channels * s.in_channels, points = axes == 1 ? 3 : 9;
  const int64_t size = Tiling(s).inputs * matrix * static_cast<int64_t>(sizeof(float));
  auto* y = static_cast<float*>(scratch(Scratch::kTransformed, size));
  parallel(s.out_channels, [&](int64_t begin, int64_t end, int) {
    for (int64_t out = begin; out < end; out++)
      float_loops().winograd_weight(weight + out * s.in_channels * points, axes, s.in_channels,
                                    scale ? scale[out] : 1.f, reversed, matrix, y + out * s.in_channels);
  });
  return y;
}

void reorder(const memory& from, const memory& to) {
  make_reorder(from.get_desc(), to.get_desc()).execute({{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

// How many tiles are transformed and multiplied at once: enough lines for a product, and all groups of one size.
int64_t group_size(const Tiling& tiling) {
  const int64_t most = std::max<int64_t>(1, (kLines + tiling.pixels - 1) / tiling.pixels);
  const int64_t groups = (tiling.count + most - 1) / most;
  return (tiling.count + groups - 1) / groups;
}

// y = x, of shape.in_channels, convolved to shape.out_channels with the weight that `packed_for` gives.
template <typename T, typename PackedFor>
void filter(const ConvolutionShape& shape, const T* x, const PackedFor& packed_for, const Epilogue& epilogue, T* y) {
  const Tiling tiling(shape);
  const int axes = tiling.over_time ? 1 : 2;
  const int64_t in = shape.in_channels, out = shape.out_channels;
  const int64_t group = group_size(tiling), lines = group * tiling.pixels;
  const auto& multiply = product(data_type_of<T>(), tiling.inputs, lines, in, out);
  const memory packed = packed_for(multiply.packed);
  auto* points = static_cast<T*>(scratch(Scratch::kInput, multiply.lines.get_size()));
  auto* products = static_cast<float*>(scratch(Scratch::kOutput, multiply.result.get_size()));
  const std::vector<T> zeros(tiling.pixels * in);
  const std::vector<float> no_shift(out);
  const float* shift = epilogue.shift ? epilogue.shift : no_shift.data();
  const auto* residual = static_cast<const T*>(epilogue.residual);
  const float low = epilogue.relu ? 0.f : -std::numeric_limits<float>::infinity();

  for (int64_t first = 0; first < tiling.count; first += group) {
    const int64_t tiles = std::min(group, tiling.count - first);
    parallel(tiles, [&](int64_t begin, int64_t end, int) {
      int64_t offsets[kWinogradMost];
      const T* from[kWinogradMost];
      for (int64_t i = begin; i < end; i++) {
        tiling.offsets(first + i, 1, kWinogradInputs, offsets);
        for (int64_t j = 0; j < tiling.inputs; j++) from[j] = offsets[j] < 0 ? zeros.data() : x + offsets[j] * in;
        loops<T>().winograd_input(from, axes, tiling.pixels * in, lines * in, points + i * tiling.pixels * in);
      }
    });
    multiply.compute.execute({{DNNL_ARG_SRC, as_memory(multiply.lines, points)},
                              {DNNL_ARG_WEIGHTS, packed},
                              {DNNL_ARG_DST, as_memory(multiply.result, products)}});
    parallel(tiles, [&](int64_t begin, int64_t end, int) {
      int64_t offsets[kWinogradMost];
      const T* others[kWinogradMost];
      T* to[kWinogradMost];
      for (int64_t i = begin; i < end; i++) {
        tiling.offsets(first + i, 0, kWinogradOutputs, offsets);
        for (int64_t j = 0; j < tiling.outputs; j++) {
          to[j] = offsets[j] < 0 ? nullptr : y + offsets[j] * out;
          others[j] = residual ? residual + offsets[j] * out : nullptr;
        }
        loops<T>().winograd_output(products + i * tiling.pixels * out, axes, lines * out, tiling.pixels, out, shift,
                                   residual ? others : nullptr, low, to);
      }
    });
  }
}

}  // namespace

bool is_winograd(const ConvolutionShape& s) {
  const bool over_time = s.kernel_t == 3 && s.kernel_h * s.kernel_w == 1 && s.frames >= kWinogradOutputs;
  const bool over_pixels = s.kernel_t == 1 && s.kernel_h == 3 && s.kernel_w == 3;
  return (over_time || over_pixels) && s.stride_t * s.stride_h * s.stride_w == 1 && s.in_channels % kMostLanes == 0 &&
         s.out_channels % kMostLanes == 0 && std::min(s.in_channels, s.out_channels) >= 32;
}

template <typename T>
void convolve_winograd(const ConvolutionShape& shape, const T* x, const float* weight, const Epilogue& epilogue, T* y) {
  const int64_t in = shape.in_channels, out = shape.out_channels;
  const memory::desc plain({Tiling(shape).inputs, in, out}, Type::f32, memory::dims{in * out, 1, in});
  const auto packed_for = [&](const memory::desc& layout) {
    const auto pack = [&](const memory& packed) {
      reorder(as_memory(plain, transformed_weight(shape, weight, epilogue.scale, false)), packed);
    };
    if (epilogue.evaluates) return kept_weight(weight, shape.weight_size(), epilogue.scale, out, layout, pack);
    const memory packed = as_memory(layout, scratch(Scratch::kWeights, layout.get_size()));
    pack(packed);
    return packed;
  };
  filter(shape, x, packed_for, epilogue, y);
}

template <typename T>
void convolve_winograd_gradient_input(const ConvolutionShape& shape, const T* dy, const float* weight, T* dx) {
  const int64_t in = shape.in_channels, out = shape.out_channels;
  const memory::desc plain({Tiling(shape).inputs, out, in}, Type::f32, Tag::abc);
  const auto packed_for = [&](const memory::desc& layout) {
    const memory packed = as_memory(layout, scratch(Scratch::kWeights, layout.get_size()));
    reorder(as_memory(plain, transformed_weight(shape, weight, nullptr, true)), packed);
    return packed;
  };
  ConvolutionShape turned = shape;
  std::swap(turned.in_channels, turned.out_channels);
  filter(turned, dy, packed_for, Epilogue{}, dx);
}

template void convolve_winograd(const ConvolutionShape&, const float*, const float*, const Epilogue&, float*);
template void convolve_winograd(const ConvolutionShape&, const bfloat16*, const float*, const Epilogue&, bfloat16*);
template void convolve_winograd_gradient_input(const ConvolutionShape&, const float*, const float*, float*);
template void convolve_winograd_gradient_input(const ConvolutionShape&, const bfloat16*, const float*, bfloat16*);

}  // namespace slowfast
