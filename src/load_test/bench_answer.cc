#include "load_test/bench_answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr std::size_t kAnswerBufferMax = 16u << 20;  // bytes of one line, or of one answer that is not streamed
constexpr int kErrorColumnsMax = 200;
constexpr auto kNanosecondsMax = static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count());

// The text of {"error": "…"} and of OpenAI's {"error": {"message": "…"}}.
std::string error_in(const Json& object) {
  const std::string text = text_field(object, "error");
  return text.empty() ? text_field(object_field(object, "error"), "message") : text;
}

}  // namespace

std::string_view api_name(BenchApi api) {
  switch (api) {
    case BenchApi::kOllama:
      return "ollama";
    case BenchApi::kOpenAi:
      return "openai";
    case BenchApi::kCompletions:
      return "completions";
  }
  return "";
}

std::string_view generate_path(BenchApi api) {
  switch (api) {
    case BenchApi::kOllama:
      return "/api/generate";
    case BenchApi::kOpenAi:
      return "/v1/chat/completions";
    case BenchApi::kCompletions:
      return "/v1/completions";
  }
  return "";
}

std::string generate_body(BenchApi api, const std::string& model, const std::string& prompt, std::uint64_t tokens_max,
                          AnswerMode mode, double temperature) {
  const bool stream = mode == AnswerMode::kStream;
  Json body;
  body["model"] = model;
  if (api == BenchApi::kOllama) {
    body["prompt"] = prompt;
    body["stream"] = stream;
    body["options"]["num_predict"] = tokens_max;
    body["options"]["temperature"] = temperature;
    return to_text(body);
  }
  if (api == BenchApi::kCompletions) {
    body["prompt"] = prompt;
  } else {
    Json message;
    message["role"] = "user";
    message["content"] = prompt;
    body["messages"] = Json::array({std::move(message)});
  }
  body["max_tokens"] = tokens_max;
  body["temperature"] = temperature;
  body["stream"] = stream;
  if (stream) body["stream_options"]["include_usage"] = true;
  return to_text(body);
}

void AnswerReader::fail(const char* kind, std::string text) {
  if (!error_.empty()) return;
  error_ = kind;
  error_text_ = clip(printable(text), kErrorColumnsMax);
}

std::uint64_t AnswerReader::take(int status, std::string_view bytes) {
  if (buffer_.size() + bytes.size() > kAnswerBufferMax) {
    fail("malformed", "an endless line");
    return 0;
  }
  buffer_ += bytes;
  if (status >= 400 || mode_ == AnswerMode::kWhole) return 0;
  std::uint64_t pieces = 0;
  std::size_t start = 0;
  std::size_t end = 0;
  while ((end = buffer_.find('\n', start)) != std::string::npos) {
    pieces += take_line(std::string_view(buffer_).substr(start, end - start));
    start = end + 1;
  }
  buffer_.erase(0, start);
  return pieces;
}

void AnswerReader::finish(int status) {
  if (status >= 400) {
    const Json parsed = Json::parse(buffer_, nullptr, false);
    const std::string text = error_in(parsed);
    fail(fmt::format("HTTP {}", status).c_str(), text.empty() ? buffer_.substr(0, buffer_.find('\n')) : text);
    return;
  }
  if (mode_ == AnswerMode::kWhole) {
    const Json parsed = Json::parse(buffer_, nullptr, false);
    if (!parsed.is_object()) fail("malformed", "the answer is no JSON object");
    take_object(parsed);
    // An answer that came as a whole is at its end.
    done_ = true;
  } else if (!buffer_.empty()) {
    take_line(buffer_);
  }
  if (!done_) fail("cut off", "the answer ended before it was done");
}

std::uint64_t AnswerReader::take_line(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
  if (api_ != BenchApi::kOllama) {
    // Server-sent events: of all their fields only "data" is of interest.
    if (!line.starts_with("data:")) return 0;
    line.remove_prefix(5);
    while (line.starts_with(' ')) line.remove_prefix(1);
    if (line == "[DONE]") {
      done_ = true;
      return 0;
    }
  }
  if (line.empty()) return 0;
  const Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) {
    fail("malformed", "a line of the answer is no JSON object");
    return 0;
  }
  return take_object(object);
}

std::uint64_t AnswerReader::take_object(const Json& object) {
  if (std::string text = error_in(object); !text.empty()) {
    fail("error", std::move(text));
    return 0;
  }
  return api_ == BenchApi::kOllama ? take_ollama(object) : take_openai(object);
}

std::uint64_t AnswerReader::take_ollama(const Json& object) {
  const Json* done = find_field(object, "done");
  if (done != nullptr && done->is_boolean() && done->get<bool>()) {
    done_ = true;
    output_tokens_ = optional_count(object, "eval_count");
    prompt_tokens_ = optional_count(object, "prompt_eval_count");
    const auto total = optional_count(object, "total_duration");
    if (const auto queue = optional_count(object, "queue_duration")) {
      queue_wait_ = std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(*queue, kNanosecondsMax)));
      queue_wait_is_told_ = true;
    } else if (total) {
      const std::uint64_t busy = count_field(object, "prompt_eval_duration") + count_field(object, "eval_duration");
      queue_wait_ = std::chrono::nanoseconds(static_cast<std::int64_t>(*total > busy ? *total - busy : 0));
    }
  }
  const auto has_text = [&](const char* field) { return !text_field(object, field).empty(); };
  return has_text("response") || has_text("thinking") ? 1 : 0;
}

std::uint64_t AnswerReader::take_openai(const Json& object) {
  if (const Json& usage = object_field(object, "usage"); !usage.empty()) {
    output_tokens_ = optional_count(usage, "completion_tokens");
    prompt_tokens_ = optional_count(usage, "prompt_tokens");
  }
  const Json& choices = array_field(object, "choices");
  if (choices.empty()) return 0;
  const Json& choice = choices.front();
  if (!text_field(choice, "finish_reason").empty()) done_ = true;
  const Json& delta = object_field(choice, "delta");
  const auto has_text = [&](const char* field) { return !text_field(delta, field).empty(); };
  if (!text_field(choice, "text").empty()) return 1;
  return has_text("content") || has_text("reasoning_content") || has_text("reasoning") ? 1 : 0;
}

}  // namespace drover::cli
