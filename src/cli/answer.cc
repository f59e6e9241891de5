#include "cli/answer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "terminal/format.h"
#include "terminal/output.h"
#include "terminal/progress.h"
#include "terminal/word_wrap.h"

namespace drover::cli {
namespace {

constexpr std::string_view kGrey = "\x1b[38;5;245m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kPlain = "\x1b[0m";

// Writes the pieces of one answer to standard output.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(const Session& session) : session_(session), terminal_(is_terminal(STDOUT_FILENO)) {}

  void thinking(const std::string& piece) {
    if (piece.empty()) return;
    if (!thinking_open_) {
      thinking_open_ = true;
      print(terminal_ ? fmt::format("{}{}Thinking...\n{}{}", kGrey, kBold, kPlain, kGrey) : "Thinking...\n");
    }
    thinking_ended_line_ = piece.back() == '\n';
    show(piece);
  }

  void content(const std::string& piece) {
    if (piece.empty()) return;
    close_thinking();
    show(piece);
  }

  void finish() {
    if (terminal_) print(wrap_.finish());
    if (thinking_open_ && terminal_) print(kPlain);
  }

 private:
  void close_thinking() {
    if (!thinking_open_) return;
    thinking_open_ = false;
    if (terminal_) print(wrap_.finish());
    if (!thinking_ended_line_) print("\n");
    print(terminal_ ? fmt::format("{}{}...done thinking.\n\n{}", kGrey, kBold, kPlain) : "...done thinking.\n\n");
  }

  void show(const std::string& piece) {
    if (!terminal_) return print(piece);
    const int columns = session_.word_wrap ? terminal_size(STDOUT_FILENO).value_or(TerminalSize{0, 0}).columns : 0;
    print(wrap_.feed(piece, columns));
  }

  const Session& session_;
  bool terminal_;
  bool thinking_open_ = false;
  bool thinking_ended_line_ = false;
  WordWrap wrap_;
};

}  // namespace

Result<Answer> stream_answer(ApiClient& client, const std::string& path, const Json& body, const Session& session,
                             InterruptGuard& guard) {
  guard.clear();
  Answer answer;
  Progress progress(STDERR_FILENO);
  progress.status("");
  AnswerPrinter printer(session);
  const auto on_object = [&](const Json& object) {
    answer.last = object;
    const Json& message = object_field(object, "message");  // /api/chat; /api/generate has its text at the top
    const std::string content = message.empty() ? text_field(object, "response") : text_field(message, "content");
    const std::string thinking = text_field(message.empty() ? object : message, "thinking");
    answer.content += content;
    answer.thinking += thinking;
    const bool show_thinking = !thinking.empty() && !session.hide_thinking;
    if (show_thinking || !content.empty()) progress.clear();
    if (show_thinking) printer.thinking(thinking);
    printer.content(content);
  };
  const auto on_tick = [&] {
    progress.tick();
    return !guard.interrupted();
  };
  const auto ended = client.stream(path, body, on_object, on_tick);
  progress.clear();
  printer.finish();
  answer.interrupted = !ended.ok() && ended.error().code == ErrorCode::kCanceled;
  if (!ended.ok() && !answer.interrupted) {
    if (!answer.content.empty() || !answer.thinking.empty()) print("\n");
    return ended.error();
  }
  return answer;
}

Result<void> load_model(ApiClient& client, const Json& request, InterruptGuard* guard) {
  if (guard != nullptr) guard->clear();
  Progress progress(STDERR_FILENO);
  progress.status("");
  auto loaded = client.stream(
      "/api/generate", request, [](const Json&) {},
      [&] {
        progress.tick();
        return guard == nullptr || !guard->interrupted();
      });
  progress.clear();
  return loaded;
}

std::string format_timings(const Json& last) {
  std::string text;
  const auto duration = [&](std::string_view label, std::string_view field) {
    const auto nanoseconds = static_cast<std::int64_t>(count_field(last, field));
    if (nanoseconds > 0) {
      text += fmt::format("{:<21} {}\n", label, go_duration_text(std::chrono::nanoseconds(nanoseconds)));
    }
    return static_cast<double>(nanoseconds) / 1e9;
  };
  const auto tokens = [&](std::string_view label, std::string_view field) {
    const std::uint64_t count = count_field(last, field);
    if (count > 0) text += fmt::format("{:<21} {} token(s)\n", label, count);
    return static_cast<double>(count);
  };
  const auto rate = [&](std::string_view label, double count, double seconds) {
    if (seconds > 0) text += fmt::format("{:<21} {:.2f} tokens/s\n", label, count / seconds);
  };
  duration("total duration:", "total_duration");
  duration("load duration:", "load_duration");
  const double prompt_tokens = tokens("prompt eval count:", "prompt_eval_count");
  const double prompt_seconds = duration("prompt eval duration:", "prompt_eval_duration");
  rate("prompt eval rate:", prompt_tokens, prompt_seconds);
  const double answer_tokens = tokens("eval count:", "eval_count");
  const double answer_seconds = duration("eval duration:", "eval_duration");
  rate("eval rate:", answer_tokens, answer_seconds);
  return text;
}

}  // namespace drover::cli
