// What becomes of a request that has no whole answer.
#pragma once

namespace drover::net {

enum class Failure {
  kNone,
  kConnect,  // nobody there, or no such host
  kTimeout,
  kClosed,  // the connection ended in the middle
  kOther,
};

}  // namespace drover::net
