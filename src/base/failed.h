// An Error as the message Failed of proto/runner.proto, and back: the one place that knows which kind stands for which
// code.
//
// Templates, because this folder does not know protobuf: `Failed` is pb::Failed.
#pragma once

#include "base/result.h"

namespace drover {

// Sets the kind and the message. A code that has no kind of its own crosses as INTERNAL.
template <typename Failed>
void write_error(const Error& error, Failed& failed) {
  const auto kind_of = [](ErrorCode code) {
    switch (code) {
      case ErrorCode::kInvalidArgument:
        return Failed::INVALID;
      case ErrorCode::kPromptTooLong:
        return Failed::PROMPT_TOO_LONG;
      case ErrorCode::kNotFound:
        return Failed::MISSING;
      case ErrorCode::kNoSpace:
        return Failed::MEMORY;
      case ErrorCode::kNotKept:
      case ErrorCode::kTooLarge:
      case ErrorCode::kForbidden:
      case ErrorCode::kQueueFull:
      case ErrorCode::kTimedOut:
      case ErrorCode::kCanceled:
      case ErrorCode::kUnavailable:
      case ErrorCode::kInternal:
        return Failed::INTERNAL;
    }
    return Failed::INTERNAL;
  };
  failed.set_kind(kind_of(error.code));
  failed.set_message(error.message);
}

// The peer may be newer or broken: a kind that is not known is kInternal.
template <typename Failed>
Error read_error(const Failed& failed) {
  const auto code = [&] {
    switch (failed.kind()) {
      case Failed::INVALID:
        return ErrorCode::kInvalidArgument;
      case Failed::PROMPT_TOO_LONG:
        return ErrorCode::kPromptTooLong;
      case Failed::MISSING:
        return ErrorCode::kNotFound;
      case Failed::MEMORY:
        return ErrorCode::kNoSpace;
      default:
        return ErrorCode::kInternal;
    }
  }();
  return {code, failed.message()};
}

}  // namespace drover
