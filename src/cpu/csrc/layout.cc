#include "layout.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "loops.h"
#include "threads.h"

namespace slowfast {
namespace {

constexpr int64_t kChunk = 1024;  // numbers that a thread takes at least

int64_t chunks(int64_t size) { return (size + kChunk - 1) / kChunk; }

}  // namespace

template <typename T>
void fold(int64_t samples, int64_t channels, int64_t frames, int64_t pixels, const float* clip, T* y) {
  parallel(samples * frames, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t sample = i / frames, frame = i % frames;
      loops<T>().interleave(clip + (sample * channels * frames + frame) * pixels, frames * pixels, channels, pixels,
                            y + i * pixels * channels);
    }
  });
}

void concatenate(int64_t rows, int64_t bytes_a, int64_t bytes_b, const void* a, const void* b, void* y) {
  auto *from_a = static_cast<const char*>(a), *from_b = static_cast<const char*>(b);
  auto* to = static_cast<char*>(y);
  parallel(rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      std::memcpy(to + i * (bytes_a + bytes_b), from_a + i * bytes_a, bytes_a);
      std::memcpy(to + i * (bytes_a + bytes_b) + bytes_a, from_b + i * bytes_b, bytes_b);
    }
  });
}

void split(int64_t rows, int64_t bytes_a, int64_t bytes_b, const void* y, void* a, void* b) {
  auto* from = static_cast<const char*>(y);
  auto *to_a = static_cast<char*>(a), *to_b = static_cast<char*>(b);
  parallel(rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      std::memcpy(to_a + i * bytes_a, from + i * (bytes_a + bytes_b), bytes_a);
      std::memcpy(to_b + i * bytes_b, from + i * (bytes_a + bytes_b) + bytes_a, bytes_b);
    }
  });
}

template <typename T>
void temporal_mean(int64_t samples, int64_t frames, int64_t size, const T* x, float* y) {
  const int64_t parts = chunks(size);
  parallel(samples * parts, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t sample = i / parts, from = i % parts * kChunk;
      loops<T>().mean(x + sample * frames * size, frames, size, from, std::min(from + kChunk, size), y + sample * size);
    }
  });
}

template <typename T>
void temporal_mean_gradient(int64_t samples, int64_t frames, int64_t size, const float* dy, T* dx) {
  parallel(samples * frames, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++)
      loops<T>().scale(dy + i / frames * size, size, 1.f / static_cast<float>(frames), dx + i * size);
  });
}

template <typename T>
void add(int64_t size, const T* a, const T* b, T* y) {
  parallel(chunks(size), [&](int64_t begin, int64_t end, int) {
    const int64_t from = begin * kChunk;
    loops<T>().add(a + from, b + from, std::min(end * kChunk, size) - from, y + from);
  });
}

template <typename From, typename To>
void convert(int64_t size, const From* x, To* y) {
  parallel(chunks(size), [&](int64_t begin, int64_t end, int) {
    const int64_t from = begin * kChunk, length = std::min(end * kChunk, size) - from;
    if constexpr (std::is_same_v<From, float>) {
      loops<To>().scale(x + from, length, 1.f, y + from);
    } else {
      loops<From>().mean(x, 1, size, from, from + length, y);
    }
  });
}
template void convert(int64_t, const float*, float*);
template void convert(int64_t, const float*, bfloat16*);
template void convert(int64_t, const bfloat16*, float*);

#define INSTANTIATE(T)                                                               \
  template void fold(int64_t, int64_t, int64_t, int64_t, const float*, T*);          \
  template void temporal_mean(int64_t, int64_t, int64_t, const T*, float*);          \
  template void temporal_mean_gradient(int64_t, int64_t, int64_t, const float*, T*); \
  template void add(int64_t, const T*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(bfloat16)
#undef INSTANTIATE

}  // namespace slowfast
