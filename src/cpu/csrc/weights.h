// Packed weights that are kept from call to call.
#pragma once

#include <functional>

#include "onednn.h"

namespace slowfast {

// Returns `weight`, `size` numbers scaled by `scale` of each of `channels`, in the layout `packed`, which `pack` brings
// about. Of each tensor the last layout is kept as long as the process lives, with a checksum of what it was made from:
// in evaluation weights rarely change, and reading them to see that takes less time than packing them.
dnnl::memory kept_weight(const float* weight, int64_t size, const float* scale, int64_t channels,
                         const dnnl::memory::desc& packed, const std::function<void(const dnnl::memory&)>& pack);

}  // namespace slowfast
