#include "normalization.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "loops.h"
#include "onednn.h"
#include "threads.h"

namespace slowfast {
namespace {

constexpr int64_t kLine = 128;  // numbers that fill the vector units
constexpr int64_t kBlock = 64;  // lines summed in float32 before they are added in float64

// How rows are put side by side for the loops.
struct Lines {
  int64_t channels, repeats = 1, width, count;

  Lines(int64_t rows, int64_t channels) : channels(channels) {
    while (channels * repeats < kLine && rows % (repeats * 2) == 0) repeats *= 2;
    width = channels * repeats;
    count = rows / repeats;
  }
  std::vector<float> repeat(const std::vector<float>& values) const {
    std::vector<float> line;
    line.reserve(width);
    for (int64_t i = 0; i < repeats; i++) line.insert(line.end(), values.begin(), values.end());
    return line;
  }
};

// Two sums of each channel, over all rows: block(first line, lines, a, b) adds to sums of a line's width.
void two_sums(const Lines& lines, std::vector<double>* first, std::vector<double>* second,
              const std::function<void(int64_t, int64_t, float*, float*)>& block) {
  const int threads = thread_pool().get_num_threads();
  auto* partial = static_cast<float*>(scratch(Scratch::kSums, 2 * lines.width * threads * sizeof(float)));
  std::vector<double> totals(2 * lines.channels * threads);
  parallel(lines.count, [&](int64_t begin, int64_t end, int thread) {
    float *a = partial + 2 * lines.width * thread, *b = a + lines.width;
    double* total = totals.data() + 2 * lines.channels * thread;
    for (int64_t from = begin; from < end; from += kBlock) {
      std::memset(a, 0, 2 * lines.width * sizeof(float));
      block(from, std::min(end, from + kBlock) - from, a, b);
      for (int64_t j = 0; j < lines.repeats; j++)
        for (int64_t i = 0; i < lines.channels; i++) {
          total[i] += a[j * lines.channels + i];
          total[lines.channels + i] += b[j * lines.channels + i];
        }
    }
  });
  first->assign(lines.channels, 0.0);
  second->assign(lines.channels, 0.0);
  for (int thread = 0; thread < threads; thread++)
    for (int64_t i = 0; i < lines.channels; i++) {
      (*first)[i] += totals[2 * lines.channels * thread + i];
      (*second)[i] += totals[2 * lines.channels * thread + lines.channels + i];
    }
}

// Mean and 1 / deviation of the batch; the running statistics move towards it.
template <typename T>
void batch_statistics(const Lines& lines, const T* x, const NormalizationParameters& parameters,
                      const NormalizationSettings& settings, float* mean, float* inverse_deviation) {
  const double rows = static_cast<double>(lines.count * lines.repeats);
  // Sums of x - base, base being the first row: the variance loses no digits where the mean is large.
  std::vector<float> base(lines.channels);
  for (int64_t i = 0; i < lines.channels; i++) base[i] = load(x + i);
  const auto bases = lines.repeat(base);
  std::vector<double> sum, square;
  two_sums(lines, &sum, &square, [&](int64_t line, int64_t count, float* a, float* b) {
    loops<T>().moments(x + line * lines.width, count, lines.width, bases.data(), a, b);
  });
  for (int64_t i = 0; i < lines.channels; i++) {
    const double shift = sum[i] / rows, difference = square[i] / rows - shift * shift;
    const double variance = difference < 0.0 ? 0.0 : difference;  // keeps NaN
    mean[i] = static_cast<float>(shift + base[i]);
    inverse_deviation[i] = static_cast<float>(1.0 / std::sqrt(variance + settings.epsilon));
    const auto unbiased = static_cast<float>(variance * rows / std::max(rows - 1.0, 1.0));
    parameters.running_mean[i] += settings.momentum * (mean[i] - parameters.running_mean[i]);
    parameters.running_variance[i] += settings.momentum * (unbiased - parameters.running_variance[i]);
  }
}

// The affine map that a normalization is.
struct Affine {
  std::vector<float> scale, shift;

  Affine(int64_t channels, const float* gamma, const float* beta, const float* mean, const float* inverse_deviation)
      : scale(channels), shift(channels) {
    for (int64_t i = 0; i < channels; i++) {
      scale[i] = gamma[i] * inverse_deviation[i];
      shift[i] = beta[i] - mean[i] * scale[i];
    }
  }
};

}  // namespace

template <typename T>
void normalize(int64_t rows, int64_t channels, const T* x, const T* residual, const NormalizationParameters& parameters,
               const NormalizationSettings& settings, T* y, float* mean, float* inverse_deviation) {
  const Lines lines(rows, channels);
  if (settings.frozen) {
    for (int64_t i = 0; i < channels; i++) {
      mean[i] = parameters.running_mean[i];
      inverse_deviation[i] = 1.f / std::sqrt(parameters.running_variance[i] + settings.epsilon);
    }
  } else {
    batch_statistics(lines, x, parameters, settings, mean, inverse_deviation);
  }
  const Affine affine(channels, parameters.gamma, parameters.beta, mean, inverse_deviation);
  const auto scale = lines.repeat(affine.scale), shift = lines.repeat(affine.shift);
  const float low = settings.relu ? 0.f : -INFINITY;
  parallel(lines.count, [&](int64_t begin, int64_t end, int) {
    const int64_t offset = begin * lines.width;
    loops<T>().normalize(x + offset, residual ? residual + offset : nullptr, end - begin, lines.width, scale.data(),
                         shift.data(), low, y + offset);
  });
}

template <typename T>
void normalize_gradient(int64_t rows, int64_t channels, const T* dy, const T* x, const T* y, const float* gamma,
                        const float* beta, const float* mean, const float* inverse_deviation,
                        const NormalizationSettings& settings, T* dx, float* dgamma, float* dbeta, T* dresidual) {
  const Lines lines(rows, channels);
  const Mask mask = !settings.relu ? Mask::kNone : dresidual ? Mask::kFromOutput : Mask::kFromInput;
  const Affine affine(channels, gamma, beta, mean, inverse_deviation);
  const auto scale = lines.repeat(affine.scale), shift = lines.repeat(affine.shift);
  const auto means = lines.repeat(std::vector<float>(mean, mean + channels));
  const auto at = [&](const T* tensor, int64_t line) { return tensor ? tensor + line * lines.width : nullptr; };
  std::vector<double> sum, product;
  two_sums(lines, &sum, &product, [&](int64_t line, int64_t count, float* a, float* b) {
    loops<T>().gradient_moments(at(dy, line), at(x, line), at(y, line), count, lines.width, scale.data(), shift.data(),
                                means.data(), mask, a, b);
  });
  // With batch statistics dx = scale * (d - dbeta / rows - (x - mean) / deviation * dgamma / rows), which is
  // scale * d + slope * x + offset.
  std::vector<float> slope(channels), offset(channels);
  for (int64_t i = 0; i < channels; i++) {
    dbeta[i] = static_cast<float>(sum[i]);
    dgamma[i] = static_cast<float>(product[i] * inverse_deviation[i]);
    if (settings.frozen) continue;
    slope[i] = -affine.scale[i] * inverse_deviation[i] * dgamma[i] / static_cast<float>(rows);
    offset[i] = -affine.scale[i] * dbeta[i] / static_cast<float>(rows) - slope[i] * mean[i];
  }
  const auto slopes = lines.repeat(slope), offsets = lines.repeat(offset);
  parallel(lines.count, [&](int64_t begin, int64_t end, int) {
    loops<T>().gradient_input(at(dy, begin), at(x, begin), at(y, begin), end - begin, lines.width, scale.data(),
                              shift.data(), slopes.data(), offsets.data(), mask, dx + begin * lines.width,
                              dresidual ? dresidual + begin * lines.width : nullptr);
  });
}

template <typename T>
void sum_rows(int64_t rows, int64_t channels, const T* x, float* sum) {
  const Lines lines(rows, channels);
  const std::vector<float> base(lines.width, 0.f);
  std::vector<double> total, square;
  two_sums(lines, &total, &square, [&](int64_t line, int64_t count, float* a, float* b) {
    loops<T>().moments(x + line * lines.width, count, lines.width, base.data(), a, b);
  });
  for (int64_t i = 0; i < channels; i++) sum[i] = static_cast<float>(total[i]);
}

#define INSTANTIATE(T)                                                                                                \
  template void normalize(int64_t, int64_t, const T*, const T*, const NormalizationParameters&,                       \
                          const NormalizationSettings&, T*, float*, float*);                                          \
  template void normalize_gradient(int64_t, int64_t, const T*, const T*, const T*, const float*, const float*,        \
                                   const float*, const float*, const NormalizationSettings&, T*, float*, float*, T*); \
  template void sum_rows(int64_t, int64_t, const T*, float*);
INSTANTIATE(float)
INSTANTIATE(bfloat16)
#undef INSTANTIATE

}  // namespace slowfast
