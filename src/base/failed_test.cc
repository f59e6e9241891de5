#include "base/failed.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

// As protobuf makes pb::Failed of proto/runner.proto.
class Failed {
 public:
  enum Kind { INTERNAL, INVALID, MEMORY, MISSING, PROMPT_TOO_LONG, OF_A_NEWER_PEER };
  void set_kind(Kind kind) { kind_ = kind; }
  void set_message(const std::string& message) { message_ = message; }
  Kind kind() const { return kind_; }
  const std::string& message() const { return message_; }

 private:
  Kind kind_ = INTERNAL;
  std::string message_;
};

Error crossed(ErrorCode code) {
  Failed failed;
  write_error({code, "why"}, failed);
  return read_error(failed);
}

TEST(Failed, ACodeWithAKindOfItsOwnCrossesAsItself) {
  for (const ErrorCode code : {ErrorCode::kInvalidArgument, ErrorCode::kPromptTooLong, ErrorCode::kNotFound,
                               ErrorCode::kNoSpace, ErrorCode::kInternal}) {
    EXPECT_EQ(crossed(code).code, code);
    EXPECT_EQ(crossed(code).message, "why");
  }
}

TEST(Failed, EveryOtherCodeAndAnUnknownKindAreInternal) {
  for (const ErrorCode code : {ErrorCode::kNotKept, ErrorCode::kTooLarge, ErrorCode::kQueueFull, ErrorCode::kCanceled})
    EXPECT_EQ(crossed(code).code, ErrorCode::kInternal);
  Failed failed;
  failed.set_kind(Failed::OF_A_NEWER_PEER);
  EXPECT_EQ(read_error(failed).code, ErrorCode::kInternal);
}

}  // namespace
}  // namespace drover
