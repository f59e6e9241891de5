// Errors are values. A function that can fail for a reason outside of our own code returns Result<T>.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace drover {

// What kind of thing went wrong. api/error_status.h holds the one switch that maps these to HTTP statuses.
enum class ErrorCode {
  kInvalidArgument,  // what was asked is malformed or contradicts itself
  kPromptTooLong,    // the prompt has more tokens than the context, and may not lose any
  kNotKept,          // the request refers to an earlier answer, or a part of one, that is not kept (any more)
  kNotFound,         // no such model, blob, file
  kTooLarge,         // over a stated limit
  kForbidden,        // refused by policy
  kQueueFull,        // no room to wait
  kTimedOut,         // waited for longer than allowed
  kCanceled,         // the client went away
  kUnavailable,      // shutting down, or the model cannot be had at present
  kNoSpace,          // disk or memory is short
  kInternal,         // everything else
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  int status = 0;               // the HTTP status, where it is not the code's own; 0: it is
  const char* field = nullptr;  // the field of the request that is at fault, where programs look for its name
};

inline Error invalid(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}
inline Error not_found(std::string message) {
  return {ErrorCode::kNotFound, std::move(message)};
}
inline Error internal(std::string message) {
  return {ErrorCode::kInternal, std::move(message)};
}

// Either a value or an Error. Reading the wrong one is a mistake of ours and ends the process.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const& { return error_; }
  Error&& error() && { return std::move(error_); }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace drover
