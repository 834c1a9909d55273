#include "pooling.h"

#include <stdexcept>
#include <vector>

#include "threads.h"

namespace slowfast {

Window make_window(const int64_t* input, const float* settings) {
  Window window{static_cast<int64_t>(settings[0]), input[1], input[2], input[3], {}, {}, {}, {}};
  const int64_t sizes[3] = {window.frames, window.height, window.width};
  for (int axis = 0; axis < 3; axis++) {
    window.kernel[axis] = static_cast<int64_t>(settings[1 + axis]);
    window.stride[axis] = static_cast<int64_t>(settings[4 + axis]);
    window.padding[axis] = static_cast<int64_t>(settings[7 + axis]);
    window.output[axis] = (sizes[axis] + 2 * window.padding[axis] - window.kernel[axis]) / window.stride[axis] + 1;
  }
  if (input[0] % window.frames) throw std::invalid_argument("the folded frames are no multiple of a sample's frames");
  if (window.kernel[0] * window.kernel[1] * window.kernel[2] > 256)
    throw std::invalid_argument("a window of more than 256 points");
  for (int axis = 0; axis < 3; axis++)
    if (window.padding[axis] >= window.kernel[axis]) throw std::invalid_argument("padding as wide as the window");
  return window;
}

template <typename T>
void max_pool(int64_t samples, const Window& window, const T* x, T* y, uint8_t* index) {
  parallel(samples * window.output[0] * window.output[1], [&](int64_t begin, int64_t end, int) {
    for (int64_t line = begin; line < end; line++) loops<T>().max_pool(x, window, line, y, index);
  });
}

template <typename T>
void max_pool_gradient(int64_t samples, const Window& window, const T* dy, const uint8_t* index, T* dx) {
  parallel(samples * window.frames * window.height, [&](int64_t begin, int64_t end, int) {
    std::vector<float> sum(window.channels);
    for (int64_t line = begin; line < end; line++)
      loops<T>().max_pool_gradient(dy, index, window, line, sum.data(), dx);
  });
}

template void max_pool(int64_t, const Window&, const float*, float*, uint8_t*);
template void max_pool(int64_t, const Window&, const bfloat16*, bfloat16*, uint8_t*);
template void max_pool_gradient(int64_t, const Window&, const float*, const uint8_t*, float*);
template void max_pool_gradient(int64_t, const Window&, const bfloat16*, const uint8_t*, bfloat16*);

}  // namespace slowfast
