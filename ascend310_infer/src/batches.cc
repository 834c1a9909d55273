#include "inc/batches.h"

#include <algorithm>
#include <cstring>

#include "inc/files.h"

namespace {
// Copies the slow pathway's frames out of a clip (channels, time, height, width) of the fast one.
void TakeFrames(const Manifest& manifest, const char* fast, char* slow) {
  const std::size_t channels = manifest.fast.shape[1], frames = manifest.fast.shape[2];
  const std::size_t frame_bytes = manifest.fast.RowBytes() / (channels * frames);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    for (const std::uint64_t frame : manifest.slow_frames) {
      std::memcpy(slow, fast + (channel * frames + frame) * frame_bytes, frame_bytes);
      slow += frame_bytes;
    }
  }
}
}  // namespace

Batch ReadBatch(const std::string& folder, const Manifest& manifest, std::size_t index) {
  const std::size_t first = index * manifest.BatchSize();
  Batch batch;
  batch.slow.resize(manifest.slow.Bytes());
  batch.fast.resize(manifest.fast.Bytes());
  batch.boxes.resize(manifest.boxes.Bytes());
  batch.rows = std::min(manifest.BatchSize(), manifest.Rows() - first);
  const std::size_t slow_bytes = manifest.slow.RowBytes(), fast_bytes = manifest.fast.RowBytes();
  const std::size_t box_bytes = manifest.boxes.RowBytes();
  for (std::size_t row = 0; row < batch.rows; ++row) {
    char* fast = &batch.fast[row * fast_bytes];
    ReadBytes(folder + '/' + manifest.clip_files[manifest.row_clips[first + row]], 0, fast, fast_bytes);
    TakeFrames(manifest, fast, &batch.slow[row * slow_bytes]);
  }
  ReadBytes(folder + '/' + manifest.box_file, first * box_bytes, batch.boxes.data(), batch.rows * box_bytes);
  return batch;
}
