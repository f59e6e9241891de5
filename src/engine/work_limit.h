// Ends a call into a library that takes too much processor time. The library needs no door for it: each piece of memory
// that it asks C++ for is a moment at which it can be refused, by an exception, which code that frees what it holds
// passes on. So this ends what allocates on and on, and nothing else.
#pragma once

#include <cstdint>
#include <new>

#include "base/clock.h"

namespace drover {

class OverWorkLimit : public std::bad_alloc {
 public:
  const char* what() const noexcept override { return "it takes too much processor time"; }
};

// For as long as it lives, `new` throws OverWorkLimit, once, on this thread, when the thread has used so much processor
// time since. Not nested. The work has to be good for exceptions; what it has changed half has to be dropped.
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
