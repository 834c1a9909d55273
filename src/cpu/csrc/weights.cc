#include "weights.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "loops.h"
#include "threads.h"

namespace slowfast {
namespace {

struct KeptWeight {
  uint64_t checksum = 0;
  dnnl::memory packed;  // its own memory
};

uint64_t checksum(const float* x, int64_t size) {
  constexpr int64_t kPart = 1 << 14;
  const int64_t parts = (size + kPart - 1) / kPart;
  std::vector<uint64_t> sums(parts);
  parallel(parts, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++)
      sums[i] = loops<float>().checksum(x + i * kPart, std::min(kPart, size - i * kPart));
  });
  uint64_t result = size;
  for (const uint64_t sum : sums) result = 0x9e3779b97f4a7c15u * (result ^ sum);
  return result;
}

}  // namespace

dnnl::memory kept_weight(const float* weight, int64_t size, const float* scale, int64_t channels,
                         const dnnl::memory::desc& packed, const std::function<void(const dnnl::memory&)>& pack) {
  static auto* all = new std::unordered_map<const float*, KeptWeight>();
  auto& kept = (*all)[weight];
  const uint64_t sum = checksum(weight, size) ^ (checksum(scale, channels) << 1);
  const bool fits = kept.packed && kept.packed.get_desc() == packed;
  if (fits && kept.checksum == sum) return kept.packed;
  if (!fits) kept.packed = dnnl::memory(packed, cpu_engine());
  pack(kept.packed);
  kept.checksum = sum;
  return kept.packed;
}

}  // namespace slowfast
