// The runner's end of the socket pair: blocking frames.
#pragma once

#include <mutex>
#include <string>

#include "runner.pb.h"

namespace drover {

class FrameChannel {
 public:
  explicit FrameChannel(int descriptor) : descriptor_(descriptor) {}

  // The next message from the front. False: the front is gone, or sends what is no frame. One thread reads.
  bool read(pb::ToRunner& message);
  // Sends one message. Any thread. If the front is gone the process ends: a runner has no purpose without it.
  void write(const pb::FromRunner& message);

 private:
  bool read_bytes(char* into, std::size_t size);

  const int descriptor_;
  std::string read_buffer_;
  std::mutex write_mutex_;
  std::string write_buffer_;  // guarded by write_mutex_
};

}  // namespace drover
