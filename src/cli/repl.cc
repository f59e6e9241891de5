#include "cli/repl.h"

#include <fmt/format.h>

#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "cli/answer.h"
#include "cli/images.h"
#include "cli/library.h"
#include "cli/repl_help.h"
#include "cli/show.h"
#include "store/model_name.h"
#include "terminal/format.h"
#include "terminal/output.h"
#include "terminal/word_wrap.h"

namespace drover::cli {
namespace {

constexpr std::string_view kQuotes = "\"\"\"";

enum class Next { kGoOn, kLeave };

class Repl {
 public:
  Repl(ApiClient& client, LineEditor& editor, Session session)
      : client_(client), editor_(editor), session_(std::move(session)) {}

  void run() {
    for (;;) {
      LineRead read = editor_.read_line(collecting() ? "... " : ">>> ", placeholder());
      switch (read.kind) {
        case LineRead::Kind::kEnd:
          print("\n");
          return;
        case LineRead::Kind::kInterrupted:
          print(read.text.empty() && !collecting() ? "\n\nUse Ctrl + d or /bye to exit.\n" : "\n");
          give_up_collecting();
          continue;
        case LineRead::Kind::kPastedLine:
          take_line(read.text, Entered::kPasted);
          continue;
        case LineRead::Kind::kLine:
          if (take_line(read.text, Entered::kTyped) == Next::kLeave) return;
      }
    }
  }

 private:
  // What the lines that are being collected are for.
  enum class Collecting { kNothing, kPaste, kMessage, kSystem };
  enum class Entered { kTyped, kPasted };

  bool collecting() const { return collecting_ != Collecting::kNothing; }

  std::string placeholder() const {
    switch (collecting_) {
      case Collecting::kNothing:
        return "Send a message (/? for help)";
      case Collecting::kPaste:
        return "Press Enter to send";
      case Collecting::kMessage:
      case Collecting::kSystem:
        return "Use \"\"\" to end multi-line input";
    }
    return "";
  }

  void give_up_collecting() {
    collecting_ = Collecting::kNothing;
    collected_.clear();
  }

  Next take_line(std::string line, Entered entered) {
    if (collecting_ == Collecting::kMessage || collecting_ == Collecting::kSystem) {
      collect(line);
      return Next::kGoOn;
    }
    if (collecting_ == Collecting::kNothing && line.starts_with(kQuotes)) {
      collecting_ = Collecting::kMessage;
      collect(line.substr(kQuotes.size()));
      return Next::kGoOn;
    }
    if (entered == Entered::kPasted) {
      collecting_ = Collecting::kPaste;
      collected_ += line + "\n";
      return Next::kGoOn;
    }
    if (collecting_ == Collecting::kPaste) {
      line = std::exchange(collected_, {}) + line;
      collecting_ = Collecting::kNothing;
      send(line);
      return Next::kGoOn;
    }
    if (line.starts_with("/")) return run_command(line);
    send(line);
    return Next::kGoOn;
  }

  // Adds a line to a text in triple quotes; the line that ends with them is its last.
  void collect(std::string line) {
    if (!line.ends_with(kQuotes)) {
      collected_ += line + "\n";
      return;
    }
    line.resize(line.size() - kQuotes.size());
    const std::string text = std::exchange(collected_, {}) + line;
    if (std::exchange(collecting_, Collecting::kNothing) == Collecting::kSystem) {
      set_system(text);
    } else {
      send(text);
    }
  }

  Next run_command(const std::string& line) {
    const std::vector<std::string> words = split_words(line);
    const std::string& command = words.front();
    if (command == "/bye" || command == "/exit") return Next::kLeave;
    if (command == "/?" || command == "/help") {
      help(words);
    } else if (command == "/set") {
      set(words, line);
    } else if (command == "/show") {
      show(words);
    } else if (command == "/list" || command == "/ls") {
      report(list_models(client_, words.size() > 1 ? words[1] : ""));
    } else if (command == "/load") {
      load(words);
    } else if (command == "/save") {
      save(words);
    } else if (command == "/clear") {
      session_.clear();
      print("Cleared session context\n");
    } else {
      print(fmt::format("Unknown command '{}'. Type /? for help\n", command));
    }
    return Next::kGoOn;
  }

  static void help(const std::vector<std::string>& words) {
    const std::string topic = words.size() > 1 ? words[1] : "";
    if (topic == "set" || topic == "/set") {
      print(kSetHelp);
    } else if (topic == "show" || topic == "/show") {
      print(kShowHelp);
    } else if (topic == "shortcut" || topic == "shortcuts") {
      print(kShortcutHelp);
    } else {
      print(kHelp);
    }
  }

  void set(const std::vector<std::string>& words, const std::string& line) {
    if (words.size() < 2 || words[1] != "system") {
      print(apply_set(words, session_));
      editor_.remember(session_.history);
      return;
    }
    if (words.size() < 3) return print(kSetHelp);
    // The text is what follows the word "system", with its blanks.
    const std::size_t after_set = line.find("system") + std::string_view("system").size();
    const std::string text = line.substr(line.find_first_not_of(" \t", after_set));
    if (!text.starts_with(kQuotes)) return set_system(text);
    collecting_ = Collecting::kSystem;
    collect(text.substr(kQuotes.size()));
  }

  void set_system(const std::string& text) {
    session_.set_system(text);
    print("Set system message.\n");
  }

  void show(const std::vector<std::string>& words) {
    if (words.size() < 2) return print(kShowHelp);
    Json request = {{"model", session_.model}};
    if (!session_.system.empty()) request["system"] = session_.system;
    if (!session_.options.empty()) request["options"] = session_.options;
    const auto shown = client_.post("/api/show", request);
    if (!shown.ok()) {
      print("error: couldn't get model\n");
      return print_error(shown.error());
    }
    print(format_show_command(words[1], *shown, session_));
  }

  void load(const std::vector<std::string>& words) {
    if (words.size() != 2) return print("Usage:\n  /load <modelname>\n");
    Session next = session_;
    next.model = words[1];
    next.messages = Json::array();
    next.system.clear();  // the model has its own
    print(fmt::format("Loading model '{}'\n", next.model));
    const auto shown = client_.post("/api/show", {{"model", next.model}});
    if (shown.ok()) next.learn(*shown);
    const Result<void> loaded = shown.ok() ? load_model(client_, next.request(), &guard_) : Result<void>(shown.error());
    if (loaded.ok()) {
      session_ = std::move(next);
      print_model_messages(session_);
    } else if (loaded.error().code == ErrorCode::kNotFound) {
      print(fmt::format("Couldn't find model '{}'\n", words[1]));
    } else if (loaded.error().code != ErrorCode::kCanceled) {
      print_error(loaded.error());
    }
  }

  void save(const std::vector<std::string>& words) {
    if (words.size() != 2) return print("Usage:\n  /save <modelname>\n");
    if (!ModelName::parse(words[1]).ok()) {
      return print(fmt::format("error: The model name '{}' is invalid\n", words[1]));
    }
    const auto saved = client_.stream("/api/create", session_.create_request(words[1]), [](const Json&) {}, {});
    if (saved.ok()) {
      print(fmt::format("Created new model '{}'\n", words[1]));
    } else {
      print_error(saved.error());
    }
  }

  void send(const std::string& text) {
    if (text.empty()) return;
    if (!session_.vision_supported) std::fputs(unseen_image_note(text, session_.model).c_str(), stderr);
    session_.messages.push_back({{"role", "user"}, {"content", text}});
    Json body = session_.request();
    body["messages"] = session_.messages;
    const auto answer = stream_answer(client_, "/api/chat", body, session_, guard_);
    if (!answer.ok()) {
      session_.messages.erase(session_.messages.size() - 1);  // So that the message may be sent once more.
      return print_error(answer.error());
    }
    const bool silent = answer->content.empty() && (answer->thinking.empty() || session_.hide_thinking);
    print(answer->interrupted && silent ? "(stopped)\n\n" : "\n\n");
    // What came of an answer that was stopped stays in the conversation: the user has read it.
    if (!answer->interrupted || !answer->content.empty()) {
      Json message = {{"role", "assistant"}, {"content", answer->content}};
      if (!answer->thinking.empty()) message["thinking"] = answer->thinking;
      session_.messages.push_back(std::move(message));
    }
    if (session_.verbose) std::fputs(format_timings(answer->last).c_str(), stderr);
  }

  static void report(const Result<void>& result) {
    if (!result.ok()) print_error(result.error());
  }

  ApiClient& client_;
  LineEditor& editor_;
  Session session_;
  InterruptGuard guard_;
  Collecting collecting_ = Collecting::kNothing;
  std::string collected_;
};

}  // namespace

void print_model_messages(const Session& session) {
  const int columns = session.word_wrap ? terminal_size(STDOUT_FILENO).value_or(TerminalSize{0, 0}).columns : 0;
  for (const Json& message : session.model_messages) {
    const std::string role = text_field(message, "role");
    const std::string content = text_field(message, "content");
    if (role == "user") print(fmt::format(">>> {}\n", printable(content)));
    if (role == "assistant") print(WordWrap().feed(content, columns) + "\n\n");
  }
}

void run_repl(ApiClient& client, LineEditor& editor, Session session) {
  Repl(client, editor, std::move(session)).run();
}

}  // namespace drover::cli
