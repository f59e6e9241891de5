// Limits that the keeper and its workers set on themselves, so that an untrusted text cannot harm anything else. The
// way a process ends shows which limit it exceeded.
#pragma once

#include <cstdint>
#include <string>

namespace drover {

// How a limited process ended.
struct LimitedEnd {
  enum class How {
    kProcessor,  // it used too much processor time
    kMemory,
    kStack,
    kOther,  // a crash, or a signal from another process
  } how = How::kOther;
  int status = 0;  // from waitpid()
};

LimitedEnd end_of(int status);
// "signal 11 (Segmentation fault)" or "exit code 1".
std::string describe(const LimitedEnd& end);

// Detaches the calling process: it ends with its parent `parent` and cannot gain rights. Its input and output are
// /dev/null. Of its other descriptors only the log and `socket` stay open; `socket` becomes descriptor 3.
void detach(int parent, int socket);

// From now on, if an allocation fails or the stack overflows, the process ends in a way that end_of() recognizes. For a
// process with one thread, whose stack begins near the caller's frame.
void end_at_limits();
// Limits the process to `bytes` more memory than it has now. No limit under sanitizers, which reserve terabytes.
void limit_memory(std::uint64_t bytes);
// Ends the process once it has used `seconds` to `seconds` + 1 more processor seconds; 0: no limit.
void limit_processor(unsigned seconds);

// Bytes of the process's private memory.
std::uint64_t heap_bytes();

}  // namespace drover
