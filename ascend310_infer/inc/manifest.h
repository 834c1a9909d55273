#ifndef ASCEND310_INFER_MANIFEST_H_
#define ASCEND310_INFER_MANIFEST_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// Shape and type of a tensor of one batch.
struct TensorSpec {
  std::string name;
  std::string dtype;  // float32 or float16
  std::vector<std::uint64_t> shape;

  std::size_t ItemBytes() const;
  std::size_t Bytes() const;
  // Bytes of one of the batch's rows.
  std::size_t RowBytes() const { return Bytes() / shape[0]; }
  std::string Describe() const;
};

// What preprogress.py says about a folder of inputs, checked. A row is what the network scores at a time: a clip with
// as many boxes as it takes. A key frame with more boxes is several rows of the same clip.
struct Manifest {
  std::string text;    // the file itself
  std::string format;  // of the model, as EXPORT.FORMAT names it
  std::uint64_t model_bytes = 0;
  TensorSpec slow;
  TensorSpec fast;
  TensorSpec boxes;
  TensorSpec output;
  std::vector<std::uint64_t> slow_frames;  // the frames of the fast pathway that the slow one takes
  std::vector<std::string> clip_files;
  std::string box_file;
  std::vector<std::uint64_t> row_clips;  // the clip of each row

  std::size_t BatchSize() const { return static_cast<std::size_t>(output.shape[0]); }
  std::size_t Rows() const { return row_clips.size(); }
  std::size_t Batches() const { return (Rows() + BatchSize() - 1) / BatchSize(); }

  // Throws Error if the manifest is absent, contradicts itself, or the files beside it have other sizes.
  static Manifest Read(const std::string& folder);
};

#endif  // ASCEND310_INFER_MANIFEST_H_
