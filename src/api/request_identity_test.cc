#include "api/request_identity.h"

#include <gtest/gtest.h>

namespace drover::api {
namespace {

TEST(ShownClient, NoKeyIsEverShown) {
  const std::string shown = shown_client("key Bearer sk-secret");
  EXPECT_EQ(shown.size(), 12u);
  EXPECT_TRUE(shown.starts_with("key:"));
  EXPECT_EQ(shown.find("secret"), std::string::npos);
  EXPECT_EQ(shown, shown_client("key Bearer sk-secret"));
  EXPECT_NE(shown, shown_client("key Bearer sk-another"));
}

TEST(ShownClient, NamesAreMadePrintable) {
  EXPECT_EQ(shown_client("id batch job\n\xe2\x82"), "id:batch?job???");
  EXPECT_EQ(shown_client("2001:db8::1"), "2001:db8::1");
}

TEST(ShownClient, AKeyWithAUser) {
  const std::string key = shown_client("key sk-secret");
  EXPECT_EQ(shown_client("key sk-secret\nalice"), key + "/alice");
  EXPECT_EQ(shown_client("key sk-secret\na b\n\xff"), key + "/a?b??");
  EXPECT_EQ(shown_client("id alice\nbob"), "id:alice?bob");
}

TEST(UserOf, ReadsWhatBodiesSay) {
  EXPECT_EQ(user_of({{"user", "alice"}}), "alice");
  EXPECT_EQ(user_of({{"metadata", {{"user_id", "bob"}}}}), "bob");
  EXPECT_EQ(user_of({{"user", "alice"}, {"metadata", {{"user_id", "bob"}}}}), "alice");
  EXPECT_EQ(user_of({{"metadata", {{"user_id", "user_12_account__session_34"}}}}), "user_12_account_");
  EXPECT_EQ(user_of({{"metadata", {{"user_id", R"({"device_id":"1","account_uuid":"","session_id":"a"})"}}}}),
            user_of({{"metadata", {{"user_id", R"({"device_id":"1","account_uuid":"","session_id":"b"})"}}}}));
  EXPECT_NE(user_of({{"metadata", {{"user_id", R"({"device_id":"1"})"}}}}),
            user_of({{"metadata", {{"user_id", R"({"device_id":"2"})"}}}}));
  EXPECT_EQ(user_of({{"metadata", {{"user_id", "{not JSON"}}}}), "{not JSON");
  EXPECT_EQ(user_of({{"user", std::string(1000, 'x')}}).size(), kUserBytesMax);
  for (const Json& none :
       {Json::object(), Json{{"user", 5}}, Json{{"metadata", "x"}}, Json{{"metadata", {{"user_id", nullptr}}}}}) {
    EXPECT_EQ(user_of(none), "") << none.dump();
  }
}

TEST(Traceparent, ItsTraceId) {
  const std::string id = "4bf92f3577b34da6a3ce929d0e0e4736";
  EXPECT_EQ(trace_id_of("00-" + id + "-00f067aa0ba902b7-01"), id);
  EXPECT_EQ(trace_id_of("01-" + id + "-00f067aa0ba902b7-01-more"), id);
}

TEST(Traceparent, WhatIsNone) {
  const std::string id = "4bf92f3577b34da6a3ce929d0e0e4736";
  const std::vector<std::string> none = {
      "",
      "00-",
      "00-" + id + "-00f067aa0ba902b7",
      "00-" + id + "-00f067aa0ba902b7-0",
      "00-" + id + "-00f067aa0ba902b7-01-more",
      "01-" + id + "-00f067aa0ba902b7-01more",
      "ff-" + id + "-00f067aa0ba902b7-01",
      "00_" + id + "-00f067aa0ba902b7-01",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
  };
  for (const std::string& text : none) {
    EXPECT_EQ(trace_id_of(text), "") << text;
  }
}

}  // namespace
}  // namespace drover::api
