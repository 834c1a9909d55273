// Compiled with INSTRUCTION_SET avx2 and avx512, see loops.h.
#include "loops.h"

namespace slowfast {
namespace INSTRUCTION_SET {
namespace {

template <typename T>
void moments(const T* __restrict x, int64_t lines, int64_t width, const float* __restrict base, float* __restrict sum,
             float* __restrict square) {
  for (int64_t line = 0; line < lines; line++, x += width)
    for (int64_t i = 0; i < width; i++) {
      const float value = load(x + i) - base[i];
      sum[i] += value;
      square[i] += value * value;
    }
}

template <typename T>
void normalize(const T* __restrict x, const T* __restrict residual, int64_t lines, int64_t width,
               const float* __restrict scale, const float* __restrict shift, float low, T* __restrict y) {
  for (int64_t line = 0; line < lines; line++, x += width, y += width) {
    if (residual) {
      for (int64_t i = 0; i < width; i++) {
        const float value = load(x + i) * scale[i] + shift[i] + load(residual + i);
        store(y + i, value < low ? low : value);  // keeps NaN
      }
      residual += width;
    } else {
      for (int64_t i = 0; i < width; i++) {
        const float value = load(x + i) * scale[i] + shift[i];
        store(y + i, value < low ? low : value);
      }
    }
  }
}

template <Mask mask, typename T>
inline float masked(const T* dy, float x, const T* y, float scale, float shift) {
  const float d = load(dy);
  if (mask == Mask::kNone) return d;
  return (mask == Mask::kFromInput ? x * scale + shift : load(y)) > 0.f ? d : 0.f;
}

template <Mask mask, typename T>
void masked_moments(const T* __restrict dy, const T* __restrict x, const T* __restrict y, int64_t lines, int64_t width,
                    const float* __restrict scale, const float* __restrict shift, const float* __restrict mean,
                    float* __restrict sum, float* __restrict product) {
  for (int64_t line = 0; line < lines; line++, dy += width, x += width) {
    for (int64_t i = 0; i < width; i++) {
      const float value = load(x + i), d = masked<mask>(dy + i, value, y + i, scale[i], shift[i]);
      sum[i] += d;
      product[i] += d * (value - mean[i]);
    }
    if (mask == Mask::kFromOutput) y += width;
  }
}

template <typename T>
void gradient_moments(const T* dy, const T* x, const T* y, int64_t lines, int64_t width, const float* scale,
                      const float* shift, const float* mean, Mask mask, float* sum, float* product) {
  auto* run = mask == Mask::kNone        ? masked_moments<Mask::kNone, T>
              : mask == Mask::kFromInput ? masked_moments<Mask::kFromInput, T>
                                         : masked_moments<Mask::kFromOutput, T>;
  run(dy, x, y, lines, width, scale, shift, mean, sum, product);
}

template <Mask mask, typename T>
void masked_input(const T* __restrict dy, const T* __restrict x, const T* __restrict y, int64_t lines, int64_t width,
                  const float* __restrict scale, const float* __restrict shift, const float* __restrict slope,
                  const float* __restrict offset, T* __restrict dx, T* __restrict dresidual) {
  for (int64_t line = 0; line < lines; line++, dy += width, x += width, dx += width) {
    if (dresidual) {
      for (int64_t i = 0; i < width; i++) {
        const float value = load(x + i), d = masked<mask>(dy + i, value, y + i, scale[i], shift[i]);
        store(dx + i, scale[i] * d + slope[i] * value + offset[i]);
        store(dresidual + i, d);
      }
      dresidual += width;
    } else {
      for (int64_t i = 0; i < width; i++) {
        const float value = load(x + i), d = masked<mask>(dy + i, value, y + i, scale[i], shift[i]);
        store(dx + i, scale[i] * d + slope[i] * value + offset[i]);
      }
    }
    if (mask == Mask::kFromOutput) y += width;
  }
}

template <typename T>
void gradient_input(const T* dy, const T* x, const T* y, int64_t lines, int64_t width, const float* scale,
                    const float* shift, const float* slope, const float* offset, Mask mask, T* dx, T* dresidual) {
  auto* run = mask == Mask::kNone        ? masked_input<Mask::kNone, T>
              : mask == Mask::kFromInput ? masked_input<Mask::kFromInput, T>
                                         : masked_input<Mask::kFromOutput, T>;
  run(dy, x, y, lines, width, scale, shift, slope, offset, dx, dresidual);
}

// Vectors of float32, the masks that comparing them gives, and what bfloat16 goes through to become float32.
template <typename FloatVector, typename MaskVector, typename BitVector, typename HalfVector>
struct Vector {
  using Floats = FloatVector;
  using Ints = MaskVector;
  static constexpr int kSize = sizeof(Floats) / sizeof(float);

  static Floats load(const float* p) {
    Floats value;
    __builtin_memcpy(&value, p, sizeof(value));
    return value;
  }
  static Floats load(const bfloat16* p) {
    HalfVector halves;
    __builtin_memcpy(&halves, p, sizeof(halves));
    return reinterpret_cast<Floats>(__builtin_convertvector(halves, BitVector) << 16);
  }
  static void store(float* p, Floats value) { __builtin_memcpy(p, &value, sizeof(value)); }
  // As `store` of one number.
  static void store(bfloat16* p, Floats value) {
    const auto bits = reinterpret_cast<BitVector>(value);
    auto rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    rounded = value != value ? BitVector{} + 0x7fc0 : rounded;
    const auto halves = __builtin_convertvector(rounded, HalfVector);
    __builtin_memcpy(p, &halves, sizeof(halves));
  }
};

typedef float Float8 __attribute__((vector_size(32)));
typedef int32_t Int8 __attribute__((vector_size(32)));
typedef uint32_t Bit8 __attribute__((vector_size(32)));
typedef uint16_t Half8 __attribute__((vector_size(16)));
using Vector8 = Vector<Float8, Int8, Bit8, Half8>;

#if defined(__AVX512F__)
typedef float Float16 __attribute__((vector_size(64)));
typedef int32_t Int16 __attribute__((vector_size(64)));
typedef uint32_t Bit16 __attribute__((vector_size(64)));
typedef uint16_t Half16 __attribute__((vector_size(32)));
using Widest = Vector<Float16, Int16, Bit16, Half16>;
#else
using Widest = Vector8;
#endif

// The maximum of a vector of channels over the points of a window, that are `offsets` from x; NaN is larger than any.
template <typename V, typename T>
inline void max_of_points(const T* __restrict x, const int64_t* offsets, const int32_t* numbers, int count,
                          T* __restrict y, uint8_t* __restrict index) {
  auto best = V::load(x + offsets[0]);
  auto point = typename V::Ints{} + numbers[0];
  for (int i = 1; i < count; i++) {
    const auto value = V::load(x + offsets[i]);
    const auto larger = (value > best) | (value != value);
    best = larger ? value : best;
    point = larger ? typename V::Ints{} + numbers[i] : point;
  }
  V::store(y, best);
  for (int i = 0; i < V::kSize; i++) index[i] = static_cast<uint8_t>(point[i]);
}

template <typename T>
inline void max_of_points(const T* x, const int64_t* offsets, const int32_t* numbers, int count, T* y, uint8_t* index) {
  float best = load(x + offsets[0]);
  int32_t point = numbers[0];
  for (int i = 1; i < count; i++) {
    const float value = load(x + offsets[i]);
    if (value > best || value != value) best = value, point = numbers[i];
  }
  store(y, best);
  *index = static_cast<uint8_t>(point);
}

// A line of outputs is numbered sample * output[0] * output[1] + frame * output[1] + row. Each window holds a point, as
// padding is less than the kernel.
template <typename T>
void max_pool(const T* __restrict x, const Window& w, int64_t line, T* __restrict y, uint8_t* __restrict index) {
  const int64_t c = w.channels, row = line % w.output[1], frame = line / w.output[1] % w.output[0];
  const int64_t sample = line / (w.output[1] * w.output[0]);
  y += line * w.output[2] * c;
  index += line * w.output[2] * c;
  int64_t offsets[256];
  int32_t numbers[256];
  for (int64_t column = 0; column < w.output[2]; column++, y += c, index += c) {
    int count = 0;
    int32_t number = 0;
    for (int64_t kt = 0; kt < w.kernel[0]; kt++)
      for (int64_t kh = 0; kh < w.kernel[1]; kh++)
        for (int64_t kw = 0; kw < w.kernel[2]; kw++, number++) {
          const int64_t t = frame * w.stride[0] - w.padding[0] + kt, r = row * w.stride[1] - w.padding[1] + kh;
          const int64_t s = column * w.stride[2] - w.padding[2] + kw;
          if (t < 0 || r < 0 || s < 0 || t >= w.frames || r >= w.height || s >= w.width) continue;
          offsets[count] = (((sample * w.frames + t) * w.height + r) * w.width + s) * c;
          numbers[count++] = number;
        }
    int64_t i = 0;
    for (; i + Widest::kSize <= c; i += Widest::kSize)
      max_of_points<Widest>(x + i, offsets, numbers, count, y + i, index + i);
    for (; i + Vector8::kSize <= c; i += Vector8::kSize)
      max_of_points<Vector8>(x + i, offsets, numbers, count, y + i, index + i);
    for (; i < c; i++) max_of_points(x + i, offsets, numbers, count, y + i, index + i);
  }
}

// The first and the last window over `position` along an axis are those that start no later and end no earlier.
inline int64_t first_window(const Window& w, int axis, int64_t position) {
  const int64_t reach = position + w.padding[axis] - w.kernel[axis] + 1;
  return reach <= 0 ? 0 : (reach + w.stride[axis] - 1) / w.stride[axis];
}
inline int64_t last_window(const Window& w, int axis, int64_t position) {
  const int64_t last = (position + w.padding[axis]) / w.stride[axis];
  return last < w.output[axis] ? last : w.output[axis] - 1;
}

// A line of inputs is numbered sample * frames * height + frame * height + row.
template <typename T>
void max_pool_gradient(const T* __restrict dy, const uint8_t* __restrict index, const Window& w, int64_t line,
                       float* __restrict sum, T* __restrict dx) {
  const int64_t c = w.channels, row = line % w.height, frame = line / w.height % w.frames;
  const int64_t sample = line / (w.height * w.frames);
  dx += line * w.width * c;
  for (int64_t column = 0; column < w.width; column++, dx += c) {
    for (int64_t i = 0; i < c; i++) sum[i] = 0.f;
    for (int64_t t = first_window(w, 0, frame); t <= last_window(w, 0, frame); t++)
      for (int64_t r = first_window(w, 1, row); r <= last_window(w, 1, row); r++)
        for (int64_t s = first_window(w, 2, column); s <= last_window(w, 2, column); s++) {
          const int64_t kt = frame + w.padding[0] - t * w.stride[0], kh = row + w.padding[1] - r * w.stride[1];
          const int64_t kw = column + w.padding[2] - s * w.stride[2];
          const int32_t number = static_cast<int32_t>((kt * w.kernel[1] + kh) * w.kernel[2] + kw);
          const int64_t offset = (((sample * w.output[0] + t) * w.output[1] + r) * w.output[2] + s) * c;
          const T* __restrict d = dy + offset;
          const uint8_t* __restrict at = index + offset;
          for (int64_t i = 0; i < c; i++) sum[i] += at[i] == number ? load(d + i) : 0.f;
        }
    for (int64_t i = 0; i < c; i++) store(dx + i, sum[i]);
  }
}

template <typename T>
void separate(const T* __restrict x, int64_t width, int64_t channels, int64_t padding, int64_t half,
              float* __restrict rows) {
  for (int64_t i = 0; i < 2 * half * channels; i++) rows[i] = 0.f;
  for (int64_t c = 0; c < channels; c++, rows += 2 * half)
    for (int64_t parity = 0; parity < 2; parity++) {
      const int64_t first = (parity + padding) % 2;  // column of x that is the first of this parity
      float* __restrict row = rows + parity * half + (first + padding) / 2;
      for (int64_t i = first; i < width; i += 2) *row++ = load(x + i * channels + c);
    }
}

template <typename T>
void stem(const StemTap* taps, int64_t count, int64_t kernel_w, int64_t half, int64_t width,
          const float* __restrict shift, float low, int64_t channels, T* __restrict y) {
  constexpr int64_t kLanes = Widest::kSize;
  for (int64_t begin = 0; begin < width; begin += kLanes) {
    Widest::Floats sums[kStemChannels] = {};
    for (int64_t tap = 0; tap < count; tap++) {
      const float *row = taps[tap].row + begin, *weight = taps[tap].factors;
      for (int64_t k = 0; k < kernel_w; k++, weight += kStemChannels) {
        const auto value = Widest::load(row + k % 2 * half + k / 2);
        for (int64_t c = 0; c < kStemChannels; c++) sums[c] += value * weight[c];
      }
    }
    const int64_t columns = width - begin < kLanes ? width - begin : kLanes;
    for (int64_t i = 0; i < columns; i++)
      for (int64_t c = 0; c < kStemChannels; c++) {
        const float value = sums[c][i] + shift[c];
        store(y + (begin + i) * channels + c, value < low ? low : value);
      }
  }
}

// Of `kPoints` neighboring columns of the kernel at once, which share what is loaded of the factors.
template <int kPoints>
void stem_gradient_of(const StemTap* taps, int64_t count, int64_t k, int64_t half, int64_t width,
                      float* __restrict sums) {
  Widest::Floats sum[kPoints][kStemChannels] = {};
  for (int64_t tap = 0; tap < count; tap++) {
    const float *row = taps[tap].row, *factors = taps[tap].factors;
    for (int64_t i = 0; i < width; i += Widest::kSize) {
      Widest::Floats values[kPoints];
      for (int64_t p = 0; p < kPoints; p++) values[p] = Widest::load(row + (k + p) % 2 * half + (k + p) / 2 + i);
      for (int64_t c = 0; c < kStemChannels; c++) {
        auto factor = Widest::load(factors + c * width + i);
        __asm__("" : "+x"(factor));  // g++ would load it for each product again, and loads are what bounds this loop
        for (int p = 0; p < kPoints; p++) sum[p][c] += values[p] * factor;
      }
    }
  }
  for (int64_t p = 0; p < kPoints; p++)
    for (int64_t c = 0; c < kStemChannels; c++)
      for (int lane = 0; lane < Widest::kSize; lane++)
        sums[((k + p) * kStemChannels + c) * kMostLanes + lane] += sum[p][c][lane];
}

void stem_gradient(const StemTap* taps, int64_t count, int64_t kernel_w, int64_t half, int64_t width, float* sums) {
  int64_t k = 0;
  for (; k + 2 <= kernel_w; k += 2) stem_gradient_of<2>(taps, count, k, half, width, sums);
  for (; k < kernel_w; k++) stem_gradient_of<1>(taps, count, k, half, width, sums);
}

template <typename T>
void transpose(const T* __restrict x, int64_t channels, int64_t pixels, int64_t stride, float* __restrict y) {
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < pixels; i++) y[c * stride + i] = load(x + i * channels + c);
}

template <typename T>
void interleave(const float* __restrict x, int64_t stride, int64_t channels, int64_t pixels, T* __restrict y) {
  if (channels == 3) {
    for (int64_t i = 0; i < pixels; i++)
      for (int64_t c = 0; c < 3; c++) store(y + 3 * i + c, x[c * stride + i]);
    return;
  }
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < pixels; i++) store(y + channels * i + c, x[c * stride + i]);
}

template <typename T>
void mean(const T* __restrict x, int64_t frames, int64_t size, int64_t begin, int64_t end, float* __restrict y) {
  for (int64_t i = begin; i < end; i++) y[i] = 0.f;
  for (int64_t frame = 0; frame < frames; frame++)
    for (int64_t i = begin; i < end; i++) y[i] += load(x + frame * size + i);
  for (int64_t i = begin; i < end; i++) y[i] /= static_cast<float>(frames);
}

template <typename T>
uint64_t checksum(const T* __restrict x, int64_t size) {
  constexpr int64_t kSums = 16;  // that run side by side
  uint64_t first[kSums] = {}, second[kSums] = {}, result = 0;
  int64_t i = 0;
  const auto add = [&](int64_t lane) {
    uint32_t bits = 0;
    __builtin_memcpy(&bits, x + i + lane, sizeof(T));
    first[lane] += bits;
    second[lane] += first[lane];
  };
  for (; i + kSums <= size; i += kSums)
    for (int64_t lane = 0; lane < kSums; lane++) add(lane);
  for (int64_t lane = 0; i + lane < size; lane++) add(lane);
  for (int64_t lane = 0; lane < kSums; lane++) {
    result = 0x9e3779b97f4a7c15u * (result ^ first[lane]);
    result = 0x9e3779b97f4a7c15u * (result ^ second[lane]);
  }
  return result;
}

template <typename T>
void scale(const float* __restrict x, int64_t size, float factor, T* __restrict y) {
  for (int64_t i = 0; i < size; i++) store(y + i, factor * x[i]);
}

template <typename T>
void add(const T* __restrict a, const T* __restrict b, int64_t size, T* __restrict y) {
  for (int64_t i = 0; i < size; i++) store(y + i, load(a + i) + load(b + i));
}

// Winograd's F(4, 3) by the points 0, a, -a, b, -b and infinity: with a = 3/2 and b = 2/3 rounding errors are a fifth
// of those with the usual 1 and 2.
constexpr float kA = 1.5f, kB = 2.f / 3.f, kA2 = kA * kA, kB2 = kB * kB;

// Six numbers that are `step` apart, in place.
template <typename F>
inline void winograd_input_axis(F* d, int step) {
  F &d0 = d[0], &d1 = d[step], &d2 = d[2 * step], &d3 = d[3 * step], &d4 = d[4 * step], &d5 = d[5 * step];
  const F even_a = d4 - kB2 * d2, odd_a = kA * (d3 - kB2 * d1), even_b = d4 - kA2 * d2, odd_b = kB * (d3 - kA2 * d1);
  d0 = d0 * (kA2 * kB2) - (kA2 + kB2) * d2 + d4;
  d5 = d1 * (kA2 * kB2) - (kA2 + kB2) * d3 + d5;
  d1 = even_a + odd_a;
  d2 = even_a - odd_a;
  d3 = even_b + odd_b;
  d4 = even_b - odd_b;
}

// Six products that are `step` apart to four outputs in the first four places.
template <typename F>
inline void winograd_output_axis(F* m, int step) {
  const F even_a = m[step] + m[2 * step], odd_a = m[step] - m[2 * step];
  const F even_b = m[3 * step] + m[4 * step], odd_b = m[3 * step] - m[4 * step];
  m[0] = m[0] + even_a + even_b;
  m[step] = kA * odd_a + kB * odd_b;
  m[2 * step] = kA2 * even_a + kB2 * even_b;
  m[3 * step] = kA * kA2 * odd_a + kB * kB2 * odd_b + m[5 * step];
}

// Three weights that are `step` apart to the factors of six products.
template <typename F>
inline void winograd_weight_axis(const F* g, int step, F* y, int y_step) {
  constexpr float scale_a = 1.f / (2.f * kA2 * (kA2 - kB2)), scale_b = 1.f / (2.f * kB2 * (kB2 - kA2));
  const F g0 = g[0], g1 = g[step], g2 = g[2 * step];
  const F even_a = scale_a * (g0 + kA2 * g2), odd_a = (scale_a * kA) * g1;
  const F even_b = scale_b * (g0 + kB2 * g2), odd_b = (scale_b * kB) * g1;
  y[0] = g0 * (1.f / (kA2 * kB2));
  y[y_step] = even_a + odd_a;
  y[2 * y_step] = even_a - odd_a;
  y[3 * y_step] = even_b + odd_b;
  y[4 * y_step] = even_b - odd_b;
  y[5 * y_step] = g2;
}

template <int axes, typename T>
void winograd_input_of(const T* const* points, int64_t size, int64_t stride, T* __restrict y) {
  constexpr int kPoints = axes == 1 ? 6 : 36;
  for (int64_t i = 0; i < size; i += Widest::kSize) {
    Widest::Floats d[kPoints];
    for (int point = 0; point < kPoints; point++) d[point] = Widest::load(points[point] + i);
    if (axes == 2)
      for (int column = 0; column < 6; column++) winograd_input_axis(d + column, 6);
    for (int row = 0; row < kPoints / 6; row++) winograd_input_axis(d + 6 * row, 1);
    for (int point = 0; point < kPoints; point++) Widest::store(y + point * stride + i, d[point]);
  }
}

template <int axes, typename T>
void winograd_output_of(const float* x, int64_t stride, int64_t pixels, int64_t channels, const float* shift,
                        const T* const* residual, float low, T* const* y) {
  constexpr int kPoints = axes == 1 ? 6 : 36;
  const auto lowest = Widest::Floats{} + low;
  for (int64_t pixel = 0; pixel < pixels; pixel++)
    for (int64_t c = 0; c < channels; c += Widest::kSize) {
      const int64_t i = pixel * channels + c;
      Widest::Floats m[kPoints];
      for (int point = 0; point < kPoints; point++) m[point] = Widest::load(x + point * stride + i);
      for (int row = 0; row < kPoints / 6; row++) winograd_output_axis(m + 6 * row, 1);
      if (axes == 2)
        for (int column = 0; column < 4; column++) winograd_output_axis(m + column, 6);
      const auto shifts = Widest::load(shift + c);
      for (int row = 0; row < (axes == 1 ? 1 : 4); row++)
        for (int column = 0; column < 4; column++) {
          const int output = 4 * row + column;
          if (y[output] == nullptr) continue;
          auto value = m[6 * row + column] + shifts;
          if (residual) value += Widest::load(residual[output] + i);
          Widest::store(y[output] + i, value < lowest ? lowest : value);  // keeps NaN
        }
    }
}

template <typename T>
void winograd_input(const T* const* points, int axes, int64_t size, int64_t stride, T* y) {
  (axes == 1 ? winograd_input_of<1, T> : winograd_input_of<2, T>)(points, size, stride, y);
}

template <typename T>
void winograd_output(const float* x, int axes, int64_t stride, int64_t pixels, int64_t channels, const float* shift,
                     const T* const* residual, float low, T* const* y) {
  (axes == 1 ? winograd_output_of<1, T> : winograd_output_of<2, T>)(x, stride, pixels, channels, shift, residual, low,
                                                                    y);
}

template <int axes>
void winograd_weight_of(const float* weight, int64_t size, float factor, bool reversed, int64_t stride, float* y) {
  constexpr int kPoints = axes == 1 ? 3 : 9, kProducts = axes == 1 ? 6 : 36;
  for (int64_t i = 0; i < size; i += Widest::kSize) {
    Widest::Floats g[kPoints], rows[18], all[kProducts];
    for (int point = 0; point < kPoints; point++) {
      const float* from = weight + i * kPoints + (reversed ? kPoints - 1 - point : point);
      for (int lane = 0; lane < Widest::kSize; lane++) g[point][lane] = factor * from[lane * kPoints];
    }
    if constexpr (axes == 1) {
      winograd_weight_axis(g, 1, all, 1);
    } else {
      for (int column = 0; column < 3; column++) winograd_weight_axis(g + column, 3, rows + column, 3);
      for (int row = 0; row < 6; row++) winograd_weight_axis(rows + 3 * row, 1, all + 6 * row, 1);
    }
    for (int point = 0; point < kProducts; point++)
      __builtin_memcpy(y + point * stride + i, &all[point], sizeof(all[point]));
  }
}

void winograd_weight(const float* weight, int axes, int64_t size, float factor, bool reversed, int64_t stride,
                     float* y) {
  (axes == 1 ? winograd_weight_of<1> : winograd_weight_of<2>)(weight, size, factor, reversed, stride, y);
}

template <bool nesterov>
void momentum_of(const float* __restrict gradient, int64_t size, float decay, float momentum, float rate,
                 float* __restrict weight, float* __restrict moment) {
  for (int64_t i = 0; i < size; i++) {
    const float g = gradient[i] + decay * weight[i];
    moment[i] = momentum * moment[i] + g;
    weight[i] -= rate * (nesterov ? g + momentum * moment[i] : moment[i]);
  }
}

void momentum(const float* gradient, int64_t size, float decay, float momentum, float rate, bool nesterov,
              float* weight, float* moment) {
  (nesterov ? momentum_of<true> : momentum_of<false>)(gradient, size, decay, momentum, rate, weight, moment);
}

template <typename T>
constexpr Loops<T> all() {
  return {moments<T>,
          normalize<T>,
          gradient_moments<T>,
          gradient_input<T>,
          max_pool<T>,
          max_pool_gradient<T>,
          separate<T>,
          stem<T>,
          winograd_input<T>,
          winograd_output<T>,
          interleave<T>,
          transpose<T>,
          mean<T>,
          checksum<T>,
          scale<T>,
          add<T>};
}

}  // namespace

const FloatLoops only_float_loops = {winograd_weight, stem_gradient, momentum};
const Loops<float> float_loops = all<float>();
const Loops<bfloat16> bfloat16_loops = all<bfloat16>();

}  // namespace INSTRUCTION_SET
}  // namespace slowfast
