#include "inc/json.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>
#include <utility>

#include "inc/error.h"

// Recursive descent. Values may be nested `kDeepest` deep, so that no document can exhaust the stack.
class JsonParser {
 public:
  explicit JsonParser(const std::string &text) : text_(text) {}

  Json Document() {
    Json value = Value("the document", 0);
    SkipSpace();
    if (at_ != text_.size()) Fail("the end of the file");
    return value;
  }

 private:
  static constexpr int kDeepest = 16;

  Json Value(const std::string &place, int depth) {
    if (depth > kDeepest) Fail("fewer brackets within each other");
    Json value;
    value.place_ = place;
    SkipSpace();
    switch (Peek()) {
      case '{':
        Object(&value, depth);
        break;
      case '[':
        Array(&value, depth);
        break;
      case '"':
        value.kind_ = Json::Kind::kText;
        value.text_ = String();
        break;
      case 't':
      case 'f':
        value.kind_ = Json::Kind::kBool;
        Word(Peek() == 't' ? "true" : "false");
        break;
      case 'n':
        Word("null");
        break;
      default:
        value.kind_ = Json::Kind::kNumber;
        value.text_ = Number();
    }
    return value;
  }

  void Object(Json *value, int depth) {
    value->kind_ = Json::Kind::kObject;
    Take('{');
    SkipSpace();
    if (Peek() == '}') return Take('}');
    do {
      SkipSpace();
      const std::string key = String();
      SkipSpace();
      Take(':');
      if (!value->members_.emplace(key, Value('"' + key + '"', depth + 1)).second) Fail("no second \"" + key + '"');
      SkipSpace();
    } while (Comma());
    Take('}');
  }

  void Array(Json *value, int depth) {
    value->kind_ = Json::Kind::kArray;
    Take('[');
    SkipSpace();
    if (Peek() == ']') return Take(']');
    do {
      value->items_.push_back(Value("an entry of " + value->place_, depth + 1));
      SkipSpace();
    } while (Comma());
    Take(']');
  }

  std::string String() {
    std::string result;
    Take('"');
    while (Peek() != '"') {
      const auto character = static_cast<unsigned char>(Next());
      if (character < 0x20) Fail("a string without control characters");
      if (character == '\\') {
        Escape(&result);
      } else {
        result += static_cast<char>(character);
      }
    }
    Take('"');
    return result;
  }

  void Escape(std::string *result) {
    static const char kNames[] = "\"\\/bfnrt";
    static const char kMeanings[] = "\"\\/\b\f\n\r\t";
    const char name = Next();
    if (name == 'u') {
      std::uint32_t code = HexCode();
      if (code >= 0xD800 && code < 0xDC00) {  // the first of a pair
        Take('\\');
        Take('u');
        const std::uint32_t second = HexCode();
        if (second < 0xDC00 || second > 0xDFFF) Fail("the second of a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
      } else if (code >= 0xDC00 && code <= 0xDFFF) {
        Fail("the first of a surrogate pair");
      }
      AppendUtf8(code, result);
      return;
    }
    const char *found = name == '\0' ? nullptr : std::strchr(kNames, name);
    if (found == nullptr) Fail("an escape of JSON");
    *result += kMeanings[found - kNames];
  }

  std::uint32_t HexCode() {
    std::uint32_t code = 0;
    for (int digit = 0; digit < 4; ++digit) {
      const auto character = static_cast<unsigned char>(Next());
      if (std::isxdigit(character) == 0) Fail("four hexadecimal digits");
      const int lower = std::tolower(character);
      code = code * 16 + static_cast<std::uint32_t>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
    }
    return code;
  }

  static void AppendUtf8(std::uint32_t code, std::string *result) {
    if (code < 0x80) {
      *result += static_cast<char>(code);
      return;
    }
    const int following = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    const std::uint32_t leads[] = {0, 0xC0, 0xE0, 0xF0};
    *result += static_cast<char>(leads[following] | code >> (6 * following));
    for (int index = following - 1; index >= 0; --index) {
      *result += static_cast<char>(0x80 | ((code >> (6 * index)) & 0x3F));
    }
  }

  std::string Number() {
    const std::size_t start = at_;
    if (Peek() == '-') ++at_;
    if (Peek() == '0') {
      ++at_;
    } else {
      Digits();
    }
    if (Peek() == '.') {
      ++at_;
      Digits();
    }
    if (Peek() == 'e' || Peek() == 'E') {
      ++at_;
      if (Peek() == '+' || Peek() == '-') ++at_;
      Digits();
    }
    return text_.substr(start, at_ - start);
  }

  void Digits() {
    if (std::isdigit(static_cast<unsigned char>(Peek())) == 0) Fail("a value");
    while (std::isdigit(static_cast<unsigned char>(Peek())) != 0) ++at_;
  }

  bool Comma() {
    if (Peek() != ',') return false;
    ++at_;
    return true;
  }

  void Word(const char *word) {
    for (; *word != '\0'; ++word) Take(*word);
  }

  void Take(char expected) {
    if (at_ == text_.size() || text_[at_] != expected) Fail(std::string("'") + expected + "'");
    ++at_;
  }

  char Next() {
    if (at_ == text_.size()) Fail("more");
    return text_[at_++];
  }

  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void SkipSpace() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr && text_[at_] != '\0') ++at_;
  }

  [[noreturn]] void Fail(const std::string &expected) const {
    const auto here = text_.begin() + static_cast<std::ptrdiff_t>(at_);
    const auto line = std::count(text_.begin(), here, '\n') + 1;
    throw Error("row " + std::to_string(line) + ": not JSON, expected " + expected);
  }

  const std::string &text_;
  std::size_t at_ = 0;
};

Json Json::Parse(const std::string &text) { return JsonParser(text).Document(); }

const Json &Json::At(const std::string &key) const {
  if (kind_ != Kind::kObject) Fail("an object");
  const auto found = members_.find(key);
  if (found == members_.end()) throw Error(place_ + " lacks \"" + key + '"');
  return found->second;
}

const std::vector<Json> &Json::Items() const {
  if (kind_ != Kind::kArray) Fail("a list");
  return items_;
}

const std::string &Json::Text() const {
  if (kind_ != Kind::kText) Fail("a text");
  return text_;
}

std::uint64_t Json::Count() const {
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
  if (kind_ != Kind::kNumber) Fail("a number");
  std::uint64_t count = 0;
  for (const char digit : text_) {
    if (digit < '0' || digit > '9') Fail("a whole number, 0 or more");
    const auto value = static_cast<std::uint64_t>(digit - '0');
    if (count > (kMost - value) / 10) Fail("a smaller number");
    count = count * 10 + value;
  }
  return count;
}

void Json::Fail(const std::string &expected) const { throw Error(place_ + " must be " + expected); }
