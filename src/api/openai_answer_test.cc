#include "api/openai_answer.h"

#include <gtest/gtest.h>

#include "api/json.h"
#include "api/openai_responses_answer.h"

namespace drover::api {
namespace {

pb::Chunk call_chunk() {
  pb::Chunk chunk;
  pb::ToolCall& call = *chunk.add_tool_calls();
  call.set_id("call_1");
  call.set_name("f");
  call.set_arguments_json("{\"a\":1}");
  return chunk;
}

pb::Chunk text_chunk(const char* text) {
  pb::Chunk chunk;
  chunk.set_content(text);
  return chunk;
}

class OpenaiAnswerTest : public testing::Test {
 protected:
  Ending ending(std::string_view reason) const { return {reason, finished_, timing_}; }

  // The data of the events of a stream.
  static std::vector<Json> events(const std::string& stream) {
    std::vector<Json> all;
    for (std::size_t at = stream.find("data: {"); at != std::string::npos; at = stream.find("data: {", at + 1)) {
      all.push_back(Json::parse(stream.substr(at + 6, stream.find("\n\n", at) - at - 6)));
    }
    return all;
  }

  pb::Finished finished_;
  Timing timing_;
};

TEST_F(OpenaiAnswerTest, WhatWasCutIsLengthAlsoAfterACall) {
  for (const auto& [reason, expected] : {std::pair("length", "length"), std::pair("stop", "tool_calls")}) {
    const Json whole = Json::parse(make_openai_chat_form({"cria"})->whole(call_chunk(), ending(reason)));
    EXPECT_EQ(whole["model"], "cria");
    EXPECT_EQ(whole["choices"][0]["finish_reason"], expected);
    std::string stream;
    const auto form = make_openai_chat_form({});
    form->part(stream, call_chunk());
    form->ending(stream, ending(reason));
    EXPECT_EQ(events(stream).back()["choices"][0]["finish_reason"], expected);
  }
  for (const auto& [reason, expected] : {std::pair("length", "incomplete"), std::pair("stop", "completed")}) {
    const auto make = [] { return make_openai_response_form(Json::object(), {}, nullptr); };
    EXPECT_EQ(Json::parse(make()->whole(call_chunk(), ending(reason)))["status"], expected);
    std::string stream;
    const auto form = make();
    form->part(stream, call_chunk());
    form->ending(stream, ending(reason));
    const Json last = events(stream).back();
    EXPECT_EQ(last["type"], std::string("response.") + expected);
    EXPECT_EQ(last["response"]["status"], expected);
    EXPECT_EQ(last["response"]["output"][0]["type"], "function_call");
  }
}

TEST_F(OpenaiAnswerTest, ACallOfTheOldForm) {
  OpenaiAsk ask;
  ask.old_functions = true;
  const char* expected = R"({"role":"assistant","content":"","function_call":{"name":"f","arguments":"{\"a\":1}"}})";
  const Json whole = Json::parse(make_openai_chat_form(ask)->whole(call_chunk(), ending("stop")));
  EXPECT_EQ(whole["choices"][0]["message"].dump(), expected);
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "function_call");
  std::string stream;
  const auto form = make_openai_chat_form(ask);
  form->part(stream, call_chunk());
  form->ending(stream, ending("stop"));
  EXPECT_EQ(events(stream)[0]["choices"][0]["delta"].dump(), expected);
  EXPECT_EQ(events(stream).back()["choices"][0]["finish_reason"], "function_call");
}

TEST_F(OpenaiAnswerTest, ATextThatWasCutIsIncomplete) {
  for (const auto& [reason, expected] : {std::pair("length", "incomplete"), std::pair("stop", "completed")}) {
    const auto make = [] { return make_openai_response_form(Json::object(), {}, nullptr); };
    const Json whole = Json::parse(make()->whole(text_chunk("The"), ending(reason)));
    EXPECT_EQ(whole["output"][0]["status"], expected);
    std::string stream;
    const auto form = make();
    form->part(stream, text_chunk("The"));
    form->ending(stream, ending(reason));
    EXPECT_EQ(events(stream).back()["response"]["output"][0]["status"], expected);
  }
}

TEST_F(OpenaiAnswerTest, AChoiceIsTheTextOfTheStringThatWasWritten) {
  OpenaiAsk ask;
  ask.unquote = true;
  std::string stream;
  const auto form = make_openai_chat_form(ask);
  for (const char* piece : {"\"may", "be \\\"so", "\\\"\""}) form->part(stream, text_chunk(piece));
  EXPECT_EQ(stream, "");
  form->ending(stream, ending("stop"));
  EXPECT_EQ(events(stream)[0]["choices"][0]["delta"]["content"], "maybe \"so\"");
  const Json cut = Json::parse(make_openai_chat_form(ask)->whole(text_chunk("\"may"), ending("length")));
  EXPECT_EQ(cut["choices"][0]["message"]["content"], "may");
}

TEST_F(OpenaiAnswerTest, ThoughtsThatAreNotWantedAreNotShown) {
  OpenaiAsk ask;
  ask.hide_reasoning = true;
  pb::Chunk thought;
  thought.set_thinking("hm");
  std::string stream;
  const auto form = make_openai_chat_form(ask);
  form->part(stream, thought);
  EXPECT_EQ(stream, "");
  thought.set_content("yes");
  form->part(stream, thought);
  EXPECT_EQ(events(stream)[0]["choices"][0]["delta"].dump(), R"({"role":"assistant","content":"yes"})");
}

TEST(OpenaiError, ProgramsTellCausesApartByCodeAndField) {
  const auto shown = [](const Error& error) {
    const Json inner = Json::parse(openai_error_text(error, http_status(error)))["error"];
    return inner["type"].get<std::string>() + " " + inner["param"].dump() + " " + inner["code"].dump();
  };
  EXPECT_EQ(shown(invalid("no")), "invalid_request_error null null");
  EXPECT_EQ(shown(not_found("no")), "not_found_error null \"model_not_found\"");
  EXPECT_EQ(shown({ErrorCode::kPromptTooLong, "no"}), "invalid_request_error null \"context_length_exceeded\"");
  EXPECT_EQ(shown(previous_response_not_found("r")),
            "invalid_request_error \"previous_response_id\" \"previous_response_not_found\"");
  EXPECT_EQ(shown(item_not_found("i")), "invalid_request_error \"input\" null");
  EXPECT_EQ(shown(response_not_found("r")), "not_found_error null null");
  EXPECT_EQ(shown({ErrorCode::kQueueFull, "no"}), "api_error null null");
}

TEST_F(OpenaiAnswerTest, AFailedResponseSaysSoInBothWays) {
  std::string stream;
  make_openai_response_form(Json::object(), {}, nullptr)->failure(stream, invalid("no"), 400);
  const auto all = events(stream);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["type"], "response.failed");
  EXPECT_EQ(all[0]["response"]["status"], "failed");
  EXPECT_EQ(all[0]["response"]["error"]["message"], "no");
  EXPECT_EQ(all[1]["type"], "error");
  EXPECT_EQ(all[1]["sequence_number"], 1);
}

}  // namespace
}  // namespace drover::api
