#include "runner/frame_channel.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/check.h"
#include "base/frame.h"

namespace drover {

bool FrameChannel::read_bytes(char* into, std::size_t size) {
  while (size > 0) {
    const ssize_t got = ::read(descriptor_, into, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

bool FrameChannel::read(pb::ToRunner& message) {
  std::array<char, kFrameHeaderBytes> header;
  if (!read_bytes(header.data(), header.size())) return false;
  const std::size_t size = frame_size(header);
  if (size > kFrameBytesMax) return false;
  read_buffer_.resize(size);
  return read_bytes(read_buffer_.data(), size) && message.ParseFromString(read_buffer_);
}

void FrameChannel::write(const pb::FromRunner& message) {
  const MutexLock lock(write_mutex_);
  const std::size_t size = message.ByteSizeLong();
  DROVER_CHECK(size <= kFrameBytesMax);
  const auto header = frame_header(size);
  write_buffer_.assign(header.data(), header.size());
  message.AppendToString(&write_buffer_);
  const char* from = write_buffer_.data();
  std::size_t left = write_buffer_.size();
  while (left > 0) {
    const ssize_t put = ::write(descriptor_, from, left);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) std::_Exit(0);
    from += put;
    left -= static_cast<std::size_t>(put);
  }
}

}  // namespace drover
