#include "inc/files.h"

// POSIX calls instead of <filesystem>, which GCC 7.3, the compiler of many Ascend hosts, does not have.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "inc/error.h"

namespace {
[[noreturn]] void Fail(const std::string& path, const std::string& action) {
  throw Error(path + ": cannot " + action + ": " + std::strerror(errno));
}

// An open file that closes itself.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : value_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (value_ < 0) Fail(path, "read the file");
  }
  ~Descriptor() { close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int Get() const { return value_; }

 private:
  int value_;
};
}  // namespace

std::uint64_t FileSize(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) Fail(path, "read the file");
  if (!S_ISREG(info.st_mode)) throw Error(path + ": expected a file");
  return static_cast<std::uint64_t>(info.st_size);
}

std::string ReadText(const std::string& path) {
  std::string text(FileSize(path), '\0');
  ReadBytes(path, 0, &text[0], text.size());
  return text;
}

void ReadBytes(const std::string& path, std::uint64_t offset, void* data, std::size_t size) {
  const Descriptor file(path);
  auto* position = static_cast<char*>(data);
  std::size_t left = size;
  while (left > 0) {
    const ssize_t count = pread(file.Get(), position, left, static_cast<off_t>(offset + (size - left)));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path, "read the file");
    if (count == 0) {
      throw Error(path + ": the file ends after " + std::to_string(offset + (size - left)) + " bytes, expected " +
                  std::to_string(offset + size));
    }
    position += count;
    left -= static_cast<std::size_t>(count);
  }
}

void MakeFolders(const std::string& path) {
  for (std::size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    mkdir(path.substr(0, end).c_str(), 0777);  // one that cannot be made shows in the last
  }
  if (mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) Fail(path, "make the folder");
}

void CheckFolder(const std::string& path, const std::vector<std::string>& names) {
  DIR* folder = opendir(path.c_str());
  if (folder == nullptr) return;  // where it cannot be made, that is said then
  std::string foreign;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != ".." && std::find(names.begin(), names.end(), name) == names.end()) foreign = name;
  }
  closedir(folder);
  if (!foreign.empty()) throw Error(path + '/' + foreign + ": not a result of this program; give an empty folder");
}

void RemoveFile(const std::string& path) {
  if (unlink(path.c_str()) != 0 && errno != ENOENT) Fail(path, "remove the old file");
}

AtomicFile::AtomicFile(const std::string& path)
    : path_(path),
      partial_(path + ".partial"),
      descriptor_(open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) Fail("write the file");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) {
    close(descriptor_);
    unlink(partial_.c_str());
  }
}

void AtomicFile::Write(const void* data, std::size_t size) {
  const auto* position = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t count = write(descriptor_, position, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail("write the file");
    position += count;
    size -= static_cast<std::size_t>(count);
  }
}

void AtomicFile::Commit() {
  if (fsync(descriptor_) != 0) Fail("write the file");
  if (rename(partial_.c_str(), path_.c_str()) != 0) Fail("write the file");
  close(descriptor_);
  descriptor_ = -1;
}

void AtomicFile::Fail(const std::string& action) const { ::Fail(path_, action); }
