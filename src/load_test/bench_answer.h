// What a load test sends, and how it reads what comes back: Ollama's API and OpenAI's. Pure; knows no clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "client/json.h"

namespace drover::cli {

enum class BenchApi { kOllama, kOpenAi, kCompletions };
enum class AnswerMode { kStream, kWhole };

std::string_view api_name(BenchApi api);       // "ollama", "openai", "completions"
std::string_view generate_path(BenchApi api);  // "/api/generate", "/v1/chat/completions", "/v1/completions"

// The body of one request. With temperature 0 the same prompt gives the same work.
std::string generate_body(BenchApi api, const std::string& model, const std::string& prompt, std::uint64_t tokens_max,
                          AnswerMode mode, double temperature = 0);

// Reads one answer as it arrives.
class AnswerReader {
 public:
  AnswerReader(BenchApi api, AnswerMode mode) : api_(api), mode_(mode) {}

  // Takes the next bytes of the body and says how many pieces of text they completed.
  std::uint64_t take(int status, std::string_view bytes);
  // Takes the end of the body. What is known of the answer is known from here on.
  void finish(int status);

  // Empty if the answer is whole and no error; else the kind: "HTTP 503", "error", "malformed", "cut off".
  const std::string& error() const { return error_; }
  // What the server said about it.
  const std::string& error_text() const { return error_text_; }
  std::optional<std::uint64_t> output_tokens() const { return output_tokens_; }
  std::optional<std::uint64_t> prompt_tokens() const { return prompt_tokens_; }
  // How long the request waited for its turn, as Drover tells it; of Ollama's answers, the time in which the server
  // neither read the prompt nor generated: queue and load. OpenAI's say nothing.
  std::optional<std::chrono::nanoseconds> queue_wait() const { return queue_wait_; }
  bool queue_wait_is_told() const { return queue_wait_is_told_; }

 private:
  std::uint64_t take_line(std::string_view line);
  std::uint64_t take_object(const Json& object);
  std::uint64_t take_ollama(const Json& object);
  std::uint64_t take_openai(const Json& object);
  void fail(const char* kind, std::string text);

  BenchApi api_;
  AnswerMode mode_;
  std::string buffer_;  // a line, or with kWhole a body, that is not complete
  bool done_ = false;
  std::string error_;
  std::string error_text_;
  std::optional<std::uint64_t> output_tokens_;
  std::optional<std::uint64_t> prompt_tokens_;
  std::optional<std::chrono::nanoseconds> queue_wait_;
  bool queue_wait_is_told_ = false;
};

}  // namespace drover::cli
