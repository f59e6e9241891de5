// What the keeper and its workers do to themselves so that a stranger's text can hurt nobody else: limits of the
// kernel, and ends that tell which limit it was.
#pragma once

#include <cstdint>
#include <string>

namespace drover {

// How a process ended that was held to limits.
struct LimitedEnd {
  enum class How {
    kProcessor,  // more time of the processor than it was given
    kMemory,
    kStack,
    kOther,  // a fault of its own, or somebody else's signal
  } how = How::kOther;
  int status = 0;  // of waitpid()
};

LimitedEnd end_of(int status);
// "signal 11 (Segmentation fault)" or "exit code 1".
std::string describe(const LimitedEnd& end);

// The calling process ends when its parent, `parent`, does; it cannot gain rights; its input and output are /dev/null;
// and of its other descriptors only the log and `socket` are left, which becomes descriptor 3.
void detach(int parent, int socket);

// From now on: where memory cannot be had, or the stack is at its end, the process ends so that end_of() tells. Of a
// process with one thread, with a stack that begins near the caller's frame.
void end_at_limits();
// So many bytes of memory more than it has now. Not under sanitizers, which reserve terabytes.
void limit_memory(std::uint64_t bytes);
// Ends it once it has used between `seconds` and one second more of the processor from now on; 0: no limit.
void limit_processor(unsigned seconds);

// Of memory that it holds for itself.
std::uint64_t heap_bytes();

}  // namespace drover
