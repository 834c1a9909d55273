#include "stem.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "loops.h"
#include "threads.h"

namespace slowfast {
namespace {

constexpr int64_t kGroup = 4;  // lines of outputs whose gradients stay in the nearest cache

int64_t whole_vectors(int64_t width) { return (width + kMostLanes - 1) / kMostLanes * kMostLanes; }

// The input's lines as rows of even and odd columns for each channel, see `Loops::separate`.
template <typename T>
struct Rows {
  const int64_t half, line;
  float* data;

  Rows(const ConvolutionShape& s, const T* x)
      : half(whole_vectors(s.out_width) + s.kernel_w / 2), line(2 * half * s.in_channels) {
    const int64_t lines = s.samples * s.frames * s.height;
    data = static_cast<float*>(scratch(Scratch::kInput, lines * line * sizeof(float)));
    parallel(lines, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; i++)
        loops<T>().separate(x + i * s.width * s.in_channels, s.width, s.in_channels, s.kernel_w / 2, half,
                            data + i * line);
    });
  }
  const float* at(const ConvolutionShape& s, int64_t sample, int64_t frame, int64_t row, int64_t channel) const {
    return data + ((sample * s.frames + frame) * s.height + row) * line + channel * 2 * half;
  }
};

// The weight (out, in, t, h, w), scaled, as (out / kStemChannels, t, h, in, w, kStemChannels).
void pack(const ConvolutionShape& s, const float* weight, const float* scale, float* packed) {
  for (int64_t block = 0; block < s.out_channels; block += kStemChannels)
    for (int64_t t = 0; t < s.kernel_t; t++)
      for (int64_t h = 0; h < s.kernel_h; h++)
        for (int64_t in = 0; in < s.in_channels; in++)
          for (int64_t w = 0; w < s.kernel_w; w++)
            for (int64_t out = block; out < block + kStemChannels; out++) {
              const float value =
                  weight[(((out * s.in_channels + in) * s.kernel_t + t) * s.kernel_h + h) * s.kernel_w + w];
              *packed++ = scale ? scale[out] * value : value;
            }
}

}  // namespace

bool is_stem(const ConvolutionShape& s) {
  return s.in_channels <= 4 && s.out_channels % kStemChannels == 0 && s.out_channels <= 2 * kStemChannels &&
         s.stride_w == 2 && s.dilation == 1;
}

template <typename T>
void convolve_stem(const ConvolutionShape& s, const T* x, const float* weight, const Epilogue& epilogue, T* y) {
  const Rows<T> rows(s, x);
  auto* packed = static_cast<float*>(scratch(Scratch::kWeights, s.weight_size() * sizeof(float)));
  pack(s, weight, epilogue.scale, packed);

  const std::vector<float> zeros(s.out_channels);
  const float* shift = epilogue.shift ? epilogue.shift : zeros.data();
  const float low = epilogue.relu ? 0.f : -std::numeric_limits<float>::infinity();
  const int64_t filter = s.kernel_w * kStemChannels, block_size = s.weight_size() / s.out_channels * kStemChannels;
  parallel(s.samples * s.out_frames * s.out_height, [&](int64_t begin, int64_t end, int) {
    std::vector<StemTap> taps;
    for (int64_t i = begin; i < end; i++) {
      const int64_t row = i % s.out_height, frame = i / s.out_height % s.out_frames;
      const int64_t sample = i / (s.out_height * s.out_frames);
      for (int64_t block = 0; block < s.out_channels / kStemChannels; block++) {
        taps.clear();
        for (int64_t kt = 0; kt < s.kernel_t; kt++)
          for (int64_t kh = 0; kh < s.kernel_h; kh++) {
            const int64_t t = frame * s.stride_t + kt - s.kernel_t / 2, r = row * s.stride_h + kh - s.kernel_h / 2;
            if (t < 0 || r < 0 || t >= s.frames || r >= s.height) continue;
            const float* with = packed + block * block_size + (kt * s.kernel_h + kh) * s.in_channels * filter;
            for (int64_t c = 0; c < s.in_channels; c++)
              taps.push_back({rows.at(s, sample, t, r, c), with + c * filter});
          }
        loops<T>().stem(taps.data(), static_cast<int64_t>(taps.size()), s.kernel_w, rows.half, s.out_width,
                        shift + block * kStemChannels, low, s.out_channels,
                        y + i * s.out_width * s.out_channels + block * kStemChannels);
      }
    }
  });
}

// Each thread sums over its lines of outputs: for each point of the kernel, output channel and lane of a vector.
template <typename T>
void convolve_stem_gradient_weight(const ConvolutionShape& s, const T* dy, const T* x, float* dweight) {
  const Rows<T> rows(s, x);
  const int64_t width = whole_vectors(s.out_width), blocks = s.out_channels / kStemChannels;
  const int64_t tap_size = s.kernel_w * kStemChannels * kMostLanes;
  const int64_t size = blocks * s.in_channels * s.kernel_t * s.kernel_h * tap_size;
  const int64_t threads = thread_pool().get_num_threads();
  auto* all_sums = static_cast<float*>(scratch(Scratch::kSums, threads * size * sizeof(float)));
  std::fill_n(all_sums, threads * size, 0.f);
  const int64_t groups = (s.out_height + kGroup - 1) / kGroup, group_size = kGroup * s.out_channels * width;
  auto* all_gradients = static_cast<float*>(scratch(Scratch::kOutput, threads * group_size * sizeof(float)));
  std::fill_n(all_gradients, threads * group_size, 0.f);

  parallel(s.samples * s.out_frames * groups, [&](int64_t begin, int64_t end, int thread) {
    float* gradients = all_gradients + thread * group_size;  // (lines, channels, width), zeros behind a line
    std::vector<StemTap> taps;
    for (int64_t i = begin; i < end; i++) {
      const int64_t first = i % groups * kGroup, last = std::min(first + kGroup, s.out_height);
      const int64_t frame = i / groups % s.out_frames, sample = i / (groups * s.out_frames);
      for (int64_t row = first; row < last; row++)
        loops<T>().transpose(dy + ((sample * s.out_frames + frame) * s.out_height + row) * s.out_width * s.out_channels,
                             s.out_channels, s.out_width, width, gradients + (row - first) * s.out_channels * width);
      float* sums = all_sums + thread * size;
      for (int64_t block = 0; block < blocks; block++)
        for (int64_t c = 0; c < s.in_channels; c++)
          for (int64_t kt = 0; kt < s.kernel_t; kt++)
            for (int64_t kh = 0; kh < s.kernel_h; kh++, sums += tap_size) {
              const int64_t t = frame * s.stride_t + kt - s.kernel_t / 2;
              taps.clear();
              for (int64_t row = first; row < last; row++) {
                const int64_t r = row * s.stride_h + kh - s.kernel_h / 2;
                if (t < 0 || r < 0 || t >= s.frames || r >= s.height) continue;
                const int64_t channel = (row - first) * s.out_channels + block * kStemChannels;
                taps.push_back({rows.at(s, sample, t, r, c), gradients + channel * width});
              }
              float_loops().stem_gradient(taps.data(), static_cast<int64_t>(taps.size()), s.kernel_w, rows.half, width,
                                          sums);
            }
    }
  });
  // (blocks, in, t, h, w, kStemChannels, lanes) to (out, in, t, h, w)
  const int64_t filter = s.weight_size() / s.out_channels;
  for (int64_t out = 0; out < s.out_channels; out++)
    for (int64_t point = 0; point < filter; point++) {
      const int64_t from = (out / kStemChannels * filter + point) * kStemChannels + out % kStemChannels;
      float sum = 0.f;
      for (int64_t thread = 0; thread < threads; thread++)
        for (int64_t lane = 0; lane < kMostLanes; lane++) sum += all_sums[thread * size + from * kMostLanes + lane];
      dweight[out * filter + point] = sum;
    }
}

template void convolve_stem(const ConvolutionShape&, const float*, const float*, const Epilogue&, float*);
template void convolve_stem(const ConvolutionShape&, const bfloat16*, const float*, const Epilogue&, bfloat16*);
template void convolve_stem_gradient_weight(const ConvolutionShape&, const float*, const float*, float*);
template void convolve_stem_gradient_weight(const ConvolutionShape&, const bfloat16*, const bfloat16*, float*);

}  // namespace slowfast
