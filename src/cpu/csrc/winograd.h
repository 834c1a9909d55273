// Convolutions of three points by Winograd's minimal filtering: of the multiplications of a direct convolution, a half
// (over time) or a quarter (over height and width) is left.
//
// What rounding loses grows in the transforms, in float32 to a few units in the last place. In bfloat16 transformed
// inputs and weights are rounded again: a layer's error is twice (over time) or four times (over height and width) that
// of the direct convolution.
#pragma once

#include "convolution.h"

namespace slowfast {

// Whether the convolution is one of (3, 1, 1) or (1, 3, 3) points without steps, and large enough to gain by it.
bool is_winograd(const ConvolutionShape& shape);

// y = convolution and epilogue, as `convolve`
template <typename T>
void convolve_winograd(const ConvolutionShape& shape, const T* x, const float* weight, const Epilogue& epilogue, T* y);

// dx = gradient of the input, as `convolve_gradient_input`
template <typename T>
void convolve_winograd_gradient_input(const ConvolutionShape& shape, const T* dy, const float* weight, T* dx);

}  // namespace slowfast
