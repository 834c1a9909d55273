// bfloat16 as it lies in memory, and loads and stores that let one loop serve both types of activations.
#pragma once

#include <cstdint>
#include <cstring>

namespace slowfast {

struct bfloat16 {
  uint16_t bits;
};

static inline float load(const float* p) { return *p; }

static inline float load(const bfloat16* p) {
  const uint32_t bits = static_cast<uint32_t>(p->bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

static inline void store(float* p, float value) { *p = value; }

// Rounds to nearest, ties to even; NaN stays NaN.
static inline void store(bfloat16* p, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  p->bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

}  // namespace slowfast
