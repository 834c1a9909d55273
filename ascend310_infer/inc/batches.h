#ifndef ASCEND310_INFER_BATCHES_H_
#define ASCEND310_INFER_BATCHES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "inc/manifest.h"

// The network's inputs for one batch.
struct Batch {
  std::vector<char> slow;
  std::vector<char> fast;
  std::vector<char> boxes;
  std::size_t rows = 0;  // those that count; the rest of a short last batch is zeros
};

// Reads batch `index`. Throws Error if a file cannot be read or has shrunk.
Batch ReadBatch(const std::string& folder, const Manifest& manifest, std::size_t index);

#endif  // ASCEND310_INFER_BATCHES_H_
