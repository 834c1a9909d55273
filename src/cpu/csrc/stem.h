// The convolution of a pathway's stem: few input channels, steps of two in width.
//
// oneDNN fills its vectors with channels; three leave most of them empty. Here a vector holds neighboring output
// columns, for which each channel of the input is brought into rows of even and odd columns. Sums are of float32
// products.
#pragma once

#include "convolution.h"

namespace slowfast {

bool is_stem(const ConvolutionShape& shape);

// As `convolve`, without a residual.
template <typename T>
void convolve_stem(const ConvolutionShape& shape, const T* x, const float* weight, const Epilogue& epilogue, T* y);

// As `convolve_gradient_weight`.
template <typename T>
void convolve_stem_gradient_weight(const ConvolutionShape& shape, const T* dy, const T* x, float* dweight);

}  // namespace slowfast
