// The operators as MindSpore calls them: C functions over the inputs, then the outputs, of an `ops.Custom`.
//
// MindSpore hands an operator nothing but tensors (its attributes can be read through its internal C++ headers only,
// which change from version to version). So what belongs to a layer comes as the last input, `settings`, float32.
// src/cpu/operators.py defines each operator. Activations are float32 or bfloat16, everything else is float32.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "convolution.h"
#include "layout.h"
#include "normalization.h"
#include "optimizer.h"
#include "pooling.h"

#define OPERATOR(name)                                                                                             \
  extern "C" __attribute__((visibility("default"))) int name(int count, void** data, int* ranks, int64_t** shapes, \
                                                             const char** types, void*, void*)
#define TENSORS Tensors(count, data, ranks, shapes, types)

namespace slowfast {
namespace {

// The inputs, then the outputs of a call.
class Tensors {
 public:
  Tensors(int count, void** data, const int* ranks, int64_t** shapes, const char** types)
      : count(count), data_(data), ranks_(ranks), shapes_(shapes), types_(types) {}

  float* floats(int i) const { return static_cast<float*>(data_[i]); }
  uint8_t* bytes(int i) const { return static_cast<uint8_t*>(data_[i]); }
  template <typename T>
  T* as(int i) const {
    return static_cast<T*>(data_[i]);
  }
  const int64_t* shape(int i) const { return shapes_[i]; }
  bool is_bfloat16(int i) const { return std::strcmp(types_[i], "bfloat16") == 0; }
  // Numbers of a tensor, of its first `rank` axes at most.
  int64_t size(int i, int rank = 8) const {
    int64_t product = 1;
    for (int axis = 0; axis < ranks_[i] && axis < rank; axis++) product *= shapes_[i][axis];
    return product;
  }
  int64_t channels(int i) const { return shapes_[i][ranks_[i] - 1]; }
  int64_t rows(int i) const { return size(i, ranks_[i] - 1); }
  std::string describe() const {
    std::string text;
    for (int i = 0; i < count; i++) {
      text += i ? ", " : "";
      text += types_[i];
      for (int axis = 0; axis < ranks_[i]; axis++)
        text.append(axis ? "x" : " ").append(std::to_string(shapes_[i][axis]));
    }
    return text;
  }

  const int count;

 private:
  void** data_;
  const int* ranks_;
  int64_t** shapes_;
  const char** types_;
};

// Time and calls of each operator, printed when the process ends; kept with SLOWFAST_CPU_PROFILE=1.
class Profile {
 public:
  void add(const char* name, double seconds) {
    auto& [total, calls] = entries_[name];
    total += seconds;
    calls++;
  }
  ~Profile() {
    for (const auto& [name, entry] : entries_)
      std::fprintf(stderr, "slowfast_cpu: %-18s %6d calls %9.1f ms\n", name.c_str(), entry.second, entry.first * 1e3);
  }

 private:
  std::map<std::string, std::pair<double, int>> entries_;
};

// Runs an operator: one at a time, for each uses all threads and they share scratch memory. An exception becomes one
// line and a status that MindSpore raises as an error.
template <typename Body>
int run(const char* name, const Tensors& tensors, const Body& body) {
  static std::mutex turn;
  static const char* profiled = std::getenv("SLOWFAST_CPU_PROFILE");
  static Profile profile;
  const std::lock_guard<std::mutex> lock(turn);
  try {
    const auto start = std::chrono::steady_clock::now();
    body(tensors);
    if (profiled) {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      profile.add(name, elapsed.count());
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: slowfast_cpu: %s(%s): %s\n", name, tensors.describe().c_str(), error.what());
    return 1;
  }
}

// The same, with the body's second argument telling the type of tensor `i`.
template <typename Body>
int run_typed(const char* name, const Tensors& tensors, int i, const Body& body) {
  return run(name, tensors, [&](const Tensors& t) {
    if (t.is_bfloat16(i)) {
      body(t, bfloat16{});
    } else {
      body(t, float{});
    }
  });
}

// settings of a convolution: frames, steps in time, height and width, dilation
ConvolutionShape convolution_shape(const Tensors& t, int input, int weight, const float* settings) {
  const int64_t stride[3] = {static_cast<int64_t>(settings[1]), static_cast<int64_t>(settings[2]),
                             static_cast<int64_t>(settings[3])};
  return ConvolutionShape(t.shape(input), t.shape(weight), static_cast<int64_t>(settings[0]), stride,
                          static_cast<int64_t>(settings[4]));
}

// settings of a normalization: epsilon, momentum, whether a ReLU follows, whether the statistics are frozen
NormalizationSettings normalization_settings(const float* settings) {
  return {settings[0], settings[1], settings[2] != 0.f, settings[3] != 0.f};
}

}  // namespace

// x, weight, [bias,] settings -> y
OPERATOR(Conv3d) {
  return run_typed("Conv3d", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const auto shape = convolution_shape(t, 0, 1, t.floats(t.count - 2));
    Epilogue epilogue;
    const std::vector<float> ones(shape.out_channels, 1.f);
    if (t.count == 5) epilogue.scale = ones.data(), epilogue.shift = t.floats(2);
    convolve(shape, t.as<T>(0), t.floats(1), epilogue, t.as<T>(t.count - 1));
  });
}

// dy, x, weight, settings -> dx; of x only the shape is used
OPERATOR(Conv3dGradInput) {
  return run_typed("Conv3dGradInput", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    convolve_gradient_input(convolution_shape(t, 1, 2, t.floats(3)), t.as<T>(0), t.floats(2), t.as<T>(4));
  });
}

// dy, x, weight, settings -> dweight; of weight only the shape is used
OPERATOR(Conv3dGradWeight) {
  return run_typed("Conv3dGradWeight", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    convolve_gradient_weight(convolution_shape(t, 1, 2, t.floats(3)), t.as<T>(0), t.as<T>(1), t.floats(4));
  });
}

// dy -> dbias
OPERATOR(Conv3dGradBias) {
  return run_typed("Conv3dGradBias", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    sum_rows(t.rows(0), t.channels(0), t.as<T>(0), t.floats(1));
  });
}

// x, weight, gamma, beta, running mean, running variance, [bias,] [residual,] settings -> y
// settings: a convolution's, epsilon, whether a ReLU follows, whether there is a bias
OPERATOR(Conv3dBatchNorm) {
  return run_typed("Conv3dBatchNorm", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const float* settings = t.floats(t.count - 2);
    const auto shape = convolution_shape(t, 0, 1, settings);
    const float *gamma = t.floats(2), *beta = t.floats(3), *mean = t.floats(4), *variance = t.floats(5);
    const bool has_bias = settings[7] != 0.f;
    std::vector<float> scale(shape.out_channels), shift(shape.out_channels);
    for (int64_t i = 0; i < shape.out_channels; i++) {
      scale[i] = gamma[i] / std::sqrt(variance[i] + settings[5]);
      shift[i] = beta[i] + ((has_bias ? t.floats(6)[i] : 0.f) - mean[i]) * scale[i];
    }
    const int residual = has_bias ? 7 : 6;
    Epilogue epilogue{scale.data(), shift.data(), nullptr, settings[6] != 0.f};
    epilogue.evaluates = true;
    if (t.count == residual + 3) epilogue.residual = t.as<T>(residual);
    convolve(shape, t.as<T>(0), t.floats(1), epilogue, t.as<T>(t.count - 1));
  });
}

// x, gamma, beta, running mean, running variance, [residual,] settings -> y, mean, 1 / deviation
OPERATOR(BatchNorm3d) {
  return run_typed("BatchNorm3d", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const bool residual = t.count == 10;
    const int settings = residual ? 6 : 5;
    const NormalizationParameters parameters{t.floats(1), t.floats(2), t.floats(3), t.floats(4)};
    normalize(t.rows(0), t.channels(0), t.as<T>(0), residual ? t.as<T>(5) : nullptr, parameters,
              normalization_settings(t.floats(settings)), t.as<T>(settings + 1), t.floats(settings + 2),
              t.floats(settings + 3));
  });
}

// dy, x, gamma, beta, mean, 1 / deviation, [y,] settings -> dx, dgamma, dbeta[, dresidual]
OPERATOR(BatchNorm3dGrad) {
  return run_typed("BatchNorm3dGrad", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const bool residual = t.count == 12;
    const int settings = residual ? 7 : 6;
    normalize_gradient(t.rows(0), t.channels(0), t.as<T>(0), t.as<T>(1), residual ? t.as<T>(6) : nullptr, t.floats(2),
                       t.floats(3), t.floats(4), t.floats(5), normalization_settings(t.floats(settings)),
                       t.as<T>(settings + 1), t.floats(settings + 2), t.floats(settings + 3),
                       residual ? t.as<T>(settings + 4) : nullptr);
  });
}

// x, settings -> y, index
OPERATOR(MaxPool3d) {
  return run_typed("MaxPool3d", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const Window window = make_window(t.shape(0), t.floats(1));
    max_pool(t.shape(0)[0] / window.frames, window, t.as<T>(0), t.as<T>(2), t.bytes(3));
  });
}

// dy, index, x, settings -> dx; of x only the shape is used
OPERATOR(MaxPool3dGrad) {
  return run_typed("MaxPool3dGrad", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const Window window = make_window(t.shape(2), t.floats(3));
    max_pool_gradient(t.shape(2)[0] / window.frames, window, t.as<T>(0), t.bytes(1), t.as<T>(4));
  });
}

// clip (n, c, t, h, w) float32 -> folded frames (n * t, h, w, c)
OPERATOR(Fold) {
  return run_typed("Fold", TENSORS, 1, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const int64_t* s = t.shape(0);
    fold(s[0], s[1], s[2], s[3] * s[4], t.floats(0), t.as<T>(1));
  });
}

// a (..., c1), b (..., c2) -> (..., c1 + c2)
OPERATOR(Concat) {
  return run_typed("Concat", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const int64_t item = sizeof(T);
    concatenate(t.rows(0), t.channels(0) * item, t.channels(1) * item, t.as<T>(0), t.as<T>(1), t.as<T>(2));
  });
}

// dy (..., c1 + c2), a (..., c1), b (..., c2) -> da, db; of a and b only the shapes are used
OPERATOR(ConcatGrad) {
  return run_typed("ConcatGrad", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const int64_t item = sizeof(T);
    split(t.rows(0), t.channels(1) * item, t.channels(2) * item, t.as<T>(0), t.as<T>(3), t.as<T>(4));
  });
}

// x (n * t, h, w, c), frames (t,) -> mean over time (n, h, w, c) float32; of frames only the shape is used
OPERATOR(TemporalMean) {
  return run_typed("TemporalMean", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const int64_t samples = t.shape(2)[0];
    temporal_mean(samples, t.shape(1)[0], t.size(2) / samples, t.as<T>(0), t.floats(2));
  });
}

// dy (n, h, w, c) float32, x (n * t, h, w, c) -> dx; of x only the shape is used
OPERATOR(TemporalMeanGrad) {
  return run_typed("TemporalMeanGrad", TENSORS, 1, [](const Tensors& t, auto type) {
    using T = decltype(type);
    const int64_t samples = t.shape(0)[0];
    temporal_mean_gradient(samples, t.shape(1)[0] / samples, t.size(0) / samples, t.floats(0), t.as<T>(2));
  });
}

// weights, moments, gradients, rate, momentum, whether the step is taken, settings -> nothing of use; it writes weights
// and moments
// settings: whether it is Nesterov's, then weight decays, then factors of the rate
OPERATOR(MomentumSGD) {
  return run("MomentumSGD", TENSORS, [](const Tensors& t) {
    const int arrays = (t.count - 5) / 3, scalars = 3 * arrays;
    *t.floats(t.count - 1) = 0.f;
    if (*t.floats(scalars + 2) == 0.f) return;
    const float rate = *t.floats(scalars), momentum = *t.floats(scalars + 1);
    const float *settings = t.floats(scalars + 3), *decays = settings + 1, *factors = decays + arrays;
    std::vector<MomentumUpdate> updates(arrays);
    for (int i = 0; i < arrays; i++)
      updates[i] = {t.size(i),   t.floats(2 * arrays + i), decays[i], rate * factors[i],
                    t.floats(i), t.floats(arrays + i)};
    update_momentum(updates, momentum, settings[0] != 0.f);
  });
}

// a, b -> a + b
OPERATOR(Add) {
  return run_typed("Add", TENSORS, 0, [](const Tensors& t, auto type) {
    using T = decltype(type);
    add(t.size(0), t.as<T>(0), t.as<T>(1), t.as<T>(2));
  });
}

}  // namespace slowfast
