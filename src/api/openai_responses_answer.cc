#include "api/openai_responses_answer.h"

#include "api/answer_parts.h"
#include "api/openai_answer.h"

namespace drover::api {
namespace {

Json text_part(const std::string& text) {
  Json part = Json::object();
  part["type"] = "output_text";
  part["text"] = text;
  part["annotations"] = Json::array();
  part["logprobs"] = Json::array();
  return part;
}

Json usage_of(const pb::Finished& finished) {
  Json usage = Json::object();
  usage["input_tokens"] = finished.prompt_tokens();
  usage["input_tokens_details"]["cached_tokens"] = finished.cached_tokens();
  usage["output_tokens"] = finished.output_tokens();
  usage["output_tokens_details"]["reasoning_tokens"] = 0;
  usage["total_tokens"] = finished.prompt_tokens() + finished.output_tokens();
  return usage;
}

class ResponseForm final : public AnswerForm {
 public:
  ResponseForm(Json echo, OpenaiTools tools, std::function<void(KeptResponse)> keep)
      : echo_(std::move(echo)),
        tools_(std::move(tools)),
        keep_(std::move(keep)),
        id_(new_id("resp_")),
        created_(unix_seconds()) {}

  bool event_stream() const override { return true; }
  void heartbeat(std::string& out) override { out += ": waiting\n\n"; }

  void opening(std::string& out, std::uint32_t /*prompt_tokens*/) override {
    for (const char* name : {"response.created", "response.in_progress"}) {
      Json data = Json::object();
      data["response"] = response("in_progress", nullptr);
      event(out, name, std::move(data));
    }
  }

  void part(std::string& out, const pb::Chunk& chunk) override {
    if (!chunk.thinking().empty()) add_text(out, Item::kReasoning, chunk.thinking());
    if (!chunk.content().empty()) add_text(out, Item::kMessage, chunk.content());
    for (const pb::ToolCall& call : chunk.tool_calls()) add_call(out, call);
  }

  void ending(std::string& out, const Ending& ending) override {
    cut_ = ending.reason == "length";
    close(out);
    Json data = Json::object();
    data["response"] = finished_response(ending);
    event(out, ending.reason == "length" ? "response.incomplete" : "response.completed", std::move(data));
  }

  void failure(std::string& out, const Error& error, int status) override {
    const Json body = Json::parse(openai_error_text(error, status));
    // Codex heeds this one and takes a stream that ends without it for one that was cut; others heed the next one.
    Json failed = Json::object();
    failed["response"] = response("failed", nullptr);
    Json& reason = failed["response"]["error"] = Json::object();
    const char* code = openai_error_code(error, status);
    reason["code"] = code != nullptr ? code : "server_error";
    reason["message"] = error.message;
    event(out, "response.failed", std::move(failed));
    Json data = Json::object();
    data["error"] = body["error"];
    data["code"] = body["error"]["code"];
    data["message"] = error.message;
    data["param"] = nullptr;
    event(out, "error", std::move(data));
  }

  std::string whole(const pb::Chunk& all, const Ending& ending) override {
    std::string events;  // the items are made as those of a stream are
    part(events, all);
    if (output_.empty() && item_ == Item::kNone) open(events, Item::kMessage);
    cut_ = ending.reason == "length";
    close(events);
    return to_text(finished_response(ending));
  }

  std::optional<std::string> rendered(const pb::Started& started) override {
    Json body = response("completed", nullptr);
    body["_debug_info"]["rendered_template"] = started.rendered_prompt();
    return to_text(body);
  }

 private:
  enum class Item { kNone, kReasoning, kMessage };

  void event(std::string& out, const char* name, Json data) {
    Json whole = Json::object();
    whole["type"] = name;
    whole["sequence_number"] = sequence_++;
    whole.update(data);
    append_event(out, name, to_text(whole));
  }

  // An event about the item that is being written.
  Json about_item() const {
    Json data = Json::object();
    data["item_id"] = item_id_;
    data["output_index"] = output_.size();
    return data;
  }

  void item_event(std::string& out, const char* name, Json item) {
    Json data = Json::object();
    data["output_index"] = output_.size();
    data["item"] = std::move(item);
    event(out, name, std::move(data));
  }

  Json current_item(bool done) const {
    Json item = Json::object();
    item["id"] = item_id_;
    if (item_ == Item::kReasoning) {
      item["type"] = "reasoning";
      Json summary = Json::object();
      summary["type"] = "summary_text";
      summary["text"] = text_;
      item["summary"] = done ? Json::array({summary}) : Json::array();
      // What a client sends back with the next request: the thought itself, since nothing is kept here.
      if (done) item["encrypted_content"] = text_;
    } else {
      item["type"] = "message";
      item["status"] = !done ? "in_progress" : cut_ ? "incomplete" : "completed";
      item["role"] = "assistant";
      item["content"] = done ? Json::array({text_part(text_)}) : Json::array();
    }
    return item;
  }

  void open(std::string& out, Item item) {
    close(out);
    item_ = item;
    item_id_ = new_id(item == Item::kReasoning ? "rs_" : "msg_");
    text_.clear();
    item_event(out, "response.output_item.added", current_item(false));
    Json data = about_item();
    const bool thought = item == Item::kReasoning;
    data[thought ? "summary_index" : "content_index"] = 0;
    data["part"] = text_part("");
    if (thought) data["part"] = Json{{"type", "summary_text"}, {"text", ""}};
    event(out, thought ? "response.reasoning_summary_part.added" : "response.content_part.added", std::move(data));
  }

  void add_text(std::string& out, Item item, const std::string& text) {
    if (item_ != item) open(out, item);
    text_ += text;
    Json data = about_item();
    const bool thought = item == Item::kReasoning;
    data[thought ? "summary_index" : "content_index"] = 0;
    data["delta"] = text;
    if (!thought) data["logprobs"] = Json::array();
    event(out, thought ? "response.reasoning_summary_text.delta" : "response.output_text.delta", std::move(data));
  }

  void close(std::string& out) {
    if (item_ == Item::kNone) return;
    const bool thought = item_ == Item::kReasoning;
    const char* index = thought ? "summary_index" : "content_index";
    Json text = about_item();
    text[index] = 0;
    text["text"] = text_;
    if (!thought) text["logprobs"] = Json::array();
    event(out, thought ? "response.reasoning_summary_text.done" : "response.output_text.done", std::move(text));
    Json part = about_item();
    part[index] = 0;
    part["part"] = text_part(text_);
    if (thought) part["part"] = Json{{"type", "summary_text"}, {"text", text_}};
    event(out, thought ? "response.reasoning_summary_part.done" : "response.content_part.done", std::move(part));
    Json item = current_item(true);
    item_event(out, "response.output_item.done", item);
    output_.push_back(std::move(item));
    item_ = Item::kNone;
  }

  void add_call(std::string& out, const pb::ToolCall& call) {
    close(out);
    const OpenaiTool tool = tools_.tool_of(call.name());
    const char* content = tool.custom ? "input" : "arguments";
    const std::string text = tool.custom ? custom_input(call) : arguments_text(call);
    item_id_ = new_id(tool.custom ? "ctc_" : "fc_");
    Json item = Json::object();
    item["id"] = item_id_;
    item["type"] = tool.custom ? "custom_tool_call" : "function_call";
    item["status"] = "in_progress";
    item["call_id"] = call.id();
    if (!tool.space.empty()) item["namespace"] = tool.space;
    item["name"] = tool.name;
    item[content] = "";
    item_event(out, "response.output_item.added", item);
    Json delta = about_item();
    delta["delta"] = text;
    event(out, tool.custom ? "response.custom_tool_call_input.delta" : "response.function_call_arguments.delta",
          std::move(delta));
    Json done = about_item();
    if (!tool.custom) done["name"] = tool.name;
    done[content] = text;
    event(out, tool.custom ? "response.custom_tool_call_input.done" : "response.function_call_arguments.done",
          std::move(done));
    item["status"] = "completed";
    item[content] = text;
    item_event(out, "response.output_item.done", item);
    output_.push_back(std::move(item));
  }

  // Whole, and kept if it is to be.
  Json finished_response(const Ending& ending) {
    Json body = response(ending.reason == "length" ? "incomplete" : "completed", &ending.finished);
    if (!keep_) return body;
    KeptResponse kept;
    kept.id = id_;
    for (const Json& item : output_) {
      kept.items.emplace_back(item["id"], std::make_shared<const std::string>(to_text(item)));
    }
    body["output"] = Json::array();
    kept.body = std::make_shared<const std::string>(to_text(body));
    body["output"] = output_;
    keep_(std::move(kept));
    return body;
  }

  // `finished`: null while it is not.
  Json response(const char* status, const pb::Finished* finished) const {
    Json body = Json::object();
    body["id"] = id_;
    body["object"] = "response";
    body["created_at"] = created_;
    body["completed_at"] = finished != nullptr ? Json(unix_seconds()) : Json(nullptr);
    body["status"] = status;
    body["incomplete_details"] = nullptr;
    if (status == std::string_view("incomplete")) body["incomplete_details"] = Json{{"reason", "max_output_tokens"}};
    body["error"] = nullptr;
    body["output"] = output_;
    body["usage"] = finished != nullptr ? usage_of(*finished) : Json(nullptr);
    body.update(echo_);
    return body;
  }

  const Json echo_;
  const OpenaiTools tools_;
  const std::function<void(KeptResponse)> keep_;
  const std::string id_;
  const std::int64_t created_;
  int sequence_ = 0;
  Item item_ = Item::kNone;  // what is being written
  std::string item_id_;
  std::string text_;  // of the item, so far
  bool cut_ = false;  // it ends where the token limit ended it
  Json output_ = Json::array();
};

}  // namespace

std::unique_ptr<AnswerForm> make_openai_response_form(Json echo, OpenaiTools tools,
                                                      std::function<void(KeptResponse)> keep) {
  return std::make_unique<ResponseForm>(std::move(echo), std::move(tools), std::move(keep));
}

}  // namespace drover::api
