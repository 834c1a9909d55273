// The inner loops of our own operators: plain C over ranges of memory, for one thread.
//
// loops.cc is compiled once for each instruction set, in a namespace of its name; `loops` chooses by the processor. So
// that no code of a wider set can slip into the rest of the library, loops.cc uses no inline functions of others.
//
// A row is one pixel, its channels side by side. Rows of few channels are taken several at a time, as one line of
// `width` numbers: vectors then are full. What belongs to a channel comes repeated to that width.
#pragma once

#include <cstdint>

#include "bfloat16.h"

namespace slowfast {

// Where the ReLU behind a normalization let values pass: everywhere without one; where scale * x + shift is positive;
// where the output, which includes a residual, is positive.
enum class Mask { kNone, kFromInput, kFromOutput };

// Sizes of max pooling over (frames, height, width), channels last.
struct Window {
  int64_t frames, height, width, channels;
  int64_t kernel[3], stride[3], padding[3], output[3];
};

constexpr int64_t kMostLanes = 16;  // float32 numbers of the widest vector

// A row of one input channel as `separate` makes it, and what it is multiplied with: weights (kernel_w, kStemChannels).
struct StemTap {
  const float *row, *factors;
};
constexpr int64_t kStemChannels = 8;

template <typename T>
struct Loops {
  // sum += x - base, square += (x - base)^2
  void (*moments)(const T* x, int64_t lines, int64_t width, const float* base, float* sum, float* square);
  // y = scale * x + shift (+ residual), not below `low`
  void (*normalize)(const T* x, const T* residual, int64_t lines, int64_t width, const float* scale, const float* shift,
                    float low, T* y);
  // With d = dy where the mask lets it pass, else 0: sum += d, product += d * (x - mean)
  void (*gradient_moments)(const T* dy, const T* x, const T* y, int64_t lines, int64_t width, const float* scale,
                           const float* shift, const float* mean, Mask mask, float* sum, float* product);
  // dx = scale * d + slope * x + offset; dresidual = d, if it is not null
  void (*gradient_input)(const T* dy, const T* x, const T* y, int64_t lines, int64_t width, const float* scale,
                         const float* shift, const float* slope, const float* offset, Mask mask, T* dx, T* dresidual);
  // One line of outputs: the maximum of each window and the number of the point in it that holds it.
  void (*max_pool)(const T* x, const Window& window, int64_t line, T* y, uint8_t* index);
  // One line of inputs: the gradients of the windows whose maximum each is.
  void (*max_pool_gradient)(const T* dy, const uint8_t* index, const Window& window, int64_t line, float* sum, T* dx);
  // One line of pixels with `channels` each: a row of `half` even and `half` odd columns for each channel, `padding`
  // zeros in front of them and zeros behind.
  void (*separate)(const T* x, int64_t width, int64_t channels, int64_t padding, int64_t half, float* rows);
  // One line of outputs of a convolution with steps of two in width, kStemChannels of its `channels`:
  // y = sum over taps of weight * row + shift, not below `low`
  void (*stem)(const StemTap* taps, int64_t count, int64_t kernel_w, int64_t half, int64_t width, const float* shift,
               float low, int64_t channels, T* y);
  // Winograd's minimal filtering: the `size` numbers at each of a tile's points, 6 along one axis or 36 of two, to as
  // many transformed arrays that are `stride` apart.
  void (*winograd_input)(const T* const* points, int axes, int64_t size, int64_t stride, T* y);
  // Products of such arrays, (pixels, channels) each, to the tile's 4 or 16 outputs: + shift (+ residual), not below
  // `low`. Outputs outside of the frame are null.
  void (*winograd_output)(const float* x, int axes, int64_t stride, int64_t pixels, int64_t channels,
                          const float* shift, const T* const* residual, float low, T* const* y);
  // (channels, pixels), `stride` numbers from channel to channel, to (pixels, channels)
  void (*interleave)(const float* x, int64_t stride, int64_t channels, int64_t pixels, T* y);
  // (pixels, channels) to (channels, pixels), `stride` numbers from channel to channel
  void (*transpose)(const T* x, int64_t channels, int64_t pixels, int64_t stride, float* y);
  // y = mean of `frames` arrays, `size` numbers apart, over [begin, end)
  void (*mean)(const T* x, int64_t frames, int64_t size, int64_t begin, int64_t end, float* y);
  // A checksum of `size` numbers (Fletcher's): sums of their bits, and of these sums.
  uint64_t (*checksum)(const T* x, int64_t size);
  // y = factor * x
  void (*scale)(const float* x, int64_t size, float factor, T* y);
  // y = a + b
  void (*add)(const T* a, const T* b, int64_t size, T* y);
};

// Of Winograd's minimal filtering of three points, F(4, 3) along one axis or two. Numbers of channels are multiples of
// kMostLanes.
constexpr int64_t kWinogradOutputs = 4, kWinogradInputs = 6, kWinogradMost = kWinogradInputs * kWinogradInputs;

// Loops over float32 alone.
struct FloatLoops {
  // A line of `size` weights with 3 or 9 points each, times `factor`, to 6 or 36 transformed lines that are `stride`
  // apart;
  // `reversed` turns the kernel around.
  void (*winograd_weight)(const float* weight, int axes, int64_t size, float factor, bool reversed, int64_t stride,
                          float* y);
  // sums (kernel_w, kStemChannels, kMostLanes) += over taps and columns row * factor, where a tap's factors are
  // (kStemChannels, width), width a multiple of kMostLanes
  void (*stem_gradient)(const StemTap* taps, int64_t count, int64_t kernel_w, int64_t half, int64_t width, float* sums);
  // With g = gradient + decay * weight: moment = momentum * moment + g, then weight -= rate * moment, or with
  // Nesterov's rate * (g + momentum * moment)
  void (*momentum)(const float* gradient, int64_t size, float decay, float momentum, float rate, bool nesterov,
                   float* weight, float* moment);
};
const FloatLoops& float_loops();

// The loops for this processor, or for the one that ONEDNN_MAX_CPU_ISA holds the process to.
template <typename T>
const Loops<T>& loops();

// The same, of one instruction set.
namespace avx2 {
extern const FloatLoops only_float_loops;
extern const Loops<float> float_loops;
extern const Loops<bfloat16> bfloat16_loops;
}  // namespace avx2
namespace avx512 {
extern const FloatLoops only_float_loops;
extern const Loops<float> float_loops;
extern const Loops<bfloat16> bfloat16_loops;
}  // namespace avx512

}  // namespace slowfast
