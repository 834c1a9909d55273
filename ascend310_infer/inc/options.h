#ifndef ASCEND310_INFER_OPTIONS_H_
#define ASCEND310_INFER_OPTIONS_H_

#include <cstdint>
#include <string>

struct Options {
  bool help = false;
  std::string mindir_path;
  std::string input_path;
  std::string result_path;
  std::string device_type = "CPU";
  std::uint32_t device_id = 0;
  std::string precision = "f32";  // or bf16
  int threads = 0;                // 0: as many as the machine has
};

extern const char kUsage[];

// Reads `--name value` and `--name=value`. Throws Error for what it does not know.
Options ParseOptions(int argc, char** argv);

#endif  // ASCEND310_INFER_OPTIONS_H_
