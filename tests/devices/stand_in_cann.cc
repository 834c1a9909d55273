// Stand-ins for the few functions of CANN whose callers use what they return; the others are written by stand_ins.py.
// Only names and layouts are CANN's. Compiled for the old ABI of std::string, as MindSpore's plugin is.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

extern "C" {
const char *aclGetRecentErrMsg() { return ""; }
int aclrtGetDeviceCount(uint32_t *count) {
  *count = 8;
  return 0;
}
}

namespace ge {
struct AscendString {
  std::shared_ptr<std::string> text;
  explicit AscendString(const char *name);
  const char *GetString() const;
  bool operator<(const AscendString &other) const;
};
AscendString::AscendString(const char *name) : text(std::make_shared<std::string>(name ? name : "")) {}
const char *AscendString::GetString() const { return text ? text->c_str() : ""; }
bool AscendString::operator<(const AscendString &other) const { return std::string(GetString()) < other.GetString(); }

struct Shape {
  std::shared_ptr<int> data;
  std::vector<int64_t> GetDims() const;
};
std::vector<int64_t> Shape::GetDims() const { return {}; }

struct TensorDesc {
  std::shared_ptr<int> data;
  Shape GetShape() const;
  Shape GetOriginShape() const;
};
Shape TensorDesc::GetShape() const { return {}; }
Shape TensorDesc::GetOriginShape() const { return {}; }

struct Tensor {
  std::shared_ptr<int> data;
  TensorDesc GetTensorDesc() const;
};
TensorDesc Tensor::GetTensorDesc() const { return {}; }

struct Operator {
  TensorDesc GetOutputDesc(uint32_t index) const;
  TensorDesc GetOutputDesc(const std::string &name) const;
  std::string GetName() const;
  std::string GetOpType() const;
};
TensorDesc Operator::GetOutputDesc(uint32_t) const { return {}; }
TensorDesc Operator::GetOutputDesc(const std::string &) const { return {}; }
std::string Operator::GetName() const { return {}; }
std::string Operator::GetOpType() const { return {}; }

struct GNode {
  std::shared_ptr<int> data;
};
struct Graph {
  const std::string &GetName() const;
  std::vector<GNode> GetDirectNode() const;
};
const std::string &Graph::GetName() const {
  static const std::string empty;
  return empty;
}
std::vector<GNode> Graph::GetDirectNode() const { return {}; }

struct StatusFactory {
  std::map<uint32_t, std::string> descriptions;
  char rest[256];
  static StatusFactory *Instance();
};
StatusFactory *StatusFactory::Instance() {
  static StatusFactory instance{};
  return &instance;
}
}  // namespace ge

namespace optiling {
struct CTilingDataClassFactory {
  char rest[4096];
  static CTilingDataClassFactory &GetInstance();
};
CTilingDataClassFactory &CTilingDataClassFactory::GetInstance() {
  static CTilingDataClassFactory instance{};
  return instance;
}
}  // namespace optiling

// MindSpore's dry run knows no chip: it is set from here, once MindSpore has asked for it.
namespace mindspore {
class MsContext {
 public:
  static std::shared_ptr<MsContext> GetInstance() __attribute__((weak));
  void set_ascend_soc_version(const std::string &version) __attribute__((weak));
  void set_ascend_soc_name(const std::string &name) __attribute__((weak));
};
}  // namespace mindspore

extern "C" void stand_in_set_chip(const char *version, const char *name) {
  auto context = mindspore::MsContext::GetInstance();
  context->set_ascend_soc_version(version);
  context->set_ascend_soc_name(name);
}
