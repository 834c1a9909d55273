#ifndef ASCEND310_INFER_JSON_H_
#define ASCEND310_INFER_JSON_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

// A JSON value, read strictly after RFC 8259. Only what a manifest needs can be asked of it; asking for what is not
// there throws Error, which names the place.
class Json {
 public:
  // Throws Error with the line of the first mistake.
  static Json Parse(const std::string &text);

  const Json &At(const std::string &key) const;
  const std::vector<Json> &Items() const;
  const std::string &Text() const;
  // A whole number, 0 or more.
  std::uint64_t Count() const;

 private:
  friend class JsonParser;
  enum class Kind { kNull, kBool, kNumber, kText, kArray, kObject };

  [[noreturn]] void Fail(const std::string &expected) const;

  Kind kind_ = Kind::kNull;
  std::string place_ = "the document";
  std::string text_;  // of a string, decoded; of a number, as it stands
  std::vector<Json> items_;
  std::map<std::string, Json> members_;
};

#endif  // ASCEND310_INFER_JSON_H_
