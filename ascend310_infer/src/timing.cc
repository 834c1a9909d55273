#include "inc/timing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

namespace {
// The value that the fraction `part` of the sorted times does not exceed, linear between neighbors.
double Quantile(const std::vector<double>& sorted, double part) {
  const double place = part * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(place));
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - std::floor(place)) * (sorted[above] - sorted[below]);
}
}  // namespace

std::string TimingReport(const std::vector<double>& batch_ms, std::size_t batch_size) {
  std::vector<double> times(batch_ms.begin() + (batch_ms.size() > 1 ? 1 : 0), batch_ms.end());
  std::sort(times.begin(), times.end());
  const double mean = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  const double median = Quantile(times, 0.5);
  std::ostringstream report;
  report << std::fixed;
  report.precision(3);
  report << "batches: " << batch_ms.size() << " of " << batch_size << (batch_size == 1 ? " clip\n" : " clips\n")
         << "first batch: " << batch_ms[0] << " ms\n"
         << "mean: " << mean << " ms a batch\n"
         << "median: " << median << " ms a batch, " << median / static_cast<double>(batch_size) << " ms a clip\n"
         << "p99: " << Quantile(times, 0.99) << " ms a batch\n";
  return report.str();
}
