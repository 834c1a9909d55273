#include "inc/manifest.h"

std::size_t TensorSpec::ItemBytes() const { return dtype == "float16" ? 2 : 4; }

std::size_t TensorSpec::Bytes() const {
  std::size_t bytes = ItemBytes();
  for (const std::uint64_t size : shape) bytes *= static_cast<std::size_t>(size);
  return bytes;
}

std::string TensorSpec::Describe() const {
  std::string text = name + " is " + dtype;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    text += (axis == 0 ? " " : " x ") + std::to_string(shape[axis]);
  return text;
}
