#include "api/response_memory.h"

#include <gtest/gtest.h>

namespace drover::api {
namespace {

using std::chrono::hours;

ItemText text(std::string of) {
  return std::make_shared<const std::string>(std::move(of));
}

KeptResponse response(const std::string& id, const std::string& previous = "", std::size_t bytes = 10) {
  return {id,
          previous,
          text("[" + id + std::string(bytes, '.') + "]"),
          {{"msg_" + id, text("{" + id + "}")}},
          text("<" + id + ">")};
}

class ResponseMemoryTest : public testing::Test {
 protected:
  std::string conversation(const std::string& client, const std::string& id) {
    const auto texts = memory_.conversation(client, id, now_);
    if (!texts) return texts.error().message;
    std::string all;
    for (const ItemText& one : *texts) all += *one;
    return all;
  }
  bool has(const std::string& client, const std::string& id) { return memory_.conversation(client, id, now_).ok(); }
  void keep(const std::string& client, KeptResponse kept) { memory_.keep(client, std::move(kept), now_); }

  ResponseMemory memory_{{.responses_max = 8, .bytes_max = 100'000, .age_max = hours(1), .client_part = 2}};
  TimePoint now_{hours(100)};
};

TEST_F(ResponseMemoryTest, AConversationAndItsItems) {
  keep("ana", response("a", "", 0));
  keep("ana", response("b", "a", 0));
  EXPECT_EQ(conversation("ana", "b"), "[a]{a}[b]{b}");
  EXPECT_EQ(conversation("ana", "a"), "[a]{a}");
  EXPECT_EQ(**memory_.item("ana", "msg_b", now_), "{b}");
  EXPECT_EQ(conversation("ana", "c"), "Previous response with id 'c' not found.");
  EXPECT_TRUE(memory_.item("ana", "msg_c", now_).error().message.starts_with("Item with id 'msg_c' not found."));
}

TEST_F(ResponseMemoryTest, NobodyElseCanReferToIt) {
  keep("ana", response("a"));
  EXPECT_FALSE(has("ben", "a"));
  EXPECT_FALSE(memory_.item("ben", "msg_a", now_).ok());
  keep("ben", response("a"));  // nor take its place
  EXPECT_TRUE(has("ana", "a"));
}

TEST_F(ResponseMemoryTest, AnAnswerIsShownToItsClientUntilThatForgetsIt) {
  keep("ana", response("a"));
  keep("ana", response("b", "a"));
  EXPECT_EQ(*memory_.response("ana", "a", now_)->body, "<a>");
  EXPECT_FALSE(memory_.response("ben", "a", now_));
  EXPECT_FALSE(memory_.forget("ben", "a", now_));
  EXPECT_TRUE(memory_.forget("ana", "a", now_));
  EXPECT_FALSE(memory_.forget("ana", "a", now_));
  EXPECT_FALSE(memory_.response("ana", "a", now_));
  EXPECT_FALSE(memory_.item("ana", "msg_a", now_).ok());
  EXPECT_FALSE(has("ana", "b"));
  EXPECT_TRUE(memory_.response("ana", "b", now_));
  EXPECT_EQ(memory_.size(), 1u);
  now_ += hours(2);
  EXPECT_FALSE(memory_.response("ana", "b", now_));
}

TEST_F(ResponseMemoryTest, TheOldestGoFirstAndWhatIsUsedIsYoung) {
  for (const char* client : {"ana", "ben"}) {
    for (int i = 0; i < 4; ++i) keep(client, response(client + std::to_string(i)));
  }
  EXPECT_EQ(memory_.size(), 8u);
  EXPECT_TRUE(has("ana", "ana0"));
  keep("eve", response("eve0"));
  EXPECT_EQ(memory_.size(), 8u);
  EXPECT_TRUE(has("ana", "ana0"));
  EXPECT_FALSE(has("ana", "ana1"));
}

TEST_F(ResponseMemoryTest, OneClientForgetsItsOwnFirst) {
  keep("ana", response("a"));
  for (int i = 0; i < 100; ++i) keep("eve", response("e" + std::to_string(i), "", 20'000));
  EXPECT_TRUE(has("ana", "a"));
  EXPECT_TRUE(has("eve", "e99"));
  EXPECT_FALSE(has("eve", "e0"));
  EXPECT_LE(memory_.bytes(), 60'000u);
  keep("eve", response("huge", "", 60'000));
  EXPECT_FALSE(has("eve", "huge"));
}

TEST_F(ResponseMemoryTest, WhatLostItsBeginningIsNoConversation) {
  keep("ana", response("a"));
  keep("ana", response("b", "a"));
  for (int i = 0; i < 3; ++i) keep("ana", response("c" + std::to_string(i)));
  EXPECT_EQ(conversation("ana", "b"), "Previous response with id 'b' not found.");
}

TEST_F(ResponseMemoryTest, AgeCountsFromTheLastUse) {
  keep("ana", response("a"));
  now_ += std::chrono::minutes(50);
  EXPECT_TRUE(has("ana", "a"));
  now_ += std::chrono::minutes(50);
  EXPECT_TRUE(has("ana", "a"));
  now_ += std::chrono::minutes(61);
  EXPECT_FALSE(has("ana", "a"));
  EXPECT_EQ(memory_.size(), 0u);
  EXPECT_EQ(memory_.bytes(), 0u);
}

}  // namespace
}  // namespace drover::api
