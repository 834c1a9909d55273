#include "inc/network.h"

#include <dlfcn.h>
#include <unistd.h>

#include <string>

#include "inc/error.h"
#include "inc/files.h"

namespace {
// The folder of this program, where its modules are too.
std::string ProgramFolder() {
  std::string path(4096, '\0');
  const ssize_t size = readlink("/proc/self/exe", &path[0], path.size());
  if (size <= 0) throw Error("/proc/self/exe: cannot find the folder of this program");
  path.resize(static_cast<std::size_t>(size));
  return path.substr(0, path.rfind('/'));
}
}  // namespace

std::unique_ptr<Network> LoadNetwork(const Options& options, const Manifest& manifest) {
  const std::uint64_t size = FileSize(options.mindir_path);
  if (size != manifest.model_bytes) {
    throw Error(options.mindir_path + ": has " + std::to_string(size) +
                " bytes, but the inputs were made for a model of " + std::to_string(manifest.model_bytes));
  }
  const std::string name = manifest.format == "ONNX" ? "openvino" : "mindspore";
  const std::string path = ProgramFolder() + "/libslowfast_" + name + ".so";
  // The module stays loaded: what it made lives in its code.
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    const std::string reason = access(path.c_str(), F_OK) == 0 ? dlerror() : "build.sh has not built it";
    throw Error("a graph of the format " + manifest.format + " needs the library " + name + ": " + reason);
  }
  auto* create = reinterpret_cast<CreateNetworkFunction*>(dlsym(module, "CreateNetwork"));
  if (create == nullptr) throw Error(path + ": not a module of this program");
  return std::unique_ptr<Network>(create(options, manifest));
}
