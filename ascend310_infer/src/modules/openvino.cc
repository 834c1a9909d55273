// Runs ONNX graphs with OpenVINO.

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "inc/error.h"
#include "inc/network.h"

namespace {
std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

ov::element::Type TypeOf(const TensorSpec& spec) {
  return spec.dtype == "float16" ? ov::element::f16 : ov::element::f32;
}

ov::Shape ShapeOf(const TensorSpec& spec) { return ov::Shape(spec.shape.begin(), spec.shape.end()); }

void CheckInput(const TensorSpec& spec, const ov::Output<ov::Node>& input) {
  const ov::PartialShape shape = input.get_partial_shape();
  if (shape.compatible(ov::PartialShape(ShapeOf(spec))) && input.get_element_type() == TypeOf(spec)) return;
  throw Error("the manifest's " + spec.Describe() + ", but the model takes " + shape.to_string() + " of type " +
              input.get_element_type().get_type_name());
}

class OpenVinoNetwork : public Network {
 public:
  OpenVinoNetwork(const Options& options, const Manifest& manifest) : manifest_(manifest) {
    if (options.device_type == "Ascend") {
      throw Error(options.mindir_path + ": a graph of the format ONNX runs on the devices CPU and GPU, not on Ascend");
    }
    std::shared_ptr<ov::Model> model = core_.read_model(options.mindir_path);
    if (model->inputs().size() != 3 || model->outputs().size() != 1) {
      throw Error(options.mindir_path + ": the model takes " + std::to_string(model->inputs().size()) +
                  " inputs, expected 3");
    }
    std::map<std::size_t, ov::PartialShape> shapes;
    const TensorSpec* specs[] = {&manifest.slow, &manifest.fast, &manifest.boxes};
    for (std::size_t index = 0; index < 3; ++index) {
      CheckInput(*specs[index], model->input(index));
      shapes[index] = ov::PartialShape(ShapeOf(*specs[index]));
    }
    model->reshape(shapes);  // what is open in the graph; known shapes compile to faster code
    ov::AnyMap settings = {
        ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
        ov::hint::inference_precision(options.precision == "bf16" ? ov::element::bf16 : ov::element::f32)};
    if (options.threads > 0 && options.device_type == "CPU")
      settings.insert(ov::inference_num_threads(options.threads));
    request_ = core_.compile_model(model, options.device_type, settings).create_infer_request();
  }

  std::vector<char> Score(const Batch& batch) override {
    Feed(0, manifest_.slow, batch.slow);
    Feed(1, manifest_.fast, batch.fast);
    Feed(2, manifest_.boxes, batch.boxes);
    try {
      request_.infer();
    } catch (const std::exception& error) {
      throw Error("the device failed: " + OneLine(error.what()));
    }
    const ov::Tensor output = request_.get_output_tensor();
    if (output.get_element_type() != TypeOf(manifest_.output) || output.get_shape() != ShapeOf(manifest_.output)) {
      throw Error("the manifest's " + manifest_.output.Describe() + ", but the model gives something else");
    }
    std::vector<char> result(output.get_byte_size());
    std::memcpy(result.data(), output.data(), result.size());
    return result;
  }

 private:
  void Feed(std::size_t index, const TensorSpec& spec, const std::vector<char>& data) {
    ov::Tensor tensor(TypeOf(spec), ShapeOf(spec));
    std::memcpy(tensor.data(), data.data(), data.size());
    request_.set_input_tensor(index, tensor);
  }

  const Manifest& manifest_;
  ov::Core core_;
  ov::InferRequest request_;
};
}  // namespace

Network* CreateNetwork(const Options& options, const Manifest& manifest) {
  try {
    return new OpenVinoNetwork(options, manifest);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(options.mindir_path + ": the model (" + manifest.format + ") cannot be loaded on device " +
                options.device_type + ": " + OneLine(error.what()));
  }
}
