// Convolutions of folded frames (n * t, h, w, channels), by oneDNN.
#pragma once

#include <cstdint>

#include "onednn.h"

namespace slowfast {

// Shapes and steps of a convolution whose zero padding keeps the size but for the strides.
struct ConvolutionShape {
  int64_t samples, frames, height, width, in_channels, out_channels;
  int64_t kernel_t, kernel_h, kernel_w, stride_t, stride_h, stride_w, dilation;
  int64_t out_frames, out_height, out_width;

  int64_t input_size() const { return samples * frames * height * width * in_channels; }
  int64_t output_size() const { return samples * out_frames * out_height * out_width * out_channels; }
  int64_t weight_size() const { return out_channels * in_channels * kernel_t * kernel_h * kernel_w; }

  // Args: shapes of the input (n * t, h, w, in) and the weight (out, in, t, h, w); frames of a sample; steps.
  ConvolutionShape(const int64_t* input, const int64_t* weight, int64_t frames, const int64_t* stride,
                   int64_t dilation);
};

// What a forward pass does beside convolving. `scale` and `shift`, float32 of each output channel, come together.
struct Epilogue {
  const float *scale = nullptr, *shift = nullptr;  // y = scale * convolution + shift
  const void* residual = nullptr;                  // added, of the output's shape and type
  bool relu = false;
  bool evaluates = false;  // the weight rarely changes from call to call, so it is kept packed
};

template <typename T>
void convolve(const ConvolutionShape& shape, const T* x, const float* weight, const Epilogue& epilogue, T* y);

template <typename T>
void convolve_gradient_input(const ConvolutionShape& shape, const T* dy, const float* weight, T* dx);

template <typename T>
void convolve_gradient_weight(const ConvolutionShape& shape, const T* dy, const T* x, float* dweight);

}  // namespace slowfast
