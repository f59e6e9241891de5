#include "load_test/bench.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <random>

#include "base/go_duration.h"
#include "client/address.h"
#include "load_test/bench_report.h"
#include "net/http_loop.h"
#include "terminal/output.h"

namespace drover::cli {
namespace {

constexpr std::uint64_t kConcurrencyMax = 4096;
constexpr double kRateMax = 100'000;
constexpr std::uint64_t kRequestsMax = 10'000'000;
constexpr std::uint64_t kTokensMax = 1'000'000;
constexpr std::uint64_t kPromptWordsMax = 1'000'000;
constexpr std::size_t kPromptBytesMax = 4u << 20;
constexpr std::size_t kLevelsMax = 32;
constexpr std::uint64_t kRoundsMin = 3;
constexpr std::uint64_t kRoundsMax = 100;
constexpr std::size_t kHeadersMax = 16;
constexpr std::size_t kAnswerMax = 16u << 20;  // bytes of an answer before the measurement
constexpr auto kDetectTimeout = std::chrono::seconds(10);
constexpr int kInterruptedExitCode = 130;

constexpr const char* kFooter = R"(Examples:
  drover bench llama3.2                                     1, 2, 4, 8 and 16 at once, 10 seconds each
  drover bench llama3.2 --rate 2,4,8 --duration 60s         requests at random times, so many a second
  drover bench llama3.2 --concurrency 32 --requests 200 --html report.html
  drover bench llama3.2 --compare http://127.0.0.1:11434 http://127.0.0.1:8080)";

struct BenchArguments {
  std::string model;
  std::string url;
  std::string api;
  std::vector<std::uint64_t> concurrency;
  std::vector<double> rates;
  std::uint64_t requests = 0;
  std::string duration;
  std::string prompt;
  std::string prompt_file;
  std::uint64_t prompt_words = 32;
  std::uint64_t shared_prefix = 0;
  bool same_prompt = false;
  std::uint64_t tokens_max = 64;
  double temperature = 0;
  bool stream = true;
  std::string timeout = "300s";
  std::optional<std::uint64_t> seed;
  std::vector<std::string> headers;
  std::string html;
  bool json = false;
  std::vector<std::string> compare;
  std::string compare_model;
  std::uint64_t rounds = kRoundsMin;
};

Result<Nanoseconds> positive_duration(const std::string& text, const char* option) {
  const auto duration = parse_seconds_or_go_duration(text);
  if (!duration.ok() || duration->count() <= 0) {
    return invalid(fmt::format("{} \"{}\" is not valid: it takes seconds or a duration such as 30s", option, text));
  }
  return *duration;
}

Result<std::string> read_prompt(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return not_found(fmt::format("couldn't open {}", file));
  std::string text(kPromptBytesMax + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (stream.bad()) return internal(fmt::format("couldn't read {}", file));
  if (text.size() > kPromptBytesMax) {
    return Error{ErrorCode::kTooLarge, fmt::format("{} has more than {} bytes", file, kPromptBytesMax)};
  }
  if (text.empty()) return invalid(fmt::format("{} is empty", file));
  return text;
}

Result<BenchWork> read_work(const BenchArguments& arguments) {
  BenchWork work;
  work.prompts.text = arguments.prompt;
  if (!arguments.prompt_file.empty()) {
    auto text = read_prompt(arguments.prompt_file);
    if (!text.ok()) return text.error();
    work.prompts.text = *std::move(text);
  }
  work.prompts.words = arguments.prompt_words;
  work.prompts.shared_words = arguments.shared_prefix;
  work.prompts.variety = arguments.same_prompt ? PromptVariety::kSame : PromptVariety::kDifferent;
  // Without a seed each run has prompts of its own: those of the last run are in the server's cache.
  work.prompts.seed = arguments.seed.value_or(std::random_device()());
  work.tokens_max = arguments.tokens_max;
  work.temperature = arguments.temperature;
  work.mode = arguments.stream ? AnswerMode::kStream : AnswerMode::kWhole;
  work.headers = arguments.headers;
  if (work.headers.size() > kHeadersMax) return invalid(fmt::format("at most {} headers", kHeadersMax));
  for (const std::string& header : work.headers) {
    if (header.find(':') == std::string::npos || header.find_first_of("\r\n") != std::string::npos) {
      return invalid(fmt::format("--header \"{}\" is not valid: it takes \"Name: value\"", header));
    }
  }
  const auto timeout = positive_duration(arguments.timeout, "--timeout");
  if (!timeout.ok()) return timeout.error();
  work.timeout = std::chrono::ceil<std::chrono::milliseconds>(*timeout);
  return work;
}

Result<std::vector<LevelPlan>> read_levels(const BenchArguments& arguments, std::uint64_t seed) {
  LevelPlan plan;
  if (arguments.requests > 0) plan.requests = arguments.requests;
  const auto duration = positive_duration(arguments.duration.empty() ? "10s" : arguments.duration, "--duration");
  if (!duration.ok()) return duration.error();
  plan.duration = *duration;
  plan.seed = seed;
  std::vector<LevelPlan> levels;
  for (const double rate : arguments.rates) {
    if (!(rate > 0) || rate > kRateMax)
      return invalid(fmt::format("--rate must be greater than 0 and at most {} (got {})", kRateMax, rate));
    plan.kind = LoopKind::kOpen;
    plan.per_second = rate;
    levels.push_back(plan);
  }
  if (levels.empty()) {
    std::vector<std::uint64_t> concurrency = arguments.concurrency;
    if (concurrency.empty()) concurrency = {1, 2, 4, 8, 16};
    for (const std::uint64_t at_once : concurrency) {
      if (at_once == 0 || at_once > kConcurrencyMax) {
        return invalid(fmt::format("--concurrency {} is not from 1 to {}", at_once, kConcurrencyMax));
      }
      plan.at_once = at_once;
      levels.push_back(plan);
    }
  }
  if (levels.size() > kLevelsMax) return invalid(fmt::format("at most {} levels", kLevelsMax));
  return levels;
}

// Thousands of connections need more files than a shell allows by default.
void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string date_now() {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)));
}

// One line on standard error that is written over and over, if that is a terminal.
class ProgressLine {
 public:
  ~ProgressLine() { clear(); }

  void show(const std::string& text) {
    if (!terminal_) return;
    const int columns = terminal_size(STDERR_FILENO).value_or(TerminalSize()).columns;
    const std::string line = fmt::format("\r{}\x1b[K", clip(text, columns - 1));
    std::fwrite(line.data(), 1, line.size(), stderr);
    shown_ = true;
  }

  void clear() {
    if (shown_) std::fputs("\r\x1b[K", stderr);
    shown_ = false;
  }

 private:
  bool terminal_ = is_terminal(STDERR_FILENO);
  bool shown_ = false;
};

// What a run needs in all of its steps.
class Bench {
 public:
  explicit Bench(const BenchArguments& arguments) : arguments_(arguments) {}

  Result<int> run() {
    auto work = read_work(arguments_);
    if (!work.ok()) return work.error();
    work_ = *std::move(work);
    auto levels = read_levels(arguments_, work_.prompts.seed);
    if (!levels.ok()) return levels.error();
    if (!arguments_.html.empty()) {
      // Better now than after an hour of measuring.
      html_.open(arguments_.html, std::ios::binary | std::ios::trunc);
      if (!html_) return internal(fmt::format("couldn't write {}", arguments_.html));
    }
    return arguments_.compare.empty() ? run_one(*levels) : run_two(*levels);
  }

 private:
  Result<int> run_one(std::vector<LevelPlan> levels) {
    BenchReport report;
    auto target = prepare(arguments_.url, arguments_.model);
    if (!target.ok()) return target.error();
    report.target = *std::move(target);
    report.work = work_;
    report.date = date_now();
    for (LevelPlan& plan : levels) {
      report.levels.push_back(measure(report.target, plan, level_name(plan)));
      if (guard_.interrupted()) break;
    }
    return finish(report, all_answered(report.levels));
  }

  Result<int> run_two(std::vector<LevelPlan> levels) {
    CompareReport report;
    auto first = prepare(arguments_.compare[0], arguments_.model);
    if (!first.ok()) return first.error();
    auto second =
        prepare(arguments_.compare[1], arguments_.compare_model.empty() ? arguments_.model : arguments_.compare_model);
    if (!second.ok()) return second.error();
    report.first = *std::move(first);
    report.second = *std::move(second);
    report.work = work_;
    report.date = date_now();
    report.rounds = arguments_.rounds;
    std::vector<LevelResult> all;
    for (LevelPlan& plan : levels) {
      ComparedLevel level;
      for (std::uint64_t round = 0; round < report.rounds && !guard_.interrupted(); ++round) {
        compare(report, plan, round, level);
      }
      all.push_back(level.first);
      all.push_back(level.second);
      report.levels.push_back(std::move(level));
      if (guard_.interrupted()) break;
    }
    return finish(report, all_answered(all));
  }

  // One round of one level, on both servers.
  void compare(const CompareReport& report, const LevelPlan& plan, std::uint64_t round, ComparedLevel& level) {
    const std::uint64_t number = next_number_;
    LevelResult results[2];
    for (LevelResult& result : results) result.plan = plan;  // An interruption may leave the second without a run.
    for (const std::size_t turn : {0, 1}) {
      const std::size_t side = (round + turn) % 2;
      LevelPlan own = plan;
      own.seed = plan.seed + round;
      next_number_ = number;  // The same prompts for both.
      results[side] =
          measure(side == 0 ? report.first : report.second, own,
                  fmt::format("round {} of {}, server {}, {}", round + 1, report.rounds, side + 1, level_name(plan)));
      if (guard_.interrupted()) break;
    }
    const auto ratio = [](std::vector<double>& into, double first, double second) {
      if (first > 0 && second > 0) into.push_back(second / first);
    };
    const LevelStats& first = results[0].stats;
    const LevelStats& second = results[1].stats;
    ratio(level.requests_per_second, first.requests_per_second(), second.requests_per_second());
    ratio(level.tokens_per_second, first.tokens_per_second(), second.tokens_per_second());
    ratio(level.first_token_p50, to_seconds(first.first_token().percentile(50)),
          to_seconds(second.first_token().percentile(50)));
    ratio(level.total_p99, to_seconds(first.total().percentile(99)), to_seconds(second.total().percentile(99)));
    add_round(level.first, std::move(results[0]), round);
    add_round(level.second, std::move(results[1]), round);
  }

  static void add_round(LevelResult& into, LevelResult result, std::uint64_t round) {
    if (round == 0) {
      into = std::move(result);
      return;
    }
    into.stats.merge(result.stats);
    into.requests_begun += result.requests_begun;
    into.interrupted = into.interrupted || result.interrupted;
    into.client.cpu_share = std::max(into.client.cpu_share, result.client.cpu_share);
    into.client.lag_p99 = std::max(into.client.lag_p99, result.client.lag_p99);
    into.client.lag_largest = std::max(into.client.lag_largest, result.client.lag_largest);
  }

  LevelResult measure(const BenchTarget& target, LevelPlan plan, const std::string& name) {
    plan.first_number = next_number_;
    const char* unit = plan.kind == LoopKind::kClosed ? " at once" : "";
    LevelResult result = run_level(loop_, target, work_, plan, [&](const LevelProgress& progress) {
      const double seconds = to_seconds(progress.elapsed);
      line_.show(fmt::format("{}{}: {} done, {} running, {} failed, {:.0f} pieces/s, {:.0f} s of {}", name, unit,
                             progress.ended, progress.running, progress.failed,
                             static_cast<double>(progress.pieces) / seconds, seconds,
                             plan.requests ? fmt::format("{} requests", *plan.requests)
                                           : fmt::format("{:.0f} s", to_seconds(plan.duration))));
      return !guard_.interrupted();
    });
    line_.clear();
    next_number_ += result.requests_begun;
    return result;
  }

  Result<net::HttpAnswer> ask(const std::string& url, std::chrono::milliseconds timeout, std::string body = {}) {
    net::HttpCall call;
    if (!body.empty()) call.method = "POST";
    call.url = url;
    call.body = std::move(body);
    call.headers = work_.headers;
    call.timeout = timeout;
    return net::fetch(loop_, std::move(call), kAnswerMax, [this] { return !guard_.interrupted(); });
  }

  // Which API a server speaks. Ollama's servers speak OpenAI's too, so theirs is tried first.
  Result<void> detect(BenchTarget& target) {
    if (arguments_.api == "openai") target.api = BenchApi::kOpenAi;
    if (arguments_.api == "completions") target.api = BenchApi::kCompletions;
    if (!arguments_.api.empty()) return {};
    const auto version = ask(target.url + "/api/version", kDetectTimeout);
    if (!version.ok()) return version.error();
    if (version->status == 200) {
      target.version = server_version(Json::parse(version->body, nullptr, false));
      if (!target.version.empty()) return {};
    }
    const auto models = ask(target.url + "/v1/models", kDetectTimeout);
    if (!models.ok()) return models.error();
    target.api = BenchApi::kOpenAi;
    // A server that wants a key is one as well.
    if (models->status == 200 || models->status == 401) return {};
    return not_found(
        fmt::format("the server at {} speaks neither Ollama's nor OpenAI's API; say which with --api", target.url));
  }

  // Finds out how to talk to a server, and has it load the model.
  Result<BenchTarget> prepare(const std::string& url, const std::string& model) {
    BenchTarget target;
    auto base = server_url(url);
    if (!base.ok()) return base.error();
    target.url = *std::move(base);
    target.model = model;
    line_.show(fmt::format("asking {}", target.url));
    if (auto detected = detect(target); !detected.ok()) return detected.error();
    line_.show(fmt::format("loading {}", model));
    // Its prompt is none of those that are measured.
    const std::string body = generate_body(target.api, model, "Hello", 1, work_.mode);
    const auto answer = ask(target.url + std::string(generate_path(target.api)), work_.timeout, body);
    line_.clear();
    if (!answer.ok()) return answer.error();
    AnswerReader reader(target.api, work_.mode);
    reader.take(answer->status, answer->body);
    reader.finish(answer->status);
    if (!reader.error().empty()) return internal(fmt::format("{}: {}", reader.error(), reader.error_text()));
    return target;
  }

  static bool all_answered(const std::vector<LevelResult>& levels) {
    return std::all_of(levels.begin(), levels.end(), [](const auto& level) { return level.stats.succeeded() > 0; });
  }

  template <typename Report>
  Result<int> finish(const Report& report, bool all_answered) {
    line_.clear();
    print(arguments_.json ? report_json(report).dump(2, ' ', false, Json::error_handler_t::replace) + "\n"
                          : report_text(report));
    if (html_.is_open()) {
      html_ << report_html(report);
      html_.close();
      if (!html_) return internal(fmt::format("couldn't write {}", arguments_.html));
    }
    if (guard_.interrupted()) return kInterruptedExitCode;
    return all_answered ? 0 : 1;
  }

  const BenchArguments& arguments_;
  BenchWork work_;
  std::ofstream html_;
  net::HttpLoop loop_;
  InterruptGuard guard_;
  ProgressLine line_;
  std::uint64_t next_number_ = 0;
};

int run_bench(const BenchArguments& arguments) {
  // A server that closes a connection must not end the program; what is printed to a closed pipe is lost.
  signal(SIGPIPE, SIG_IGN);
  use_utf8_locale();
  allow_many_files();
  const auto outcome = Bench(arguments).run();
  if (outcome.ok()) return *outcome;
  if (outcome.error().code == ErrorCode::kCanceled) return kInterruptedExitCode;
  print_error(outcome.error());
  return 1;
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("bench", "Load-test a server");
  auto given = std::make_shared<BenchArguments>();
  BenchArguments& to = *given;
  command->add_option("MODEL", to.model, "Name of the model")->required()->type_name("");
  auto* url = command->add_option("--url", to.url, "The server (default: that of OLLAMA_HOST)")->type_name("URL");
  command->add_option("--api", to.api, "What it speaks (default: found out)")
      ->check(CLI::IsMember({"ollama", "openai", "completions"}))
      ->type_name("ollama|openai|completions");
  auto* concurrency =
      command->add_option("--concurrency", to.concurrency, "Requests at once, one level each (default 1,2,4,8,16)")
          ->delimiter(',')
          ->type_name("N,…");
  command->add_option("--rate", to.rates, "Instead: random requests per second (Poisson), one level each")
      ->delimiter(',')
      ->excludes(concurrency)
      ->type_name("R,…");
  auto* requests = command->add_option("--requests", to.requests, "Requests a level")
                       ->check(CLI::Range(std::uint64_t{1}, kRequestsMax))
                       ->type_name("N");
  command->add_option("--duration", to.duration, "Time a level (default 10s)")
      ->excludes(requests)
      ->type_name("DURATION");
  auto* prompt =
      command->add_option("--prompt", to.prompt, "What to ask; {n} becomes a number that differs")->type_name("TEXT");
  command->add_option("--prompt-file", to.prompt_file, "The same, from a file")->excludes(prompt)->type_name("FILE");
  command->add_option("--prompt-words", to.prompt_words, "Words of prompts that are made up (default 32)")
      ->check(CLI::Range(std::uint64_t{1}, kPromptWordsMax))
      ->type_name("N");
  command->add_option("--shared-prefix", to.shared_prefix, "Words that all prompts begin with")
      ->check(CLI::Range(std::uint64_t{0}, kPromptWordsMax))
      ->type_name("N");
  command->add_flag("--same-prompt", to.same_prompt, "Send the same prompt each time");
  command->add_option("--max-tokens", to.tokens_max, "Tokens an answer has at most (default 64)")
      ->check(CLI::Range(std::uint64_t{1}, kTokensMax))
      ->type_name("N");
  command->add_option("--temperature", to.temperature, "Temperature of the answers (default 0)")
      ->check(CLI::Range(0.0, 2.0))
      ->type_name("T");
  command->add_flag("--stream,!--no-stream", to.stream, "Stream the answers (default)");
  command->add_option("--timeout", to.timeout, "Time a request takes at most (default 300s)")->type_name("DURATION");
  command->add_option("--seed", to.seed, "Repeats the prompts and times of another run")->type_name("N");
  command->add_option("--header", to.headers, "A header for every request (\"Name: value\")")->type_name("TEXT");
  command->add_option("--html", to.html, "Write a report with charts")->type_name("FILE");
  command->add_flag("--json", to.json, "Print JSON");
  auto* compare = command->add_option("--compare", to.compare, "Test two servers in turn")
                      ->expected(2)
                      ->excludes(url)
                      ->type_name("URL1 URL2");
  command->add_option("--compare-model", to.compare_model, "The model's name at the second server")
      ->needs(compare)
      ->type_name("MODEL");
  command->add_option("--rounds", to.rounds, "Turns each server has at --compare (default 3)")
      ->check(CLI::Range(kRoundsMin, kRoundsMax))
      ->needs(compare)
      ->type_name("N");
  command->footer(kFooter);
  command->callback([given, &exit_code] { exit_code = run_bench(*given); });
}

}  // namespace drover::cli
