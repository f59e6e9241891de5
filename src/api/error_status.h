// The one place where errors become HTTP statuses.
#pragma once

#include "base/result.h"

namespace drover::api {

constexpr int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kPromptTooLong:
    case ErrorCode::kNotKept:
      return 400;
    case ErrorCode::kForbidden:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kTooLarge:
      return 413;
    case ErrorCode::kCanceled:
      return 499;
    case ErrorCode::kQueueFull:
    case ErrorCode::kTimedOut:
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kNoSpace:
      return 507;
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

// The same for a request to a model. What is short there is memory, which is 500 in Ollama.
constexpr int request_status(ErrorCode code) {
  return code == ErrorCode::kNoSpace ? 500 : http_status(code);
}

}  // namespace drover::api
