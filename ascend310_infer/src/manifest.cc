#include "inc/manifest.h"

#include <algorithm>

#include "inc/error.h"
#include "inc/files.h"

// Errors then say where in the document they are.
#define JSON_DIAGNOSTICS 1
#include <nlohmann/json.hpp>

namespace {
// More than any batch can need, and far from where products of sizes overflow.
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;

void Require(bool holds, const std::string& message) {
  if (!holds) throw Error(message);
}

using Json = nlohmann::json;

// The library's message without its code: [json.exception.type_error.304] (/inputs/0) cannot use at() with number.
std::string Message(const Json::exception& error) {
  const std::string text = error.what();
  const std::size_t end = text.find("] ");
  return end == std::string::npos ? text : text.substr(end + 2);
}

// A value of one of JSON's types, as the library stores it.
template <typename Stored>
const Stored& Get(const Json& value, const char* expected) {
  try {
    return value.get_ref<const Stored&>();
  } catch (const Json::exception& error) {
    const std::string message = Message(error);  // starts with the place in brackets, but for the whole document
    const std::string place = message[0] == '(' ? message.substr(0, message.find(')') + 1) : "the document";
    throw Error(place + " must be " + expected);
  }
}

std::uint64_t Count(const Json& value) { return Get<Json::number_unsigned_t>(value, "a whole number, 0 or more"); }
const std::string& Text(const Json& value) { return Get<Json::string_t>(value, "a text"); }
const std::vector<Json>& Items(const Json& value) { return Get<Json::array_t>(value, "a list"); }

std::vector<std::uint64_t> Counts(const Json& list) {
  std::vector<std::uint64_t> counts;
  for (const Json& item : Items(list)) counts.push_back(Count(item));
  return counts;
}

TensorSpec Tensor(const Json& json, std::size_t axes) {
  TensorSpec spec{Text(json.at("name")), Text(json.at("dtype")), Counts(json.at("shape"))};
  Require(spec.dtype == "float32" || spec.dtype == "float16",
          spec.name + " has the type " + spec.dtype + ", expected float32 or float16");
  Require(spec.shape.size() == axes, spec.Describe() + ", expected " + std::to_string(axes) + " axes");
  std::uint64_t bytes = spec.ItemBytes();
  for (const std::uint64_t size : spec.shape) {
    Require(size > 0 && size <= kMostBytes / bytes, spec.Describe() + ", which is empty or too large");
    bytes *= size;
  }
  return spec;
}

// The name of a file in the manifest's own folder.
std::string FileName(const Json& json) {
  const std::string& name = Text(json);
  Require(
      !name.empty() && name[0] != '.' && name.find('/') == std::string::npos && name.find('\0') == std::string::npos,
      "the file name '" + name + "' must be that of a file beside the manifest");
  return name;
}

void CheckShapes(const Manifest& manifest) {
  const auto &slow = manifest.slow.shape, &fast = manifest.fast.shape;
  const auto &boxes = manifest.boxes.shape, &output = manifest.output.shape;
  Require(slow[0] == fast[0] && slow[1] == fast[1] && slow[3] == fast[3] && slow[4] == fast[4] &&
              manifest.slow.dtype == manifest.fast.dtype,
          manifest.slow.Describe() + " and " + manifest.fast.Describe() + ", which may differ in time only");
  Require(boxes[0] == fast[0] && boxes[2] == 4 && manifest.boxes.dtype == "float32",
          manifest.boxes.Describe() + ", expected float32 and four coordinates a box");
  Require(output[0] == fast[0] && output[1] == boxes[1] && manifest.output.dtype == "float32",
          manifest.output.Describe() + ", expected float32 and scores for each box");
  Require(manifest.slow_frames.size() == slow[2], "\"slow_frames\" has " + std::to_string(manifest.slow_frames.size()) +
                                                      " entries, expected " + std::to_string(slow[2]));
  for (const std::uint64_t frame : manifest.slow_frames) {
    Require(frame < fast[2], "\"slow_frames\" has frame " + std::to_string(frame) + " of " + std::to_string(fast[2]));
  }
}

void CheckSize(const std::string& path, std::uint64_t expected) {
  const std::uint64_t size = FileSize(path);
  Require(size == expected, path + ": has " + std::to_string(size) + " bytes, expected " + std::to_string(expected));
}

Manifest Parse(const std::string& text) {
  const Json json = Json::parse(text);
  Manifest manifest;
  manifest.text = text;
  manifest.format = Text(json.at("format"));
  manifest.model_bytes = Count(json.at("model").at("bytes"));
  const std::vector<Json>& inputs = Items(json.at("inputs"));
  Require(inputs.size() == 3, "\"inputs\" has " + std::to_string(inputs.size()) + " entries, expected 3");
  manifest.slow = Tensor(inputs[0], 5);
  manifest.fast = Tensor(inputs[1], 5);
  manifest.boxes = Tensor(inputs[2], 3);
  manifest.output = Tensor(json.at("output"), 3);
  manifest.slow_frames = Counts(json.at("slow_frames"));
  for (const Json& item : Items(json.at("clip_files"))) manifest.clip_files.push_back(FileName(item));
  manifest.box_file = FileName(json.at("box_file"));
  manifest.row_clips = Counts(json.at("row_clips"));
  CheckShapes(manifest);
  Require(!manifest.row_clips.empty(), "\"row_clips\" is empty, expected at least one");
  for (const std::uint64_t clip : manifest.row_clips) {
    Require(clip < manifest.clip_files.size(),
            "\"row_clips\" has clip " + std::to_string(clip) + " of " + std::to_string(manifest.clip_files.size()));
  }
  return manifest;
}
}  // namespace

Manifest Manifest::Read(const std::string& folder) {
  const std::string path = folder + "/manifest.json";
  const std::string text = ReadText(path);
  Manifest manifest;
  try {
    manifest = Parse(text);
  } catch (const Error& error) {
    throw Error(path + ": " + error.what());
  } catch (const Json::exception& error) {
    throw Error(path + ": " + Message(error));
  }
  CheckSize(folder + '/' + manifest.box_file, manifest.Rows() * manifest.boxes.RowBytes());
  for (const std::string& name : manifest.clip_files) CheckSize(folder + '/' + name, manifest.fast.RowBytes());
  return manifest;
}
