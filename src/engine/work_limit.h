// Ends a call into a library that takes too much processor time. The library needs no support for it: each allocation
// through `new` can throw an exception, which exception-safe code passes on. So this ends only code that keeps
// allocating.
#pragma once

#include <cstdint>
#include <new>

#include "base/clock.h"

namespace drover {

class OverWorkLimit : public std::bad_alloc {
 public:
  const char* what() const noexcept override { return "it takes too much processor time"; }
};

// While it lives, `new` throws OverWorkLimit once on this thread, when the thread has used this much processor time
// since the constructor. Not nested. The work must be exception-safe, and its half-finished results must be dropped.
class WorkLimit {
 public:
  explicit WorkLimit(Duration processor_time);
  ~WorkLimit();
  WorkLimit(const WorkLimit&) = delete;
  WorkLimit& operator=(const WorkLimit&) = delete;

  Duration used() const;

 private:
  const Duration begun_;  // on the thread's clock
};

}  // namespace drover
