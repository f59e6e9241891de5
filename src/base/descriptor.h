// A file descriptor that closes itself.
#pragma once

#include <unistd.h>

namespace drover {

// Closes a file descriptor at the end of a scope; below 0: there is none.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

}  // namespace drover
