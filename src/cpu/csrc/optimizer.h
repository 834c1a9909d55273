// The update of the weights.
#pragma once

#include <cstdint>
#include <vector>

namespace slowfast {

// One array of `size` numbers, what updates it, and what is updated.
struct MomentumUpdate {
  int64_t size;
  const float* gradient;
  float decay, rate;
  float *weight, *moment;
};

// SGD with momentum; src/cpu/operators.py says what it does.
void update_momentum(const std::vector<MomentumUpdate>& updates, float momentum, bool nesterov);

}  // namespace slowfast
