#include "api/anthropic_answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/answer_parts.h"
#include "api/json.h"

namespace drover::api {
namespace {

constexpr std::string_view kPing = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

// Of the prompt, what was found in the cache counts apart (Anthropic's reference of `usage`: the whole is the sum).
Json usage(std::uint32_t prompt_tokens, std::uint32_t cached_tokens, std::uint32_t output_tokens) {
  Json counts = Json::object();
  counts["input_tokens"] = prompt_tokens - std::min(cached_tokens, prompt_tokens);
  counts["cache_creation_input_tokens"] = 0;
  counts["cache_read_input_tokens"] = cached_tokens;
  counts["output_tokens"] = output_tokens;
  return counts;
}

Json usage(const pb::Finished& finished) {
  return usage(finished.prompt_tokens(), finished.cached_tokens(), finished.output_tokens());
}

Json error_object(const Error& error, int status) {
  const char* type = "api_error";
  if (status == 400 || status == 415) type = "invalid_request_error";
  if (status == 403) type = "permission_error";
  if (status == 404) type = "not_found_error";
  if (status == 413) type = "request_too_large";
  if (status == 503) type = "overloaded_error";
  Json body = Json::object();
  body["type"] = "error";
  body["error"] = Json{{"type", type}, {"message", error.message}};
  return body;
}

// A message is a list of blocks: thinking, text, tool_use. Streaming, each is begun, filled and ended by events.
class MessageForm final : public AnswerForm {
 public:
  explicit MessageForm(std::string_view model) : model_(model), id_(new_id("msg_")) {}

  bool event_stream() const override { return true; }
  void heartbeat(std::string& out) override { out += kPing; }

  // How much of the prompt is in the cache is known when it is computed: message_delta, whose counts replace these,
  // says it.
  void opening(std::string& out, std::uint32_t prompt_tokens) override {
    Json data = Json::object();
    data["message"] = message(Json::array(), nullptr, usage(prompt_tokens, 0, 0));
    event(out, "message_start", std::move(data));
  }

  void part(std::string& out, const pb::Chunk& chunk) override {
    if (!chunk.thinking().empty()) add_text(out, Block::kThinking, chunk.thinking());
    if (!chunk.content().empty()) add_text(out, Block::kText, chunk.content());
    for (const pb::ToolCall& call : chunk.tool_calls()) add_call(out, call);
  }

  void ending(std::string& out, const Ending& ending) override {
    close(out);
    Json data = Json::object();
    data["delta"] = Json{{"stop_reason", stop_reason(ending)}, {"stop_sequence", nullptr}};
    data["usage"] = usage(ending.finished);
    event(out, "message_delta", std::move(data));
    event(out, "message_stop", Json::object());
  }

  void failure(std::string& out, const Error& error, int status) override {
    append_event(out, "error", to_text(error_object(error, status)));
  }

  std::string whole(const pb::Chunk& all, const Ending& ending) override {
    Json content = Json::array();
    if (!all.thinking().empty()) {
      content.push_back(Json{{"type", "thinking"}, {"thinking", all.thinking()}, {"signature", ""}});
    }
    if (!all.content().empty()) content.push_back(Json{{"type", "text"}, {"text", all.content()}});
    for (const pb::ToolCall& call : all.tool_calls()) {
      content.push_back(tool_use(call, Json::parse(arguments_text(call))));
    }
    calls_ = all.tool_calls_size();
    return to_text(message(std::move(content), stop_reason(ending), usage(ending.finished)));
  }

  std::optional<std::string> rendered(const pb::Started& started) override {
    Json body = message(Json::array(), nullptr, usage(started.prompt_tokens(), 0, 0));
    body["_debug_info"]["rendered_template"] = started.rendered_prompt();
    return to_text(body);
  }

 private:
  enum class Block { kNone, kThinking, kText };

  static void event(std::string& out, const char* name, Json data) {
    Json whole = Json::object();
    whole["type"] = name;
    whole.update(data);
    append_event(out, name, to_text(whole));
  }

  Json message(Json content, const char* reason, Json counts) const {
    Json body = Json::object();
    body["id"] = id_;
    body["type"] = "message";
    body["role"] = "assistant";
    body["model"] = model_;
    body["content"] = std::move(content);
    body["stop_reason"] = reason != nullptr ? Json(reason) : Json(nullptr);
    body["stop_sequence"] = nullptr;
    body["usage"] = std::move(counts);
    return body;
  }

  static Json tool_use(const pb::ToolCall& call, Json input) {
    Json block = Json::object();
    block["type"] = "tool_use";
    block["id"] = call.id();
    block["name"] = call.name();
    block["input"] = std::move(input);
    return block;
  }

  const char* stop_reason(const Ending& ending) const {
    // Whatever was called before: the client is to know that there was to be more.
    if (ending.reason == "length") return "max_tokens";
    return calls_ > 0 ? "tool_use" : "end_turn";
  }

  void start_block(std::string& out, Json block) {
    Json data = Json::object();
    data["index"] = index_;
    data["content_block"] = std::move(block);
    event(out, "content_block_start", std::move(data));
  }

  void stop_block(std::string& out) {
    Json data = Json::object();
    data["index"] = index_++;
    event(out, "content_block_stop", std::move(data));
  }

  void close(std::string& out) {
    if (block_ != Block::kNone) stop_block(out);
    block_ = Block::kNone;
  }

  // The hot path of a stream.
  void add_text(std::string& out, Block block, const std::string& text) {
    const bool thought = block == Block::kThinking;
    if (block_ != block) {
      close(out);
      block_ = block;
      start_block(out, thought ? Json{{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}
                               : Json{{"type", "text"}, {"text", ""}});
    }
    fmt::format_to(std::back_inserter(out),
                   "event: content_block_delta\n"
                   R"(data: {{"type":"content_block_delta","index":{},"delta":{{"type":"{}","{}":)",
                   index_, thought ? "thinking_delta" : "text_delta", thought ? "thinking" : "text");
    append_json_string(out, text);
    out += "}}\n\n";
  }

  void add_call(std::string& out, const pb::ToolCall& call) {
    close(out);
    ++calls_;
    start_block(out, tool_use(call, Json::object()));
    Json data = Json::object();
    data["index"] = index_;
    data["delta"] = Json{{"type", "input_json_delta"}, {"partial_json", arguments_text(call)}};
    event(out, "content_block_delta", std::move(data));
    stop_block(out);
  }

  const std::string model_;
  const std::string id_;
  Block block_ = Block::kNone;  // what is being written
  int index_ = 0;               // of the block
  int calls_ = 0;
};

class CountForm final : public AnswerForm {
 public:
  std::string whole(const pb::Chunk&, const Ending&) override { return "{}"; }
  std::optional<std::string> rendered(const pb::Started& started) override {
    return fmt::format("{{\"input_tokens\":{}}}", started.prompt_tokens());
  }
};

}  // namespace

std::unique_ptr<AnswerForm> make_anthropic_message_form(std::string_view model) {
  return std::make_unique<MessageForm>(model);
}

std::unique_ptr<AnswerForm> make_anthropic_count_form() {
  return std::make_unique<CountForm>();
}

std::string anthropic_error_text(const Error& error, int status) {
  Json body = error_object(error, status);
  body["request_id"] = new_id("req_");
  return to_text(body);
}

}  // namespace drover::api
