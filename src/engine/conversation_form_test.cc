#include "engine/conversation_form.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace drover {
namespace {

struct Turn {
  std::string role;
  std::string content;
  std::vector<std::string> calls = {};  // ids; "-": none
  std::string result_of = {};           // an id; "-": none
};

pb::Chat chat_of(const std::vector<Turn>& turns) {
  pb::Chat chat;
  for (const Turn& turn : turns) {
    pb::Message& message = *chat.add_messages();
    message.set_role(turn.role);
    message.set_content(turn.content);
    for (const std::string& id : turn.calls) {
      pb::ToolCall& call = *message.add_tool_calls();
      if (id != "-") call.set_id(id);
      call.set_name("look");
      call.set_arguments_json("{\"at\":\"" + id + "\"}");
    }
    if (!turn.result_of.empty() && turn.result_of != "-") message.set_tool_call_id(turn.result_of);
  }
  return chat;
}

// "role: text" and, for calls and results, the ids.
std::vector<std::string> shown(const pb::Chat& chat) {
  std::vector<std::string> lines;
  for (const pb::Message& message : chat.messages()) {
    std::string line = message.role() + ": " + message.content();
    for (const pb::ToolCall& call : message.tool_calls()) line += " <" + call.id() + ">";
    if (!message.tool_call_id().empty()) line += " of " + message.tool_call_id();
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> reshaped(const TemplateHabits& habits, const std::vector<Turn>& turns) {
  pb::Chat chat = chat_of(turns);
  reshape(habits, chat);
  return shown(chat);
}

using Lines = std::vector<std::string>;

TEST(ConversationForm, WhatATemplateTakesIsLeftAsItIs) {
  const std::vector<Turn> turns = {{"system", "A"}, {"system", "B"},    {"user", "C"}, {"user", "D"},
                                   {"system", "E"}, {"assistant", "F"}, {"user", "G"}};
  EXPECT_EQ(reshaped({}, turns), shown(chat_of(turns)));
}

TEST(ConversationForm, DevelopersAreTheSystem) {
  EXPECT_EQ(reshaped({}, {{"developer", "A"}, {"user", "B"}}), (Lines{"system: A", "user: B"}));
  EXPECT_EQ(reshaped({}, {{"user", "A"}, {"function", "B"}}), (Lines{"user: A", "tool: B of call_0"}));
}

TEST(ConversationForm, SystemMessagesFindAPlace) {
  TemplateHabits one;
  one.second_system = one.later_system = one.last_system = false;
  EXPECT_EQ(reshaped(one, {{"system", "A"}, {"developer", "B"}, {"user", "C"}, {"system", "D"}, {"user", "E"}}),
            (Lines{"system: A\n\nB", "user: C", "user: D", "user: E"}));
  TemplateHabits none = one;
  none.system = none.same_role = false;
  EXPECT_EQ(reshaped(none, {{"system", "A"}, {"system", "B"}, {"user", "C"}, {"assistant", "D"}, {"user", "E"}}),
            (Lines{"user: A\n\nB\n\nC", "assistant: D", "user: E"}));
  EXPECT_EQ(reshaped(none, {{"system", "A"}}), (Lines{"user: A"}));
  TemplateHabits never_alone;
  never_alone.system_alone = false;
  EXPECT_EQ(reshaped(never_alone, {{"system", "A"}, {"system", "B"}}), (Lines{"system: A", "user: B"}));
  EXPECT_EQ(reshaped(never_alone, {{"system", "A"}, {"user", "B"}}), (Lines{"system: A", "user: B"}));
  EXPECT_EQ(reshaped(none, {{"user", "A"}, {"assistant", "B"}, {"system", "C"}, {"user", "D"}}),
            (Lines{"user: A", "assistant: B", "user: C\n\nD"}));
}

TEST(ConversationForm, TurnsAlternateWhereTheyMust) {
  TemplateHabits turns;
  turns.same_role = turns.answer_first = false;
  EXPECT_EQ(reshaped(turns, {{"assistant", "A"}, {"user", "B"}, {"user", "C"}, {"assistant", "D"}, {"assistant", "E"}}),
            (Lines{"user: ", "assistant: A", "user: B\n\nC", "assistant: D\n\nE"}));
  EXPECT_EQ(reshaped(turns, {{"user", "A"}, {"assistant", "B"}, {"assistant", "", {"x"}}, {"tool", "C", {}, "x"}}),
            (Lines{"user: A", "assistant: B <x>", "tool: C of x"}));
}

TEST(ConversationForm, CallsAndResultsAgreeOnTheirIds) {
  EXPECT_EQ(reshaped({}, {{"assistant", "", {"-", "-"}}, {"tool", "A", {}, "-"}, {"tool", "B", {}, "-"}}),
            (Lines{"assistant:  <call_0> <call_1>", "tool: A of call_0", "tool: B of call_1"}));
  TemplateHabits strict;
  strict.any_id = false;
  const Lines lines = reshaped(strict, {{"assistant", "", {"call_6oxv27ln", "abcdefghi"}},
                                        {"tool", "A", {}, "abcdefghi"},
                                        {"tool", "B", {}, "call_6oxv27ln"}});
  const std::string id = lines[0].substr(lines[0].find('<') + 1, 9);
  EXPECT_EQ(lines, (Lines{"assistant:  <" + id + "> <abcdefghi>", "tool: A of abcdefghi", "tool: B of " + id}));
  for (const char c : id) EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c))) << id;
}

TEST(ConversationForm, CallsThatATemplateDoesNotShowAreTold) {
  TemplateHabits none;
  none.calls = none.tool_results = false;
  EXPECT_EQ(reshaped(none, {{"user", "A"}, {"assistant", "B", {"x"}}, {"tool", "C", {}, "x"}}),
            (Lines{"user: A", "assistant: B\n\nlook({\"at\":\"x\"})", "user: look: C"}));
}

TEST(ConversationForm, TextThatHidesACallIsAnAnswerOfItsOwn) {
  const std::vector<Turn> turns = {
      {"user", "A"}, {"assistant", "B", {"x"}}, {"tool", "C", {}, "x"}, {"assistant", "", {"y"}}};
  TemplateHabits hides;
  hides.calls_beside_text = false;
  EXPECT_EQ(reshaped(hides, turns),
            (Lines{"user: A", "assistant: B", "assistant:  <x>", "tool: C of x", "assistant:  <y>"}));
  EXPECT_EQ(reshaped({}, turns), (Lines{"user: A", "assistant: B <x>", "tool: C of x", "assistant:  <y>"}));
}

TEST(ConversationForm, SeveralCallsBecomeOneAnswerEach) {
  TemplateHabits single;
  single.several_calls = false;
  EXPECT_EQ(reshaped(single, {{"user", "A"},
                              {"assistant", "B", {"x", "y", "z"}},
                              {"tool", "Y", {}, "y"},
                              {"tool", "X", {}, "x"},
                              {"tool", "?", {}, "other"},
                              {"user", "C"}}),
            (Lines{"user: A", "assistant: B <x>", "tool: X of x", "assistant:  <y>", "tool: Y of y", "assistant:  <z>",
                   "tool: ? of other", "user: C"}));
}

TEST(ConversationForm, ResultsWithoutACallAreToldWhereTheyMust) {
  const std::vector<Turn> turns = {{"tool", "A", {}, "x"}, {"user", "B"},          {"assistant", "", {"y"}},
                                   {"tool", "C", {}, "y"}, {"tool", "D", {}, "z"}, {"assistant", "E"},
                                   {"tool", "F", {}, "y"}};
  TemplateHabits strict;
  strict.lone_results = strict.same_role = false;
  EXPECT_EQ(reshaped(strict, turns),
            (Lines{"user: A\n\nB", "assistant:  <y>", "tool: C of y", "tool: D of z", "assistant: E", "user: F"}));
}

TEST(ConversationForm, AnAnswerStandsBeforeAQuestionWhereItMust) {
  TemplateHabits strict;
  strict.question_next = strict.same_role = false;
  EXPECT_EQ(reshaped(strict, {{"user", "A"},
                              {"assistant", "", {"x"}},
                              {"tool", "B", {}, "x"},
                              {"user", "C"},
                              {"user", "D"},
                              {"assistant", "", {"y"}},
                              {"user", "E"}}),
            (Lines{"user: A", "assistant:  <x>", "tool: B of x", "assistant: ", "user: C\n\nD", "assistant:  <y>",
                   "assistant: ", "user: E"}));
}

// Questions and answers alternate, calls and results not counted, and a result follows a call: as Mistral's have it.
std::optional<std::string> alternating_template(const pb::Chat& chat) {
  std::string text;
  bool question = true;
  for (int i = 0; i < chat.messages_size(); ++i) {
    const pb::Message& message = chat.messages(i);
    const bool called = i > 0 && (chat.messages(i - 1).tool_calls_size() > 0 || chat.messages(i - 1).role() == "tool");
    if (message.role() == "tool" && !called) return std::nullopt;
    text += message.content();
    for (const pb::ToolCall& call : message.tool_calls()) text += call.arguments_json();
    if (message.role() == "tool" || message.tool_calls_size() > 0) continue;
    if (message.role() != (question ? "user" : "assistant")) return std::nullopt;
    question = !question;
  }
  return text;
}

// A template that refuses what it does not know.
std::optional<std::string> strict_template(const pb::Chat& chat) {
  std::string text;
  std::string expected = "user";
  for (int i = 0; i < chat.messages_size(); ++i) {
    const pb::Message& message = chat.messages(i);
    if (message.role() == "system") {
      if (i > 0) return std::nullopt;
    } else if (message.role() != expected) {
      return std::nullopt;
    } else {
      expected = expected == "user" ? "assistant" : "user";
    }
    text += message.content();
  }
  return text;
}

TEST(ConversationForm, HabitsAreFoundByTrying) {
  const TemplateHabits habits = find_habits(strict_template);
  EXPECT_TRUE(habits.system);
  EXPECT_FALSE(habits.second_system);
  EXPECT_FALSE(habits.later_system);
  EXPECT_FALSE(habits.same_role);
  EXPECT_FALSE(habits.answer_first);
  EXPECT_FALSE(habits.tool_results);
  const TemplateHabits all = find_habits([](const pb::Chat& chat) { return std::optional(chat.DebugString()); });
  EXPECT_TRUE(all.system && all.second_system && all.later_system && all.same_role && all.answer_first && all.any_id &&
              all.calls && all.several_calls && all.calls_beside_text && all.tool_results && all.lone_results &&
              all.question_next);
  const TemplateHabits either = find_habits([](const pb::Chat& chat) {  // if content … elif tool_calls
    std::string text;
    for (const pb::Message& message : chat.messages()) {
      text += message.content();
      if (!message.content().empty()) continue;
      for (const pb::ToolCall& call : message.tool_calls()) text += call.arguments_json();
    }
    return std::optional(text);
  });
  EXPECT_TRUE(either.calls && either.same_role);
  EXPECT_FALSE(either.calls_beside_text);
  const TemplateHabits alternating = find_habits(alternating_template);
  EXPECT_TRUE(alternating.tool_results && alternating.several_calls && alternating.calls_beside_text);
  EXPECT_FALSE(alternating.lone_results || alternating.question_next || alternating.same_role);
}

// Whatever the conversation, a strict template takes what becomes of it, and every text is still there.
TEST(ConversationForm, NothingIsLostOnAStrictTemplate) {
  const TemplateHabits habits = find_habits(strict_template);
  const char* const roles[] = {"system", "developer", "user", "assistant", "tool"};
  for (int number = 0; number < 5 * 5 * 5 * 5; ++number) {
    std::vector<Turn> turns;
    for (int i = 0, rest = number; i < 4; ++i, rest /= 5) {
      const std::string role = roles[rest % 5];
      turns.push_back({role, "Text " + std::to_string(i), {}, role == "tool" ? "x" : ""});
    }
    turns.push_back({"user", "Text 4"});
    pb::Chat chat = chat_of(turns);
    reshape(habits, chat);
    const auto text = strict_template(chat);
    ASSERT_TRUE(text) << chat.DebugString();
    for (const Turn& turn : turns) EXPECT_NE(text->find(turn.content), std::string::npos) << chat.DebugString();
  }
}

}  // namespace
}  // namespace drover
