// Batch normalization of folded frames with the channels last, (rows, channels), with an optional residual and ReLU.
#pragma once

#include <cstdint>

#include "bfloat16.h"

namespace slowfast {

struct NormalizationSettings {
  float epsilon, momentum;  // momentum: weight of the batch in the running statistics
  bool relu, frozen;        // frozen: normalize by the running statistics, and leave them as they are
};

// float32 of each channel
struct NormalizationParameters {
  const float *gamma, *beta;
  float *running_mean, *running_variance;
};

// y = relu(gamma * (x - mean) / deviation + beta + residual); mean and 1 / deviation are kept for the gradients.
template <typename T>
void normalize(int64_t rows, int64_t channels, const T* x, const T* residual, const NormalizationParameters& parameters,
               const NormalizationSettings& settings, T* y, float* mean, float* inverse_deviation);

// Gradients of `normalize`. `y` is read and `dresidual` written where there is a residual; else both are null.
template <typename T>
void normalize_gradient(int64_t rows, int64_t channels, const T* dy, const T* x, const T* y, const float* gamma,
                        const float* beta, const float* mean, const float* inverse_deviation,
                        const NormalizationSettings& settings, T* dx, float* dgamma, float* dbeta, T* dresidual);

// Sum over rows of each channel: the gradient of a bias.
template <typename T>
void sum_rows(int64_t rows, int64_t channels, const T* x, float* sum);

}  // namespace slowfast
