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

inline int http_status(const Error& error) {
  return error.status != 0 ? error.status : http_status(error.code);
}

// The same for a request to a model. What is short there is memory, which is 500 in Ollama.
inline int request_status(const Error& error) {
  return error.code == ErrorCode::kNoSpace ? 500 : http_status(error);
}

}  // namespace drover::api
