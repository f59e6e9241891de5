#include "api/openai_answer.h"

#include <fmt/format.h>

#include <chrono>

#include "api/answer_parts.h"
#include "api/json.h"
#include "api/openai_functions.h"

namespace drover::api {
namespace {

constexpr std::string_view kHeartbeatComment = ": waiting\n\n";
constexpr std::string_view kStreamEnd = "data: [DONE]\n\n";
constexpr const char* kPreviousField = "previous_response_id";
constexpr std::size_t kIdBytesShown = 128;

// The text in a JSON string; of one that was cut short, what there is.
std::string unquoted(const std::string& text) {
  const std::size_t begin = text.find('"');
  if (begin == std::string::npos) return text;
  Json json;
  if (!JsonReader(kBodyBounds).read(text, json) && json.is_string()) return json.get<std::string>();
  return text.substr(begin + 1);
}

void append_usage(std::string& out, const pb::Finished& finished) {
  fmt::format_to(std::back_inserter(out),
                 R"(,"usage":{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                 R"("prompt_tokens_details":{{"cached_tokens":{}}}}})",
                 finished.prompt_tokens(), finished.output_tokens(),
                 finished.prompt_tokens() + finished.output_tokens(), finished.cached_tokens());
}

// What chat and completions have in common; the parts of a choice differ.
class OpenaiForm : public AnswerForm {
 public:
  OpenaiForm(OpenaiAsk ask, std::string_view id_prefix, std::string_view object, std::string_view chunk_object)
      : ask_(std::move(ask)) {
    const auto opening = [&](std::string_view kind) {
      return fmt::format(R"({{"id":"{}","object":"{}","created":{},"model":{},"system_fingerprint":"fp_ollama")", id_,
                         kind, unix_seconds(), to_text(Json(ask_.model)));
    };
    id_ = new_id(id_prefix);
    whole_opening_ = opening(object);
    chunk_opening_ = "data: " + opening(chunk_object);
  }

  bool event_stream() const override { return true; }
  void heartbeat(std::string& out) override { out += kHeartbeatComment; }

  void part(std::string& out, const pb::Chunk& chunk) override {
    const bool thoughts = !chunk.thinking().empty() && !ask_.hide_reasoning;
    const bool more = thoughts || !chunk.tool_calls().empty() || !chunk.logprobs().empty();
    if (ask_.unquote) {
      quoted_ += chunk.content();  // a choice, or a word of it: it is whole at the end
      if (!more) return;
      pb::Chunk rest = chunk;
      rest.clear_content();
      append_chunk(out, rest);
    } else if (more || !chunk.content().empty()) {
      append_chunk(out, chunk);
    }
  }

  void append_chunk(std::string& out, const pb::Chunk& chunk) {
    out += chunk_opening_;
    out += R"(,"choices":[{"index":0,)";
    append_part(out, chunk);
    out += ",\"finish_reason\":null}]}\n\n";
  }

  void ending(std::string& out, const Ending& ending) override {
    if (ask_.unquote) {
      pb::Chunk chunk;
      chunk.set_content(unquoted(quoted_));
      append_chunk(out, chunk);
    }
    out += chunk_opening_;
    out += R"(,"choices":[{"index":0,)";
    append_part(out, pb::Chunk());
    fmt::format_to(std::back_inserter(out), ",\"finish_reason\":\"{}\"}}]}}\n\n", finish_reason(ending));
    if (ask_.include_usage) {
      out += chunk_opening_;
      out += R"(,"choices":[])";
      append_usage(out, ending.finished);
      out += "}\n\n";
    }
    out += kStreamEnd;
  }

  void failure(std::string& out, const Error& error, int status) override {
    append_event(out, "", openai_error_text(error, status));
    out += kStreamEnd;
  }

  std::string whole(const pb::Chunk& all, const Ending& ending) override {
    std::string out = whole_opening_;
    out += R"(,"choices":[{"index":0,)";
    if (ask_.unquote) {
      pb::Chunk unquoted_all = all;
      unquoted_all.set_content(unquoted(all.content()));
      append_whole(out, unquoted_all);
    } else {
      append_whole(out, all);
    }
    fmt::format_to(std::back_inserter(out), R"(,"finish_reason":"{}"}}])", finish_reason(ending));
    append_usage(out, ending.finished);
    out += '}';
    return out;
  }

  std::optional<std::string> rendered(const pb::Started& started) override {
    Json info = Json::object();
    info["rendered_template"] = started.rendered_prompt();
    return whole_opening_ + R"(,"choices":[],"_debug_info":)" + to_text(info) + "}";
  }

 protected:
  // The fields of a choice beside its index and finish_reason.
  virtual void append_part(std::string& out, const pb::Chunk& chunk) = 0;
  virtual void append_whole(std::string& out, const pb::Chunk& all) = 0;

  virtual std::string_view finish_reason(const Ending& ending) const { return ending.reason; }

  const OpenaiAsk ask_;

 private:
  std::string id_;
  std::string whole_opening_, chunk_opening_;
  std::string quoted_;  // with ask_.unquote: all that came of a stream
};

class ChatForm final : public OpenaiForm {
 public:
  explicit ChatForm(OpenaiAsk ask)
      : OpenaiForm(std::move(ask), "chatcmpl-", "chat.completion", "chat.completion.chunk") {}

 private:
  void append_part(std::string& out, const pb::Chunk& chunk) override {
    out += "\"delta\":";
    append_message(out, chunk, true);
  }

  void append_whole(std::string& out, const pb::Chunk& all) override {
    out += "\"message\":";
    append_message(out, all, false);
  }

  void append_message(std::string& out, const pb::Chunk& chunk, bool indexed) {
    out += R"({"role":"assistant","content":)";
    append_json_string(out, chunk.content());
    if (!chunk.thinking().empty() && !ask_.hide_reasoning) {
      out += ",\"reasoning\":";
      append_json_string(out, chunk.thinking());
    }
    append_calls(out, chunk, indexed);
    out += '}';
    if (!ask_.logprobs) return;
    out += R"(,"logprobs":{"content":)";
    append_logprobs(out, chunk);
    out += R"(,"refusal":null})";
  }

  void append_calls(std::string& out, const pb::Chunk& chunk, bool indexed) {
    if (chunk.tool_calls().empty()) return;
    if (ask_.old_functions) {
      if (calls_++ == 0) append_function_call(out, chunk.tool_calls(0));
      return;
    }
    out += ",\"tool_calls\":[";
    for (int i = 0; i < chunk.tool_calls_size(); ++i) {
      const pb::ToolCall& call = chunk.tool_calls(i);
      out += i > 0 ? ",{" : "{";
      if (indexed) fmt::format_to(std::back_inserter(out), "\"index\":{},", calls_);
      ++calls_;
      out += "\"id\":";
      append_json_string(out, call.id());
      const OpenaiTool tool = ask_.tools.tool_of(call.name());
      out += tool.custom ? R"(,"type":"custom","custom":{"name":)" : R"(,"type":"function","function":{"name":)";
      append_json_string(out, tool.name);
      out += tool.custom ? ",\"input\":" : ",\"arguments\":";
      append_json_string(out, tool.custom ? custom_input(call) : arguments_text(call));
      out += "}}";
    }
    out += ']';
  }

  std::string_view finish_reason(const Ending& ending) const override {
    // What was cut short is not whole, whatever calls came before.
    if (calls_ == 0 || ending.reason == "length") return ending.reason;
    return ask_.old_functions ? "function_call" : "tool_calls";
  }

  int calls_ = 0;  // tool calls so far: their index goes on from one chunk to the next
};

class CompletionForm final : public OpenaiForm {
 public:
  explicit CompletionForm(OpenaiAsk ask) : OpenaiForm(std::move(ask), "cmpl-", "text_completion", "text_completion") {}

 private:
  void append_part(std::string& out, const pb::Chunk& chunk) override {
    out += "\"text\":";
    append_json_string(out, chunk.content());
    if (ask_.logprobs) out += ",\"logprobs\":" + logprobs(chunk);
  }

  void append_whole(std::string& out, const pb::Chunk& all) override { append_part(out, all); }

  // Four lists of equal length; text_offset counts bytes from the start of the answer.
  std::string logprobs(const pb::Chunk& chunk) {
    Json lists = Json::object();
    for (const char* name : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) lists[name] = Json::array();
    for (const pb::TokenLogprob& token : chunk.logprobs()) {
      lists["tokens"].push_back(token.token());
      lists["token_logprobs"].push_back(token.logprob());
      Json top = Json::object();
      for (const pb::TokenLogprob& other : token.top()) top[other.token()] = other.logprob();
      lists["top_logprobs"].push_back(std::move(top));
      lists["text_offset"].push_back(offset_);
      offset_ += token.token().size();
    }
    return to_text(lists);
  }

  std::size_t offset_ = 0;
};

const char* error_type(int status) {
  switch (status) {
    case 400:
    case 413:
    case 415:
      return "invalid_request_error";
    case 404:
      return "not_found_error";
    default:
      return "api_error";
  }
}

}  // namespace

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

const char* openai_error_code(const Error& error, int status) {
  // Programs shorten a conversation when they see this code.
  if (error.code == ErrorCode::kPromptTooLong) return "context_length_exceeded";
  if (error.code == ErrorCode::kNotKept) return error.field == kPreviousField ? "previous_response_not_found" : nullptr;
  return status == 404 ? "model_not_found" : nullptr;
}

Error previous_response_not_found(std::string_view id) {
  return {ErrorCode::kNotKept, fmt::format("Previous response with id '{}' not found.", id.substr(0, kIdBytesShown)), 0,
          kPreviousField};
}

Error response_not_found(std::string_view id) {
  return {ErrorCode::kNotKept, fmt::format("Response with id '{}' not found.", id.substr(0, kIdBytesShown)), 404};
}

Error item_not_found(std::string_view id) {
  return {ErrorCode::kNotKept,
          fmt::format("Item with id '{}' not found. Items are kept for a while, and not if `store` is false: send the "
                      "item itself.",
                      id.substr(0, kIdBytesShown)),
          0, "input"};
}

std::string openai_error_text(const Error& error, int status) {
  const char* code = openai_error_code(error, status);
  Json body = Json::object();
  Json& inner = body["error"] = Json::object();
  inner["message"] = error.message;
  inner["type"] = error_type(status);
  inner["param"] = error.field != nullptr ? Json(error.field) : Json(nullptr);
  inner["code"] = code != nullptr ? Json(code) : Json(nullptr);
  return to_text(body);
}

std::unique_ptr<AnswerForm> make_openai_chat_form(OpenaiAsk ask) {
  return std::make_unique<ChatForm>(std::move(ask));
}

std::unique_ptr<AnswerForm> make_openai_completion_form(OpenaiAsk ask) {
  return std::make_unique<CompletionForm>(std::move(ask));
}

}  // namespace drover::api
