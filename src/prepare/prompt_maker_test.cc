// What becomes of a conversation that is longer than the context, with the built-in model's own template and with one
// in Go's language.
#include "prepare/prompt_maker.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/cria_fixture.h"

namespace drover {
namespace {

constexpr int kContext = 512;
constexpr const char* kGoTemplate =
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n";
// Refuses a conversation that does not begin with the user's turn, as some models' templates do.
constexpr const char* kAlternatingTemplate =
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must "
    "alternate') }}{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}";

class PromptMakerTest : public testing::Test {
 protected:
  void SetUp() override { template_ = std::move(*ChatTemplate::create(cria())); }

  Result<MadePrompt> prepare(const pb::Chat& chat, bool truncate) {
    pb::Generate work;
    *work.mutable_chat() = chat;
    work.set_truncate(truncate);
    work.set_render_only(true);
    return PromptMaker(cria(), *template_).make(work, kContext);
  }

  static void add(pb::Chat& chat, std::string role, std::string content) {
    pb::Message& message = *chat.add_messages();
    message.set_role(std::move(role));
    message.set_content(std::move(content));
  }

  std::unique_ptr<ChatTemplate> template_;
};

class PromptMakerTemplatesTest : public PromptMakerTest, public testing::WithParamInterface<const char*> {};

// Ollama's rule, step by step.
TEST_P(PromptMakerTemplatesTest, TheOldestMessagesAreLeftOutAndNoneMoreThanThat) {
  for (const int messages : {1, 2, 30, 31, 77, 150, 230}) {
    pb::Chat chat;
    chat.set_go_template(GetParam());
    for (int i = 0; i < messages; ++i) {
      const bool system = i == 0 || i == 9 || i == messages - 1 - 5;
      const std::string text = fmt::format("{} {}", i, std::string((i * 37) % 160, 'x'));
      add(chat, system ? "system" : i % 2 == 1 ? "user" : "assistant", text);
    }
    const auto cut = prepare(chat, true);
    ASSERT_TRUE(cut) << cut.error().message;
    auto whole = prepare(chat, false);
    while (static_cast<int>(whole->tokens.size()) >= kContext) {
      int oldest = 0;
      while (oldest < chat.messages_size() && chat.messages(oldest).role() == "system") ++oldest;
      if (oldest + 1 >= chat.messages_size()) break;
      chat.mutable_messages()->DeleteSubrange(oldest, 1);
      whole = prepare(chat, false);
    }
    EXPECT_EQ(cut->rendered.text, whole->rendered.text) << messages << " messages";
  }
}

// So long that the whole is not rendered even once.
TEST_P(PromptMakerTemplatesTest, AVeryLongConversationCostsWhatTheContextHolds) {
  pb::Chat chat;
  chat.set_go_template(GetParam());
  add(chat, "system", "Be brief.");
  for (int i = 0; i < 90'000; ++i) add(chat, i % 2 == 0 ? "user" : "assistant", fmt::format("{} one two three", i));
  add(chat, "user", "Count to 3");
  const auto cut = prepare(chat, true);
  ASSERT_TRUE(cut) << cut.error().message;
  EXPECT_LT(cut->tokens.size(), static_cast<unsigned>(kContext));
  const std::string& text = cut->rendered.text;
  EXPECT_NE(text.find("Be brief."), std::string::npos);
  EXPECT_NE(text.find("89999 one two three"), std::string::npos);
  EXPECT_NE(text.find("Count to 3"), std::string::npos);
  // One message more would not have fitted.
  std::size_t first = 0;
  while (text.find(fmt::format("\n{} one", 89'000 + first)) == std::string::npos) ++first;
  chat.mutable_messages()->DeleteSubrange(1, static_cast<int>(89'000 + first - 1));
  EXPECT_GE(prepare(chat, false)->tokens.size(), static_cast<unsigned>(kContext));
  chat.mutable_messages()->DeleteSubrange(1, 1);
  EXPECT_EQ(prepare(chat, false)->rendered.text, text);
}

TEST_F(PromptMakerTest, ATemplateThatShowsLittleKeepsAllMessages) {
  pb::Chat chat;
  chat.set_go_template("{{ range .Messages }}{{ slice .Content 0 1 }}{{ end }}");
  for (int i = 0; i < 21; ++i)
    add(chat, i % 2 == 0 ? "user" : "assistant", std::string(1000, static_cast<char>('a' + i)));
  EXPECT_EQ(prepare(chat, true)->rendered.text, "abcdefghijklmnopqrstu");
}

TEST_P(PromptMakerTemplatesTest, WhatIsTooLongByItselfIsShortened) {
  pb::Chat chat;
  chat.set_go_template(GetParam());
  for (int i = 0; i < 5; ++i) add(chat, i % 2 == 0 ? "user" : "assistant", std::string(4000, 'x'));
  const auto cut = prepare(chat, true);
  ASSERT_TRUE(cut) << cut.error().message;
  EXPECT_EQ(cut->tokens.size(), kContext - 1U);
}

INSTANTIATE_TEST_SUITE_P(Templates, PromptMakerTemplatesTest, testing::Values("", kGoTemplate));

TEST_F(PromptMakerTest, ATemplateThatWantsTheUserFirstGetsTheUserFirst) {
  template_ = std::move(*ChatTemplate::create(cria(), kAlternatingTemplate));
  for (const int messages : {101, 103, 141}) {
    pb::Chat chat;
    for (int i = 0; i < messages; ++i) add(chat, i % 2 == 0 ? "user" : "assistant", fmt::format("message {}", i));
    const auto cut = prepare(chat, true);
    ASSERT_TRUE(cut) << cut.error().message;
    EXPECT_LT(cut->tokens.size(), static_cast<unsigned>(kContext));
    EXPECT_GT(cut->tokens.size(), kContext / 2U);
    EXPECT_TRUE(cut->rendered.text.starts_with("user: message"));
  }
}

}  // namespace
}  // namespace drover
