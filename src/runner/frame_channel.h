// The runner's end of the socket pair: blocking frames.
#pragma once

#include <string>

#include "base/mutex.h"
#include "runner.pb.h"

namespace drover {

class FrameChannel {
 public:
  explicit FrameChannel(int descriptor) : descriptor_(descriptor) {}

  // Reads the next message from the front. False: the front is gone, or its bytes are not a frame. One thread reads.
  bool read(pb::ToRunner& message);
  // Sends one message. Any thread. If the front is gone, the process ends.
  void write(const pb::FromRunner& message);

 private:
  bool read_bytes(char* into, std::size_t size);

  const int descriptor_;
  std::string read_buffer_;
  Mutex write_mutex_;
  std::string write_buffer_ GUARDED_BY(write_mutex_);
};

}  // namespace drover
