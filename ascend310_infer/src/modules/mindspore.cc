// Runs MINDIR graphs with MindSpore's C++ interface: MindSpore Lite's, or that of MindSpore for Ascend.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "inc/error.h"
#include "inc/network.h"
#include "include/api/context.h"
#include "include/api/model.h"
#include "include/api/serialization.h"
#include "include/api/status.h"
#include "include/api/types.h"

namespace {
std::shared_ptr<mindspore::Context> MakeContext(const Options& options) {
  auto context = std::make_shared<mindspore::Context>();
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  context->SetThreadNum(options.threads > 0 ? options.threads : cores);
  if (options.device_type == "Ascend") {
    auto device = std::make_shared<mindspore::AscendDeviceInfo>();
    device->SetDeviceID(options.device_id);
    context->MutableDeviceInfo().push_back(device);
  } else if (options.device_type == "GPU") {
    auto device = std::make_shared<mindspore::GPUDeviceInfo>();
    device->SetDeviceID(options.device_id);
    context->MutableDeviceInfo().push_back(device);
  } else {
    context->MutableDeviceInfo().push_back(std::make_shared<mindspore::CPUDeviceInfo>());
  }
  return context;
}

mindspore::Status Build(const std::string& path, const std::shared_ptr<mindspore::Context>& context,
                        mindspore::Model* model) {
#ifdef USE_MINDSPORE_LITE
  return model->Build(path, mindspore::kMindIR, context);
#else
  mindspore::Graph graph;
  const mindspore::Status status = mindspore::Serialization::Load(path, mindspore::kMindIR, &graph);
  return status == mindspore::kSuccess ? model->Build(mindspore::GraphCell(graph), context) : status;
#endif
}

mindspore::DataType TypeOf(const TensorSpec& spec) {
  return spec.dtype == "float16" ? mindspore::DataType::kNumberTypeFloat16 : mindspore::DataType::kNumberTypeFloat32;
}

std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// MindSpore Lite on the CPU gives a graph with float16 inputs float32 ones.
bool Widens(const TensorSpec& spec, const mindspore::MSTensor& tensor) {
  return spec.dtype == "float16" && tensor.DataType() == mindspore::DataType::kNumberTypeFloat32;
}

// float16 to float32, exact.
std::vector<char> Widen(const std::vector<char>& halves) {
  std::vector<char> floats(halves.size() * 2);
  for (std::size_t index = 0; index < halves.size() / 2; ++index) {
    std::uint16_t half;
    std::memcpy(&half, &halves[index * 2], sizeof(half));
    const int exponent = (half >> 10) & 0x1F;
    const int fraction = half & 0x3FF;
    float value;
    if (exponent == 0x1F) {
      value = fraction == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    } else if (exponent == 0) {
      value = std::ldexp(static_cast<float>(fraction), -24);
    } else {
      value = std::ldexp(static_cast<float>(fraction + 0x400), exponent - 25);
    }
    if ((half & 0x8000) != 0) value = -value;
    std::memcpy(&floats[index * 4], &value, sizeof(value));
  }
  return floats;
}

void CheckInput(const TensorSpec& spec, const mindspore::MSTensor& tensor) {
  const std::vector<std::int64_t> expected(spec.shape.begin(), spec.shape.end());
  if (tensor.Shape() == expected && (tensor.DataType() == TypeOf(spec) || Widens(spec, tensor))) return;
  std::string shape;
  for (const std::int64_t size : tensor.Shape()) shape += (shape.empty() ? "" : " x ") + std::to_string(size);
  throw Error("the manifest's " + spec.Describe() + ", but the model takes " + shape + " of type " +
              std::to_string(static_cast<int>(tensor.DataType())));
}
class MindSporeNetwork : public Network {
 public:
  MindSporeNetwork(const Options& options, const Manifest& manifest) : manifest_(manifest) {
    const std::string& path = options.mindir_path;
    if (options.precision != "f32") throw Error("--precision bf16 is for graphs of the format ONNX");
    const mindspore::Status status = Build(path, MakeContext(options), &model_);
    if (status != mindspore::kSuccess) {
      throw Error(path + ": the model (" + manifest.format + ") cannot be loaded on device " + options.device_type +
                  ": " + OneLine(status.ToString()));
    }
    inputs_ = model_.GetInputs();
    if (inputs_.size() != 3) {
      throw Error(path + ": the model takes " + std::to_string(inputs_.size()) + " inputs, expected 3");
    }
    CheckInput(manifest.slow, inputs_[0]);
    CheckInput(manifest.fast, inputs_[1]);
    CheckInput(manifest.boxes, inputs_[2]);
  }

  std::vector<char> Score(const Batch& batch) override {
    std::vector<mindspore::MSTensor> feed, outputs;
    const TensorSpec* specs[] = {&manifest_.slow, &manifest_.fast, &manifest_.boxes};
    const std::vector<char>* data[] = {&batch.slow, &batch.fast, &batch.boxes};
    std::vector<char> widened[3];
    for (std::size_t index = 0; index < inputs_.size(); ++index) {
      const mindspore::MSTensor& input = inputs_[index];
      if (Widens(*specs[index], input)) {
        widened[index] = Widen(*data[index]);
        data[index] = &widened[index];
      }
      feed.emplace_back(input.Name(), input.DataType(), input.Shape(), data[index]->data(), data[index]->size());
    }
    const mindspore::Status status = model_.Predict(feed, &outputs);
    if (status != mindspore::kSuccess) throw Error("the device failed: " + OneLine(status.ToString()));
    if (outputs.size() != 1 || outputs[0].DataType() != TypeOf(manifest_.output) ||
        outputs[0].DataSize() != manifest_.output.Bytes()) {
      throw Error("the manifest's " + manifest_.output.Describe() + ", but the model gives something else");
    }
    const auto scores = outputs[0].Data();
    std::vector<char> result(outputs[0].DataSize());
    std::memcpy(result.data(), scores.get(), result.size());
    return result;
  }

 private:
  const Manifest& manifest_;
  mindspore::Model model_;
  std::vector<mindspore::MSTensor> inputs_;
};
}  // namespace

Network* CreateNetwork(const Options& options, const Manifest& manifest) {
  return new MindSporeNetwork(options, manifest);
}
