#include "cli/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/answer.h"
#include "cli/images.h"
#include "cli/repl.h"
#include "cli/session.h"
#include "cli/transfer.h"
#include "terminal/format.h"
#include "terminal/line_editor.h"
#include "terminal/output.h"

namespace drover::cli {
namespace {

constexpr int kInterruptedExitCode = 130;

Result<Session> session_of(const RunArguments& arguments) {
  Session session;
  session.model = arguments.model;
  session.verbose = arguments.verbose;
  session.word_wrap = !arguments.no_word_wrap;
  session.hide_thinking = arguments.hide_thinking;
  session.format = parse_format(arguments.format);
  auto keep_alive = parse_keep_alive(arguments.keep_alive);
  if (!keep_alive.ok()) return keep_alive.error();
  session.keep_alive = *std::move(keep_alive);
  if (arguments.think.empty()) return session;
  auto think = parse_think(arguments.think);
  if (!think.ok()) return think.error();
  session.think = *std::move(think);
  session.think_chosen = true;
  return session;
}

// What /api/show says about the model, which is pulled if the server does not have it.
Result<Json> show_or_pull(ApiClient& client, const std::string& model, bool insecure) {
  auto shown = client.post("/api/show", {{"model", model}});
  if (shown.ok() || shown.error().code != ErrorCode::kNotFound) return shown;
  if (auto pulled = pull_model(client, {model, insecure}); !pulled.ok()) return pulled.error();
  return client.post("/api/show", {{"model", model}});
}

Result<std::string> read_standard_input() {
  std::string text;
  char buffer[65536];
  std::size_t count = 0;
  while ((count = std::fread(buffer, 1, sizeof(buffer), stdin)) > 0) {
    if (text.size() + count > kStdinBytesMax) {
      return Error{ErrorCode::kTooLarge, fmt::format("standard input is longer than {} bytes", kStdinBytesMax)};
    }
    text.append(buffer, count);
  }
  if (std::ferror(stdin) != 0) {
    return internal("standard input: " + std::error_code(errno, std::generic_category()).message());
  }
  return text;
}

Result<std::string> prompt_of(const RunArguments& arguments) {
  std::string prompt;
  if (!is_terminal(STDIN_FILENO)) {
    auto input = read_standard_input();
    if (!input.ok()) return input;
    prompt = *std::move(input);
  }
  for (const std::string& word : arguments.prompt) {
    if (!prompt.empty()) prompt += ' ';
    prompt += word;
  }
  return prompt;
}

Result<int> run_once(ApiClient& client, const Session& session, const std::string& prompt) {
  Json body = session.request();
  body["prompt"] = prompt;
  if (!session.vision_supported) std::fputs(unseen_image_note(prompt, session.model).c_str(), stderr);
  InterruptGuard guard;
  const auto answer = stream_answer(client, "/api/generate", body, session, guard);
  if (!answer.ok()) return answer.error();
  if (!prompt.empty()) print("\n\n");
  if (answer->interrupted) return kInterruptedExitCode;
  if (session.verbose) std::fputs(format_timings(answer->last).c_str(), stderr);
  return 0;
}

// A text's vector, as a line of JSON.
Result<int> embed_once(ApiClient& client, const RunArguments& arguments, const Session& session,
                       const std::string& text) {
  if (text.empty()) {
    return invalid(
        fmt::format("{0} makes vectors of texts, and there is no text: drover run {0} \"your text\"", session.model));
  }
  Json body = {{"model", session.model}, {"input", text}};
  if (!session.keep_alive.is_null()) body["keep_alive"] = session.keep_alive;
  if (!session.options.empty()) body["options"] = session.options;
  if (arguments.dimensions > 0) body["dimensions"] = arguments.dimensions;
  if (arguments.truncate == "true" || arguments.truncate == "false") {
    body["truncate"] = arguments.truncate == "true";
  } else if (!arguments.truncate.empty()) {
    return invalid(
        fmt::format("invalid value for --truncate: {} (must be true or false)", in_quotes(arguments.truncate)));
  }
  const auto answer = client.post("/api/embed", body);
  if (!answer.ok()) return answer.error();
  const Json& vectors = array_field(*answer, "embeddings");
  if (vectors.empty()) return internal("the server returned no vector");
  print(vectors.front().dump() + "\n");
  return 0;
}

// As Ollama's, so that both share it. OLLAMA_NOHISTORY: any value but a false one.
std::filesystem::path history_file() {
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return {};
  return std::filesystem::path(home) / ".ollama" / "history";
}

bool history_wanted() {
  const char* off = std::getenv("OLLAMA_NOHISTORY");
  const std::string value = off == nullptr ? "" : off;
  return value.empty() || value == "0" || value == "f" || value == "F" || value == "false" || value == "FALSE" ||
         value == "False";
}

}  // namespace

Result<int> run_model(ApiClient& client, const RunArguments& arguments) {
  auto session = session_of(arguments);
  if (!session.ok()) return session.error();
  const auto shown = show_or_pull(client, arguments.model, arguments.insecure);
  if (!shown.ok()) return shown.error();
  session->learn(*shown);

  const bool interactive = arguments.prompt.empty() && is_terminal(STDIN_FILENO) && is_terminal(STDOUT_FILENO);
  if (!interactive || session->embeds_only) {
    const auto prompt = interactive ? Result<std::string>(std::string()) : prompt_of(arguments);
    if (!prompt.ok()) return prompt.error();
    if (session->embeds_only) return embed_once(client, arguments, *session, *prompt);
    return run_once(client, *session, *prompt);
  }
  if (auto loaded = load_model(client, session->request()); !loaded.ok()) return loaded.error();
  print_model_messages(*session);
  session->history = history_wanted();
  LineEditor editor(history_file());
  editor.remember(session->history);
  run_repl(client, editor, *std::move(session));
  return 0;
}

}  // namespace drover::cli
