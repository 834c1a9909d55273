// Max pooling of folded frames with the channels last.
#pragma once

#include "loops.h"

namespace slowfast {

// Settings of a pooling: frames of a sample, then kernel, stride and padding, each in time, height and width.
Window make_window(const int64_t* input, const float* settings);

// `index` keeps which point of its window each maximum comes from; the first of equals.
template <typename T>
void max_pool(int64_t samples, const Window& window, const T* x, T* y, uint8_t* index);

template <typename T>
void max_pool_gradient(int64_t samples, const Window& window, const T* dy, const uint8_t* index, T* dx);

}  // namespace slowfast
