#include "api/ollama_answer.h"

#include <fmt/format.h>

#include "api/answer_parts.h"
#include "api/json.h"

namespace drover::api {
namespace {

// Spaces fill the metrics up to this many bytes, so that equal answers have equal lengths whatever their durations:
// load generators such as ab take an answer of another length for a failed one.
constexpr std::size_t kMetricsBytes = 256;

void append_metrics(std::string& out, const Timing& timing, const pb::Finished& finished) {
  const std::size_t start = out.size();
  const auto field = [&](const char* name, std::uint64_t value) {
    if (value > 0) fmt::format_to(std::back_inserter(out), ",\"{}\":{}", name, value);
  };
  field("total_duration", nanoseconds(Clock::now() - timing.arrived));
  field("load_duration", nanoseconds(timing.load));
  field("queue_duration", nanoseconds(timing.queue));
  field("prompt_eval_count", finished.prompt_tokens());
  field("prompt_eval_cached_count", finished.cached_tokens());
  field("prompt_eval_duration", finished.prompt_ns());
  field("eval_count", finished.output_tokens());
  field("eval_duration", finished.output_ns());
  const std::size_t size = out.size() - start;
  if (size < kMetricsBytes) out.append(kMetricsBytes - size, ' ');
}

class OllamaForm final : public AnswerForm {
 public:
  OllamaForm(Endpoint endpoint, std::string_view model) : endpoint_(endpoint), model_(model) {
    opening_ = "{\"model\":" + to_text(Json(model_)) + ",\"created_at\":\"";
  }

  void part(std::string& out, const pb::Chunk& chunk) override {
    begin(out, chunk);
    out += ",\"done\":false}\n";
  }

  void ending(std::string& out, const Ending& ending) override {
    begin(out, pb::Chunk());
    end(out, ending);
    out += '\n';
  }

  void failure(std::string& out, const Error& error, int /*status*/) override {
    out += "{\"error\":" + to_text(Json(error.message)) + "}\n";
  }

  // White space between two JSON texts means nothing. An empty line would: some clients parse every line.
  void heartbeat(std::string& out) override { out += ' '; }

  std::string whole(const pb::Chunk& all, const Ending& ending) override {
    std::string text;
    begin(text, all);
    end(text, ending);
    return text;
  }

  std::optional<std::string> rendered(const pb::Started& started) override {
    Json body = Json::object();
    body["model"] = model_;
    body["created_at"] = timestamp_now();
    if (endpoint_ == Endpoint::kChat) {
      body["message"] = {{"role", ""}, {"content", ""}};
    } else {
      body["response"] = "";
    }
    body["done"] = false;
    body["_debug_info"]["rendered_template"] = started.rendered_prompt();
    return to_text(body);
  }

 private:
  // All but what says whether it is the end.
  void begin(std::string& out, const pb::Chunk& chunk) {
    out += opening_;
    out += timestamp_now();
    out += '"';
    out += endpoint_ == Endpoint::kChat ? R"(,"message":{"role":"assistant","content":)" : ",\"response\":";
    append_json_string(out, chunk.content());
    if (!chunk.thinking().empty()) {
      out += ",\"thinking\":";
      append_json_string(out, chunk.thinking());
    }
    append_tool_calls(out, chunk);
    if (endpoint_ == Endpoint::kChat) out += '}';
    if (chunk.logprobs_size() == 0) return;
    out += ",\"logprobs\":";
    append_logprobs(out, chunk);
  }

  void append_tool_calls(std::string& out, const pb::Chunk& chunk) {
    if (chunk.tool_calls().empty()) return;
    out += ",\"tool_calls\":[";
    for (int i = 0; i < chunk.tool_calls_size(); ++i) {
      const pb::ToolCall& call = chunk.tool_calls(i);
      out += i > 0 ? ",{\"id\":" : "{\"id\":";
      append_json_string(out, call.id());
      fmt::format_to(std::back_inserter(out), R"(,"function":{{"index":{},"name":)", calls_++);
      append_json_string(out, call.name());
      out += ",\"arguments\":" + arguments_text(call) + "}}";
    }
    out += ']';
  }

  static void end(std::string& out, const Ending& ending) {
    fmt::format_to(std::back_inserter(out), R"(,"done":true,"done_reason":"{}")", ending.reason);
    if (ending.finished.context_size() > 0) {
      out += ",\"context\":[";
      for (int i = 0; i < ending.finished.context_size(); ++i) {
        if (i > 0) out += ',';
        out += std::to_string(ending.finished.context(i));
      }
      out += ']';
    }
    const bool generated = ending.reason == "stop" || ending.reason == "length";
    if (generated) append_metrics(out, ending.timing, ending.finished);
    out += '}';
  }

  const Endpoint endpoint_;
  const std::string model_;
  std::string opening_;
  int calls_ = 0;  // tool calls so far: their index goes on from one part to the next
};

}  // namespace

std::unique_ptr<AnswerForm> make_ollama_form(Endpoint endpoint, std::string_view model) {
  return std::make_unique<OllamaForm>(endpoint, model);
}

}  // namespace drover::api
