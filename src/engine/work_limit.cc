#include "engine/work_limit.h"

#include <time.h>

#include <cstdlib>

namespace drover {
namespace {

// Reading the clock takes as long as an allocation, so it is read once per this many small ones.
constexpr unsigned kAllocationsPerLook = 64;
// An allocation of this size will be filled, which takes time, so the clock is read at once.
constexpr std::size_t kLargeBytes = 16 << 10;

struct Limit {
  bool on = false;
  unsigned allocations = 0;
  Duration end{};          // on the thread's clock
  TimePoint look_again{};  // the limit cannot be reached before this: a thread uses no more processor time than passes
};
constinit thread_local Limit limit;

Duration thread_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::duration_cast<Duration>(std::chrono::seconds(time.tv_sec) +
                                              std::chrono::nanoseconds(time.tv_nsec));
}

void look() {
  const TimePoint now = Clock::now();
  if (now < limit.look_again) return;
  const Duration left = limit.end - thread_time();
  if (left > Duration::zero()) {
    limit.look_again = now + left;
    return;
  }
  limit.on = false;
  throw OverWorkLimit();
}

}  // namespace

WorkLimit::WorkLimit(Duration processor_time) : begun_(thread_time()) {
  limit = {.on = true, .allocations = 0, .end = begun_ + processor_time, .look_again = Clock::now() + processor_time};
}

WorkLimit::~WorkLimit() {
  limit.on = false;
}

Duration WorkLimit::used() const {
  return thread_time() - begun_;
}

}  // namespace drover

// Replaces the library's operator new in the whole program and its libraries.
void* operator new(std::size_t size) {
  using drover::limit;
  if (limit.on && (++limit.allocations % drover::kAllocationsPerLook == 0 || size >= drover::kLargeBytes))
    drover::look();
  while (true) {
    if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
  }
}

// The library's version calls the one above. A sanitizer's does not, and would see its memory freed by free().
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size > 0 ? size : 1);
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
