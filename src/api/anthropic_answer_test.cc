#include "api/anthropic_answer.h"

#include <gtest/gtest.h>

#include "api/json.h"

namespace drover::api {
namespace {

constexpr Timing kTiming{};

pb::Chunk a_call() {
  pb::Chunk chunk;
  pb::ToolCall& call = *chunk.add_tool_calls();
  call.set_id("call_1");
  call.set_name("f");
  call.set_arguments_json(R"({"a":1})");
  return chunk;
}

pb::Finished counts(std::uint32_t prompt, std::uint32_t cached) {
  pb::Finished finished;
  finished.set_prompt_tokens(prompt);
  finished.set_cached_tokens(cached);
  finished.set_output_tokens(7);
  return finished;
}

Json whole(const pb::Chunk& all, std::string_view reason, const pb::Finished& finished) {
  return Json::parse(make_anthropic_message_form("m")->whole(all, Ending{reason, finished, kTiming}));
}

std::string streamed(const pb::Chunk& part, std::string_view reason, const pb::Finished& finished) {
  const auto form = make_anthropic_message_form("m");
  std::string out;
  form->opening(out, finished.prompt_tokens());
  form->part(out, part);
  form->ending(out, Ending{reason, finished, kTiming});
  return out;
}

TEST(AnthropicAnswer, ALimitIsTheReasonWhateverWasCalledBefore) {
  const pb::Finished finished = counts(10, 0);
  EXPECT_EQ(whole(a_call(), "length", finished)["stop_reason"], "max_tokens");
  EXPECT_EQ(whole(a_call(), "stop", finished)["stop_reason"], "tool_use");
  EXPECT_EQ(whole({}, "stop", finished)["stop_reason"], "end_turn");
  EXPECT_NE(streamed(a_call(), "length", finished).find(R"("stop_reason":"max_tokens")"), std::string::npos);
  EXPECT_NE(streamed(a_call(), "stop", finished).find(R"("stop_reason":"tool_use")"), std::string::npos);
}

TEST(AnthropicAnswer, CachedTokensCountApart) {
  const char* usage =
      R"({"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":6,"output_tokens":7})";
  EXPECT_EQ(whole({}, "stop", counts(10, 6))["usage"].dump(), usage);
  const std::string stream = streamed({}, "stop", counts(10, 6));
  EXPECT_NE(stream.find(R"("usage":{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,)"),
            std::string::npos);
  EXPECT_NE(stream.find(std::string(R"("usage":)") + usage), std::string::npos);
}

}  // namespace
}  // namespace drover::api
