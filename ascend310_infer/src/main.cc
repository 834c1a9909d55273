// Scores the inputs that preprogress.py wrote with an exported network.

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "inc/batches.h"
#include "inc/files.h"
#include "inc/manifest.h"
#include "inc/network.h"
#include "inc/options.h"
#include "inc/timing.h"

namespace {
constexpr double kProgressSeconds = 5.0;
constexpr int kFailed = 2;
using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// MindSpore reads its log level when the program is loaded, and logs warnings about nothing at the usual one. So the
// program starts itself again with the level set, unless the user has set one.
void QuietLibrary(char** argv) {
  if (getenv("GLOG_v") != nullptr) return;
  setenv("GLOG_v", "4", 1);
  execv("/proc/self/exe", argv);  // where this fails, the run goes on, only less quiet
}

void WriteFile(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.Write(text.data(), text.size());
  file.Commit();
}

// Scores batch after batch into scores.bin, reading the next while one runs. Returns the time of each in ms.
std::vector<double> ScoreBatches(const Options& options, const Manifest& manifest, Network* network) {
  AtomicFile scores(options.result_path + "/scores.bin");
  const auto read = [&](std::size_t index) { return ReadBatch(options.input_path, manifest, index); };
  std::future<Batch> next = std::async(std::launch::async, read, 0);
  std::vector<double> batch_ms;
  Clock::time_point shown = Clock::now();
  for (std::size_t index = 0; index < manifest.Batches(); ++index) {
    const Batch batch = next.get();
    if (index + 1 < manifest.Batches()) next = std::async(std::launch::async, read, index + 1);
    const Clock::time_point start = Clock::now();
    const std::vector<char> result = network->Score(batch);
    batch_ms.push_back(1000.0 * SecondsSince(start));
    scores.Write(result.data(), batch.rows * manifest.output.RowBytes());
    if (SecondsSince(shown) > kProgressSeconds || index + 1 == manifest.Batches()) {
      shown = Clock::now();
      std::cout << "batch " << index + 1 << " of " << manifest.Batches() << ", " << batch_ms.back() << " ms"
                << std::endl;
    }
  }
  scores.Commit();
  return batch_ms;
}

void Run(const Options& options) {
  const Manifest manifest = Manifest::Read(options.input_path);
  // The manifest beside the results says that they are whole, so it goes first and comes last.
  const std::string mark = options.result_path + "/manifest.json";
  CheckFolder(options.result_path, {"manifest.json", "scores.bin", "manifest.json.partial", "scores.bin.partial"});
  const std::unique_ptr<Network> network = LoadNetwork(options, manifest);
  MakeFolders(options.result_path);
  RemoveFile(mark);
  const std::vector<double> batch_ms = ScoreBatches(options, manifest, network.get());
  const std::string report = TimingReport(batch_ms, manifest.BatchSize());
  MakeFolders("time_Result");
  WriteFile("time_Result/test_perform_static.txt", report);
  WriteFile(mark, manifest.text);
  std::cout << report << std::flush;
}
}  // namespace

int main(int argc, char** argv) {
  QuietLibrary(argv);
  try {
    const Options options = ParseOptions(argc, argv);
    if (options.help) {
      std::cout << kUsage;
      return 0;
    }
    Run(options);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return kFailed;
  }
  return 0;
}
