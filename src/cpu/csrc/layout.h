// What moves activations: from clips to folded frames, channels side by side and apart, the mean over time, sums.
#pragma once

#include <cstdint>

namespace slowfast {

// clip (n, c, t, h, w) to folded frames (n * t, h, w, c); `pixels` is h * w
template <typename T>
void fold(int64_t samples, int64_t channels, int64_t frames, int64_t pixels, const float* clip, T* y);

// (rows, bytes_a) and (rows, bytes_b) side by side, and apart again
void concatenate(int64_t rows, int64_t bytes_a, int64_t bytes_b, const void* a, const void* b, void* y);
void split(int64_t rows, int64_t bytes_a, int64_t bytes_b, const void* y, void* a, void* b);

// (samples * frames, size) to the mean over frames (samples, size), and its gradient
template <typename T>
void temporal_mean(int64_t samples, int64_t frames, int64_t size, const T* x, float* y);
template <typename T>
void temporal_mean_gradient(int64_t samples, int64_t frames, int64_t size, const float* dy, T* dx);

// y = x in another type
template <typename From, typename To>
void convert(int64_t size, const From* x, To* y);

template <typename T>
void add(int64_t size, const T* a, const T* b, T* y);

}  // namespace slowfast
