#include "optimizer.h"

#include <algorithm>

#include "loops.h"
#include "threads.h"

namespace slowfast {

void update_momentum(const std::vector<MomentumUpdate>& updates, float momentum, bool nesterov) {
  int64_t total = 0;
  for (const auto& update : updates) total += update.size;
  // One range of all numbers, laid end to end, for each thread.
  parallel(total, [&](int64_t begin, int64_t end, int) {
    int64_t start = 0;
    for (const auto& u : updates) {
      const int64_t from = std::max<int64_t>(begin - start, 0), to = std::min(end - start, u.size);
      if (from < to)
        float_loops().momentum(u.gradient + from, to - from, u.decay, momentum, u.rate, nesterov, u.weight + from,
                               u.moment + from);
      start += u.size;
    }
  });
}

}  // namespace slowfast
