#ifndef ASCEND310_INFER_NETWORK_H_
#define ASCEND310_INFER_NETWORK_H_

#include <memory>
#include <vector>

#include "inc/batches.h"
#include "inc/manifest.h"
#include "inc/options.h"

// The exported network on a device. Each library that can run it is a module of its own (src/modules), which is loaded
// only where a graph needs it.
class Network {
 public:
  virtual ~Network() = default;

  // Scores a batch: manifest.output.Bytes() bytes. Throws Error if the device fails.
  virtual std::vector<char> Score(const Batch& batch) = 0;
};

// Loads the network with the library for its format: ONNX by OpenVINO, all others by MindSpore. The manifest must
// outlive it. Throws Error if the model is not the manifest's or cannot be loaded, or the library is not there.
std::unique_ptr<Network> LoadNetwork(const Options& options, const Manifest& manifest);

// What a module exports under this name.
using CreateNetworkFunction = Network*(const Options& options, const Manifest& manifest);
extern "C" __attribute__((visibility("default"))) CreateNetworkFunction CreateNetwork;

#endif  // ASCEND310_INFER_NETWORK_H_
