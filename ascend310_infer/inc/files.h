#ifndef ASCEND310_INFER_FILES_H_
#define ASCEND310_INFER_FILES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// Size in bytes of a regular file. Throws Error if there is none.
std::uint64_t FileSize(const std::string& path);

// The whole content of a file. Throws Error if it cannot be read.
std::string ReadText(const std::string& path);

// Reads exactly `size` bytes from byte `offset` on. Throws Error if the file is shorter.
void ReadBytes(const std::string& path, std::uint64_t offset, void* data, std::size_t size);

// Makes a folder and those above it. Throws Error if that fails.
void MakeFolders(const std::string& path);

// Throws Error if a folder is there and holds anything but files of these names.
void CheckFolder(const std::string& path, const std::vector<std::string>& names);

// Removes a file if it is there. Throws Error if that fails.
void RemoveFile(const std::string& path);

// A file that is either whole or absent: it is written under another name, and `Commit` gives it its own.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void Write(const void* data, std::size_t size);
  void Commit();

 private:
  [[noreturn]] void Fail(const std::string& action) const;

  std::string path_;
  std::string partial_;
  int descriptor_;
};

#endif  // ASCEND310_INFER_FILES_H_
