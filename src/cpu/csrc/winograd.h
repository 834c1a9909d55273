// Convolutions of three points by Winograd's minimal filtering: of the multiplications of a direct convolution, a half
// (over time) or a quarter (over height and width) is left.
#pragma once

#include "convolution.h"

namespace slowfast {

// Whether the convolution is one of (3, 1, 1) or (1, 3, 3) points without steps, and large enough to gain by it.
bool is_winograd(const ConvolutionShape& shape);

// y = convolution and epilogue, as `convolve`
void convolve_winograd(const ConvolutionShape& shape, const float* x, const float* weight, const Epilogue& epilogue,
                       float* y);

// dx = gradient of the input, as `convolve_gradient_input`
void convolve_winograd_gradient_input(const ConvolutionShape& shape, const float* dy, const float* weight, float* dx);

}  // namespace slowfast
