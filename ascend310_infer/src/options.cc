#include "inc/options.h"

#include <cerrno>
#include <cstdlib>

#include "inc/error.h"

const char kUsage[] =
    "usage: main --mindir_path FILE --input_path DIR --result_path DIR\n"
    "            [--device_type CPU|Ascend|GPU] [--device_id N] [--threads N] [--precision f32|bf16]\n"
    "\n"
    "Scores the inputs that preprogress.py wrote to --input_path. Writes scores.bin and manifest.json to "
    "--result_path,\n"
    "for postprogress.py, and time_Result/test_perform_static.txt to the current folder.\n"
    "An ONNX graph is run by OpenVINO, any other by MindSpore.\n"
    "--threads: on the CPU; 0, the default: all cores. --precision: in which an ONNX graph is computed.\n";

namespace {
int Number(const std::string& name, const std::string& value, int maximum) {
  char* end = nullptr;
  errno = 0;
  const long number = std::strtol(value.c_str(), &end, 10);
  if (value.empty() || *end != '\0' || errno != 0 || number < 0 || number > maximum) {
    throw Error(name + " is '" + value + "', expected a number from 0 to " + std::to_string(maximum));
  }
  return static_cast<int>(number);
}
}  // namespace

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int index = 1; index < argc; ++index) {
    std::string name = argv[index], value;
    if (name == "--help" || name == "-h") {
      options.help = true;
      return options;
    }
    const std::size_t equals = name.find('=');
    if (equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    } else if (index + 1 < argc) {
      value = argv[++index];
    } else {
      throw Error(name + " needs a value (see --help)");
    }
    if (name == "--mindir_path") {
      options.mindir_path = value;
    } else if (name == "--input_path") {
      options.input_path = value;
    } else if (name == "--result_path") {
      options.result_path = value;
    } else if (name == "--device_type") {
      options.device_type = value;
    } else if (name == "--device_id") {
      options.device_id = static_cast<std::uint32_t>(Number(name, value, 4095));
    } else if (name == "--precision") {
      options.precision = value;
    } else if (name == "--threads") {
      options.threads = Number(name, value, 1024);
    } else {
      throw Error("unknown option " + name + " (see --help)");
    }
  }
  if (options.mindir_path.empty() || options.input_path.empty() || options.result_path.empty()) {
    throw Error("--mindir_path, --input_path and --result_path are needed (see --help)");
  }
  if (options.device_type != "CPU" && options.device_type != "Ascend" && options.device_type != "GPU") {
    throw Error("--device_type is '" + options.device_type + "', expected CPU, Ascend or GPU");
  }
  if (options.precision != "f32" && options.precision != "bf16") {
    throw Error("--precision is '" + options.precision + "', expected f32 or bf16");
  }
  return options;
}
