#include "stem.h"

#include <limits>
#include <vector>

#include "loops.h"
#include "threads.h"

namespace slowfast {
namespace {

constexpr int64_t kMostLanes = 16;

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
  const int64_t half = (s.out_width + kMostLanes - 1) / kMostLanes * kMostLanes + s.kernel_w / 2;
  const int64_t line = 2 * half * s.in_channels, lines = s.samples * s.frames * s.height;
  auto* rows = static_cast<float*>(scratch(Scratch::kInput, lines * line * sizeof(float)));
  parallel(lines, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++)
      loops<T>().separate(x + i * s.width * s.in_channels, s.width, s.in_channels, s.kernel_w / 2, half,
                          rows + i * line);
  });
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
            const float* from = rows + ((sample * s.frames + t) * s.height + r) * line;
            const float* with = packed + block * block_size + (kt * s.kernel_h + kh) * s.in_channels * filter;
            for (int64_t c = 0; c < s.in_channels; c++) taps.push_back({from + c * 2 * half, with + c * filter});
          }
        loops<T>().stem(taps.data(), static_cast<int64_t>(taps.size()), s.kernel_w, half, s.out_width,
                        shift + block * kStemChannels, low, s.out_channels,
                        y + i * s.out_width * s.out_channels + block * kStemChannels);
      }
    }
  });
}

template void convolve_stem(const ConvolutionShape&, const float*, const float*, const Epilogue&, float*);
template void convolve_stem(const ConvolutionShape&, const bfloat16*, const float*, const Epilogue&, bfloat16*);

}  // namespace slowfast
