#ifndef ASCEND310_INFER_TIMING_H_
#define ASCEND310_INFER_TIMING_H_

#include <cstddef>
#include <string>
#include <vector>

// The text of test_perform_static.txt: mean, median and 99th percentile of the times of a batch (the first, which
// warms up, is told apart and left out of them where there are others) and the median for each clip.
std::string TimingReport(const std::vector<double>& batch_ms, std::size_t batch_size);

#endif  // ASCEND310_INFER_TIMING_H_
