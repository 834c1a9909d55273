#ifndef ASCEND310_INFER_ERROR_H_
#define ASCEND310_INFER_ERROR_H_

#include <stdexcept>

// A failure that ends the run. The message is one line: which file, and what was expected.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

#endif  // ASCEND310_INFER_ERROR_H_
