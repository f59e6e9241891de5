#include "top/top.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/check.h"
#include "client/address.h"
#include "net/http_loop.h"
#include "terminal/output.h"
#include "top/top_machine.h"
#include "top/top_screen.h"

namespace drover::cli {
namespace {

constexpr auto kCallTimeout = std::chrono::seconds(5);
constexpr auto kMessageTime = std::chrono::seconds(4);
constexpr std::size_t kTopAnswerMax = 32u << 20;  // bytes of an answer that are looked at
constexpr double kIntervalMin = 0.1;              // seconds
constexpr double kIntervalMax = 3600;             // seconds

// The alternative screen, no cursor, no wrapping; and back.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
constexpr std::string_view kLeave = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// ---- the terminal

// For the handler of signals that end the program at once, which can reach nothing else.
termios saved_terminal;

void restore_and_die(int signal_number) {
  (void)!write(STDOUT_FILENO, kLeave.data(), kLeave.size());
  tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
  // The handler was reset when it was called.
  raise(signal_number);
}

// While one exists, the terminal is ours: keys come one by one, and the screen is another one. It is given back however
// the program ends, unless it is killed. At most one.
class Screen {
 public:
  Screen() {
    DROVER_CHECK(tcgetattr(STDIN_FILENO, &saved_terminal) == 0);
    struct sigaction action {};
    action.sa_handler = &restore_and_die;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    for (const int fatal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(fatal, &action, nullptr);
    enter();
  }
  ~Screen() { leave(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void enter() {
    termios raw = saved_terminal;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= ~static_cast<tcflag_t>(IXON | ICRNL);
    raw.c_cc[VMIN] = 0;  // A read never waits: the loop says when there is something.
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    write_all(kEnter);
  }

  void leave() {
    write_all(kLeave);
    tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
  }
};

// Signals as a file that can be read. They stay blocked in the thread that made it.
class SignalFile {
 public:
  SignalFile() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH}) sigaddset(&signals, number);
    DROVER_CHECK(sigprocmask(SIG_BLOCK, &signals, nullptr) == 0);
    file_ = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    DROVER_CHECK(file_ >= 0);
  }
  ~SignalFile() { close(file_); }
  SignalFile(const SignalFile&) = delete;
  SignalFile& operator=(const SignalFile&) = delete;

  int file() const { return file_; }
  // The next signal that came; 0: none.
  int next() const {
    signalfd_siginfo info{};
    return read(file_, &info, sizeof(info)) == sizeof(info) ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  int file_ = -1;
};

// ---- keys

enum class Key {
  kOther,
  kUp,
  kDown,
  kPageUp,
  kPageDown,
  kHome,
  kEnd,
  kCancel,
  kStop,
  kYes,
  kHelp,
  kRefresh,
  kQuit,
  kSuspend
};

Key key_of_character(char character) {
  switch (character) {
    case 'k':
      return Key::kUp;
    case 'j':
      return Key::kDown;
    case 'c':
      return Key::kCancel;
    case 's':
      return Key::kStop;
    case 'y':
    case 'Y':
      return Key::kYes;
    case '?':
    case 'h':
      return Key::kHelp;
    case ' ':
      return Key::kRefresh;
    case 'q':
    case '\x03':  // Ctrl-C
      return Key::kQuit;
    case '\x1a':  // Ctrl-Z
      return Key::kSuspend;
    default:
      return Key::kOther;
  }
}

// Takes one key from the front of what was typed. Keys that are not letters come as ESC [ or ESC O and more.
Key take_key(std::string_view& typed) {
  static constexpr std::array<std::pair<std::string_view, Key>, 12> kSequences = {{{"\x1b[A", Key::kUp},
                                                                                   {"\x1b[B", Key::kDown},
                                                                                   {"\x1bOA", Key::kUp},
                                                                                   {"\x1bOB", Key::kDown},
                                                                                   {"\x1b[5~", Key::kPageUp},
                                                                                   {"\x1b[6~", Key::kPageDown},
                                                                                   {"\x1b[H", Key::kHome},
                                                                                   {"\x1b[F", Key::kEnd},
                                                                                   {"\x1bOH", Key::kHome},
                                                                                   {"\x1bOF", Key::kEnd},
                                                                                   {"\x1b[1~", Key::kHome},
                                                                                   {"\x1b[4~", Key::kEnd}}};
  for (const auto& [sequence, key] : kSequences) {
    if (!typed.starts_with(sequence)) continue;
    typed.remove_prefix(sequence.size());
    return key;
  }
  if (typed.starts_with('\x1b')) {
    // Some other key. What follows belongs to it, up to a letter or '~'.
    std::size_t end = std::min<std::size_t>(typed.size(), 2);
    if (typed.starts_with("\x1b[")) {
      while (end < typed.size() && (typed[end] < '@' || typed[end] > '~')) ++end;
      end = std::min(end + 1, typed.size());
    }
    typed.remove_prefix(end);
    return Key::kOther;
  }
  const Key key = key_of_character(typed.front());
  typed.remove_prefix(1);
  return key;
}

// ---- the server

// One kind of question that is asked again and again, at most once at a time.
class Question : public net::HttpLoop::Receiver {
 public:
  using OnAnswer = std::function<void(const net::HttpEnd&, const std::string&)>;
  Question(net::HttpLoop& loop, OnAnswer on_answer) : loop_(loop), on_answer_(std::move(on_answer)) {}

  bool asking() const { return asking_; }
  void ask(std::string method, std::string url, std::string body = {}) {
    if (asking_) return;
    asking_ = true;
    body_.clear();
    net::HttpCall call;
    call.method = std::move(method);
    call.url = std::move(url);
    call.body = std::move(body);
    call.timeout = kCallTimeout;
    loop_.start(std::move(call), *this);
  }

  void on_bytes(int, std::string_view bytes, TimePoint) override {
    if (body_.size() + bytes.size() <= kTopAnswerMax) body_ += bytes;
  }
  void on_end(const net::HttpEnd& end, TimePoint) override {
    asking_ = false;
    on_answer_(end, body_);
  }

 private:
  net::HttpLoop& loop_;
  OnAnswer on_answer_;
  std::string body_;
  bool asking_ = false;
};

std::string url_encoded(std::string_view text) {
  std::string result;
  for (const char character : text) {
    const bool plain = (character >= '0' && character <= '9') || (character >= 'a' && character <= 'z') ||
                       (character >= 'A' && character <= 'Z') || character == '-' || character == '_' ||
                       character == '.';
    result += plain ? std::string(1, character) : fmt::format("%{:02X}", static_cast<unsigned char>(character));
  }
  return result;
}

class Top {
 public:
  Top(std::string url, std::chrono::nanoseconds interval) : interval_(interval) {
    state_.url = std::move(url);
    if (net::is_loopback_url(state_.url)) machine_.emplace();
  }

  int run() {
    loop_.watch(signals_.file(), [this] { on_signals(); });
    loop_.watch(STDIN_FILENO, [this] { on_typed(); });
    while (!quit_) {
      const TimePoint now = Clock::now();
      if (now >= next_poll_) poll(now);
      if (message_until_ <= now) cursor_.message.clear();
      if (changed_) draw();
      loop_.turn(next_poll_);
    }
    loop_.cancel_all();
    return 0;
  }

 private:
  void poll(TimePoint now) {
    next_poll_ = now + interval_;
    models_.ask("GET", state_.url + "/api/ps");
    version_.ask("GET", state_.url + "/api/version");
    queue_.ask("GET", state_.url + "/api/queue");
    metrics_.ask("GET", state_.url + "/metrics");
    if (machine_) state_.machine = machine_->read();
    changed_ = true;
  }

  void on_models(const net::HttpEnd& end, const std::string& body) {
    changed_ = true;
    if (end.failure != net::Failure::kNone) {
      state_.problem = end.failure == net::Failure::kTimeout ? "The server does not answer."
                                                             : fmt::format("No answer: {}.", end.text);
      return;
    }
    const Json answer = Json::parse(body, nullptr, false);
    if (end.status != 200 || !answer.is_object()) {
      state_.problem = fmt::format("This is no Ollama-compatible server: /api/ps has status {}.", end.status);
      return;
    }
    state_.problem.clear();
    state_.models = read_models(answer);
    show_rates(state_.models, rates_);
    keep_selection(state_, cursor_);
  }

  void on_queue(const net::HttpEnd& end, const std::string& body) {
    changed_ = true;
    if (end.failure != net::Failure::kNone) return;  // on_models() tells.
    const Json answer = Json::parse(body, nullptr, false);
    state_.has_queue = end.status == 200 && find_field(answer, "requests") != nullptr;
    state_.requests.clear();
    if (state_.has_queue) state_.requests = read_requests(answer, state_.requests_left_out);
    state_.advice = text_field(object_field(answer, "advice"), "text");
    keep_selection(state_, cursor_);
  }

  void on_metrics(const net::HttpEnd& end, const std::string& body) {
    if (end.failure != net::Failure::kNone) return;
    auto counters = read_counter(body, "drover_generated_tokens_total");
    // Before the first token there may be no counter yet, and yet these are metrics.
    state_.has_rates = end.status == 200 && body.find("drover_") != std::string::npos;
    rates_ = meter_.update(std::move(counters), Clock::now());
  }

  void on_done(const net::HttpEnd& end, const std::string& body) {
    const Json answer = Json::parse(body, nullptr, false);
    std::string text = text_field(answer, "error");
    if (end.failure == net::Failure::kTimeout) {
      text = "It takes longer than usual.";
    } else if (end.failure != net::Failure::kNone) {
      text = end.text;
    } else if (end.status >= 400 && text.empty()) {
      text = fmt::format("The server refused (status {}).", end.status);
    }
    say(text.empty() ? doing_ + ": done." : doing_ + ": " + text);
    next_poll_ = Clock::now();
  }

  void say(std::string message) {
    cursor_.message = std::move(message);
    message_until_ = Clock::now() + kMessageTime;
    changed_ = true;
  }

  void draw() {
    const TerminalSize size = terminal_size(STDOUT_FILENO).value_or(TerminalSize());
    write_all(screen_codes(draw_top(state_, cursor_, size, wall_time()), size));
    changed_ = false;
  }

  void on_signals() {
    while (const int number = signals_.next()) {
      if (number == SIGWINCH || number == SIGCONT) {
        changed_ = true;
      } else if (number == SIGTSTP) {
        suspend();
      } else {
        quit_ = true;
      }
    }
  }

  void suspend() {
    screen_.leave();
    raise(SIGSTOP);  // Returns when the program is continued.
    screen_.enter();
    changed_ = true;
  }

  void on_typed() {
    std::array<char, 256> bytes;
    const ssize_t count = read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count <= 0) {
      quit_ = quit_ || !is_terminal(STDIN_FILENO) || count < 0;  // The terminal is gone.
      return;
    }
    std::string_view typed(bytes.data(), static_cast<std::size_t>(count));
    while (!typed.empty() && !quit_) on_key(take_key(typed));
    changed_ = true;
  }

  void on_key(Key key) {
    if (key == Key::kQuit) {
      quit_ = true;
    } else if (key == Key::kSuspend) {
      suspend();
    } else if (cursor_.help) {
      cursor_.help = false;
    } else if (!cursor_.question.empty()) {
      cursor_.question.clear();
      if (key == Key::kYes) do_it();
    } else {
      on_command(key);
    }
  }

  void on_command(Key key) {
    const int page = terminal_size(STDOUT_FILENO).value_or(TerminalSize()).rows / 2;
    const int all = static_cast<int>(rows_of(state_).size());
    switch (key) {
      case Key::kUp:
        return move_selection(state_, cursor_, -1);
      case Key::kDown:
        return move_selection(state_, cursor_, 1);
      case Key::kPageUp:
        return move_selection(state_, cursor_, -page);
      case Key::kPageDown:
        return move_selection(state_, cursor_, page);
      case Key::kHome:
        return move_selection(state_, cursor_, -all);
      case Key::kEnd:
        return move_selection(state_, cursor_, all);
      case Key::kCancel:
        return ask_to_cancel();
      case Key::kStop:
        return ask_to_stop();
      case Key::kHelp:
        cursor_.help = true;
        return;
      case Key::kRefresh:
        next_poll_ = Clock::now();
        return;
      default:
        return;
    }
  }

  void ask_to_cancel() {
    if (cursor_.selected.kind != TopRow::Kind::kRequest) return say("Select a request to cancel it.");
    target_ = cursor_.selected;
    cursor_.question = fmt::format("Cancel request {}?", target_.id);
  }

  void ask_to_stop() {
    target_ = cursor_.selected;
    if (target_.kind == TopRow::Kind::kRequest) {
      for (const TopRequest& request : state_.requests) {
        if (request.id == cursor_.selected.id) target_ = {TopRow::Kind::kModel, request.model};
      }
    }
    if (target_.kind != TopRow::Kind::kModel) return say("Select a model to stop it.");
    cursor_.question = fmt::format("Stop model {}?", target_.id);
  }

  // What was asked about, and has been agreed to.
  void do_it() {
    if (action_.asking()) return say(doing_ + ": still under way.");
    if (target_.kind == TopRow::Kind::kRequest) {
      doing_ = "Cancel " + target_.id;
      action_.ask("DELETE", state_.url + "/api/requests/" + url_encoded(target_.id));
    } else {
      doing_ = "Stop " + target_.id;
      action_.ask("POST", state_.url + "/api/generate", to_text({{"model", target_.id}, {"keep_alive", 0}}));
    }
    say(doing_ + "…");
  }

  SignalFile signals_;  // before the screen, which must be given back if one comes
  Screen screen_;
  net::HttpLoop loop_;
  const std::chrono::nanoseconds interval_;
  TopState state_;
  TopCursor cursor_;
  TopRow target_;  // of the question
  std::string doing_;
  std::optional<MachineMeter> machine_;
  RateMeter meter_;
  std::map<std::string, double> rates_;
  TimePoint next_poll_ = Clock::now();
  TimePoint message_until_;
  bool changed_ = true;
  bool quit_ = false;
  Question models_{loop_, [this](const auto& end, const auto& body) { on_models(end, body); }};
  Question queue_{loop_, [this](const auto& end, const auto& body) { on_queue(end, body); }};
  Question metrics_{loop_, [this](const auto& end, const auto& body) { on_metrics(end, body); }};
  Question version_{loop_, [this](const auto&, const auto& body) {
                      state_.version = server_version(Json::parse(body, nullptr, false));
                    }};
  Question action_{loop_, [this](const auto& end, const auto& body) { on_done(end, body); }};
};

int run_top(const std::string& url, double interval) {
  use_utf8_locale();
  if (!is_terminal(STDIN_FILENO) || !is_terminal(STDOUT_FILENO)) {
    print_error(invalid("top needs a terminal; in scripts use \"drover ps\", or /api/ps and /api/queue"));
    return 1;
  }
  signal(SIGPIPE, SIG_IGN);
  return Top(url, from_seconds(interval)).run();
}

}  // namespace

void add_top(CLI::App& app, int& exit_code) {
  struct Arguments {
    std::string url;
    double interval = 1;
  };
  auto* command = app.add_subcommand("top", "Show the models and requests of a server, live");
  auto given = std::make_shared<Arguments>();
  command->add_option("--url", given->url, "Address of the server (default: OLLAMA_HOST)")->type_name("URL");
  command->add_option("--interval", given->interval, "Seconds between updates (default 1)")
      ->check(CLI::Range(kIntervalMin, kIntervalMax))
      ->type_name("SECONDS");
  command->footer("Keys: arrows select, c cancels a request, s stops a model, ? shows help, q quits.");
  command->callback([given, &exit_code] {
    const auto url = server_url(given->url);
    if (url.ok()) {
      exit_code = run_top(*url, given->interval);
    } else {
      print_error(url.error());
      exit_code = 1;
    }
  });
}

}  // namespace drover::cli
