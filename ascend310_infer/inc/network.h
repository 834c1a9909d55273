#ifndef ASCEND310_INFER_NETWORK_H_
#define ASCEND310_INFER_NETWORK_H_

#include <vector>

#include "include/api/model.h"
#include "include/api/types.h"
#include "inc/batches.h"
#include "inc/manifest.h"
#include "inc/options.h"

// The exported network on a device.
class Network {
 public:
  // Throws Error if the model is not the manifest's, cannot be loaded, or the device is not there.
  Network(const Options &options, const Manifest &manifest);

  // Scores a batch: manifest.output.Bytes() bytes. Throws Error if the device fails.
  std::vector<char> Score(const Batch &batch);

 private:
  const Manifest &manifest_;
  mindspore::Model model_;
  std::vector<mindspore::MSTensor> inputs_;
};

#endif  // ASCEND310_INFER_NETWORK_H_
