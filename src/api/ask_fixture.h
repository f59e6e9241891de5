// Bodies and what is read of them, as tables: a row is a body, and the Ask in one line or the error.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "api/error_status.h"
#include "api/request.h"

namespace drover::api {

struct BodyRow {
  const char* body;
  // `MODEL what is asked, in the order of the functions below`, or `STATUS: error`.
  const char* expected;
};

inline std::string quoted(const std::string& text) {
  return to_text(Json(text));
}

// user"Hello", with "~" and the thought, call(id,name,arguments), of(id,name) for a result.
inline std::string shown(const pb::Message& message) {
  std::string out = message.role() + quoted(message.content());
  if (!message.thinking().empty()) out += "~" + quoted(message.thinking());
  for (const pb::ToolCall& call : message.tool_calls()) {
    out += fmt::format(" call({},{},{})", call.id(), call.name(), call.arguments_json());
  }
  if (!message.tool_call_id().empty() || !message.tool_name().empty()) {
    out += fmt::format(" of({},{})", message.tool_call_id(), message.tool_name());
  }
  return out;
}

inline std::vector<std::string> shown(const PromptAsk& prompt) {
  std::vector<std::string> parts{"prompt=" + quoted(prompt.prompt)};
  if (!prompt.suffix.empty()) parts.push_back("suffix=" + quoted(prompt.suffix));
  if (!prompt.system.empty()) parts.push_back("system=" + quoted(prompt.system));
  if (!prompt.template_text.empty()) parts.push_back("template=" + quoted(prompt.template_text));
  if (prompt.raw) parts.emplace_back("raw");
  if (!prompt.context.empty()) parts.push_back(fmt::format("context={}", fmt::join(prompt.context, ",")));
  return parts;
}

inline std::vector<std::string> shown(const pb::Chat& chat) {
  std::vector<std::string> parts;
  for (const pb::Message& message : chat.messages()) parts.push_back(shown(message));
  if (!chat.tools_json().empty()) {
    std::vector<std::string> names;
    for (const Json& tool : Json::parse(chat.tools_json())) names.push_back(tool["function"]["name"]);
    parts.push_back(fmt::format("tools={}", fmt::join(names, ",")));
  }
  if (chat.tool_required()) parts.emplace_back("required");
  if (chat.one_call()) parts.emplace_back("one_call");
  return parts;
}

inline std::vector<std::string> shown(const pb::Embed& embed) {
  std::vector<std::string> parts;
  for (const std::string& text : embed.texts()) parts.push_back("text=" + quoted(text));
  for (const pb::TokenList& list : embed.token_lists()) {
    parts.push_back(fmt::format("tokens={}", fmt::join(list.tokens(), ",")));
  }
  if (!embed.truncate()) parts.emplace_back("no_truncate");
  return parts;
}

inline std::string shown(const ThinkAsk& think) {
  if (think.wish == pb::THINKING_UNSET) return "";
  std::string out = think.wish == pb::THINKING_ON ? "think=on" : "think=off";
  if (!think.level.empty()) out += ":" + think.level;
  return think.rule == ThinkRule::kIgnore ? out + "?" : out;
}

inline std::string shown(const Ask& ask) {
  std::vector<std::string> parts{ask.model};
  const auto add = [&](bool is_so, std::string text) {
    if (is_so) parts.push_back(std::move(text));
  };
  add(ask.stream, "stream");
  add(ask.load_only, "load");
  if (ask.keep_alive) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*ask.keep_alive).count();
    parts.push_back(seconds < 0 ? "keep_alive=ever" : fmt::format("keep_alive={}", seconds));
  }
  const auto input = std::visit([](const auto& one) { return shown(one); }, ask.input);
  parts.insert(parts.end(), input.begin(), input.end());
  add(!ask.options.empty(), "options=" + to_text(ask.options));
  const std::string think = shown(ask.think);
  add(!think.empty(), think);
  add(ask.format.kind() == pb::Format::JSON, "format=json");
  add(ask.format.kind() == pb::Format::JSON_SCHEMA, "format=" + ask.format.schema_json());
  const auto* chat = std::get_if<pb::Chat>(&ask.input);
  add(chat != nullptr && ask.has_tools && chat->tools_json().empty(), "hidden_tools");
  const bool is_embed = std::holds_alternative<pb::Embed>(ask.input);
  add(!is_embed && !ask.truncate, "no_truncate");
  add(!ask.shift, "no_shift");
  add(ask.render_only, "render_only");
  add(ask.want_tokens, "want_tokens");
  add(ask.logprobs, fmt::format("logprobs={}", ask.top_logprobs));
  add(!ask.warnings.empty(), "warns: " + ask.warnings.line());
  return fmt::format("{}", fmt::join(parts, " "));
}

// Reads the body of each row.
inline void check_rows(Result<Request> (*read)(Json body), std::span<const BodyRow> rows) {
  for (const BodyRow& row : rows) {
    const auto body = parse_json(row.body);
    ASSERT_TRUE(body) << row.body;
    const auto request = read(*body);
    if (request) {
      EXPECT_EQ(shown(request->ask), row.expected) << row.body;
      EXPECT_NE(request->form, nullptr) << row.body;
    } else {
      EXPECT_EQ(fmt::format("{}: {}", http_status(request.error()), request.error().message), row.expected) << row.body;
    }
  }
}

}  // namespace drover::api
