#include "load_test/bench_run.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <queue>

namespace drover::cli {
namespace {

// A user whose request failed waits a moment: a server that refuses at once should not be flooded.
constexpr auto kPauseAfterFailure = std::chrono::milliseconds(100);
constexpr auto kProbeInterval = std::chrono::milliseconds(10);
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

constexpr double kCpuShareMax = 0.8;
constexpr auto kLagMax = std::chrono::milliseconds(10);

Nanoseconds cpu_time() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return Nanoseconds(std::chrono::seconds(time.tv_sec)) + std::chrono::microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

const char* kind_of(net::Failure failure) {
  switch (failure) {
    case net::Failure::kNone:
      return "";
    case net::Failure::kConnect:
      return "no connection";
    case net::Failure::kTimeout:
      return "timeout";
    case net::Failure::kClosed:
      return "connection closed";
    case net::Failure::kOther:
      return "transfer";
  }
  return "";
}

class Level {
 public:
  Level(net::HttpLoop& loop, const BenchTarget& target, const BenchWork& work, const LevelPlan& plan)
      : loop_(loop),
        target_(target),
        work_(work),
        plan_(plan),
        window_(plan.requests ? std::nullopt : std::optional(plan.duration)),
        stats_(window_),
        arrivals_(plan.seed) {}

  LevelResult run(const OnProgress& on_progress) {
    started_ = Clock::now();
    const Nanoseconds cpu_before = cpu_time();
    TimePoint probe = started_ + kProbeInterval;
    TimePoint report = started_ + kProgressInterval;
    if (plan_.kind == LoopKind::kClosed) {
      for (std::uint64_t i = 0; i < plan_.at_once; ++i) due_.push(Nanoseconds(0));
    } else {
      plan_next_arrival();
    }
    bool interrupted = false;
    while (!interrupted) {
      begin_what_is_due();
      if (running_.empty() && (due_.empty() || !may_begin())) break;
      loop_.turn(std::min(probe, next_begin()));
      ended_.clear();
      const TimePoint now = Clock::now();
      if (now >= probe) {
        lag_.add(now - probe);
        probe = now + kProbeInterval;
      }
      if (now >= report) {
        report = now + kProgressInterval;
        interrupted = !on_progress(progress(now));
      }
    }
    if (interrupted) loop_.cancel_all();
    const Nanoseconds elapsed = Clock::now() - started_;
    // An open loop with few requests may be done before its time is: they came in all of that time.
    stats_.finish(interrupted ? elapsed : std::max(last_end_, window_.value_or(Nanoseconds(1))));
    LevelResult result;
    result.plan = plan_;
    result.client.cpu_share = std::chrono::duration<double>(cpu_time() - cpu_before) / elapsed;
    result.client.lag_p99 = lag_.percentile(99);
    result.client.lag_largest = lag_.largest();
    result.requests_begun = begun_;
    result.interrupted = interrupted;
    result.stats = std::move(stats_);
    return result;
  }

 private:
  class Attempt : public net::HttpLoop::Receiver {
   public:
    Attempt(Level& level, Nanoseconds intended) : level_(level), reader_(level.target_.api, level.work_.mode) {
      outcome_.intended = intended;
    }

    void on_bytes(int status, std::string_view bytes, TimePoint when) override {
      const std::uint64_t pieces = reader_.take(status, bytes);
      if (pieces == 0) return;
      const Nanoseconds at = when - level_.started_;
      if (!outcome_.first_piece) {
        outcome_.first_piece = at;
      } else {
        level_.stats_.add_gap(at - last_piece_);
      }
      // Pieces that arrive together have no time between them.
      for (std::uint64_t i = 1; i < pieces; ++i) level_.stats_.add_gap(Nanoseconds(0));
      last_piece_ = at;
      outcome_.pieces += pieces;
      level_.pieces_ += pieces;
      if (!level_.window_ || at <= *level_.window_) outcome_.pieces_in_window += pieces;
    }

    void on_end(const net::HttpEnd& end, TimePoint when) override {
      outcome_.end = when - level_.started_;
      if (end.failure == net::Failure::kNone) {
        reader_.finish(end.status);
        outcome_.error = reader_.error();
        outcome_.error_text = reader_.error_text();
        outcome_.tokens = reader_.output_tokens();
        outcome_.prompt_tokens = reader_.prompt_tokens();
        outcome_.queue_wait = reader_.queue_wait();
        outcome_.queue_wait_is_told = reader_.queue_wait_is_told();
      } else {
        outcome_.error = kind_of(end.failure);
        outcome_.error_text = end.text;
      }
      level_.on_end(*this, outcome_);
    }

    std::size_t index = 0;  // in running_

   private:
    Level& level_;
    AnswerReader reader_;
    RequestOutcome outcome_;
    Nanoseconds last_piece_{};
  };

  bool may_begin() const {
    if (plan_.requests) return begun_ < *plan_.requests;
    return due_.empty() || due_.top() < plan_.duration;
  }

  TimePoint next_begin() const {
    if (due_.empty() || !may_begin()) return kNever;
    if (running_.size() >= kBenchRunningMax) return kNever;
    return started_ + due_.top();
  }

  void begin_what_is_due() {
    while (!due_.empty() && may_begin() && running_.size() < kBenchRunningMax) {
      const Nanoseconds now = Clock::now() - started_;
      const Nanoseconds due = due_.top();
      if (due > now) return;
      due_.pop();
      // A user of a closed loop begins when it can; an open loop's request was due when it was due.
      begin(plan_.kind == LoopKind::kClosed ? now : due);
      if (plan_.kind == LoopKind::kOpen) plan_next_arrival();
    }
  }

  void plan_next_arrival() {
    const double seconds = -std::log(arrivals_.fraction()) / plan_.per_second;
    next_arrival_ += from_seconds(std::min(seconds, 1e6));
    due_.push(next_arrival_);
  }

  void begin(Nanoseconds intended) {
    auto attempt = std::make_unique<Attempt>(*this, intended);
    net::HttpCall call;
    call.method = "POST";
    call.url = target_.url + std::string(generate_path(target_.api));
    call.body = generate_body(target_.api, target_.model, make_prompt(work_.prompts, plan_.first_number + begun_),
                              work_.tokens_max, work_.mode, work_.temperature);
    call.headers = work_.headers;
    call.timeout = work_.timeout;
    ++begun_;
    attempt->index = running_.size();
    loop_.start(std::move(call), *attempt);
    running_.push_back(std::move(attempt));
  }

  void on_end(Attempt& attempt, const RequestOutcome& outcome) {
    stats_.add(outcome);
    last_end_ = std::max(last_end_, outcome.end);
    if (plan_.kind == LoopKind::kClosed) {
      due_.push(outcome.error.empty() ? outcome.end : outcome.end + kPauseAfterFailure);
    }
    // It lives until the loop's turn is over: this is called by itself.
    const std::size_t index = attempt.index;
    ended_.push_back(std::move(running_[index]));
    if (index + 1 < running_.size()) {
      running_[index] = std::move(running_.back());
      running_[index]->index = index;
    }
    running_.pop_back();
    if (outcome.error.empty()) begin_what_is_due();
  }

  LevelProgress progress(TimePoint now) const {
    return {begun_, running_.size(), begun_ - running_.size(), stats_.failed(), pieces_, now - started_};
  }

  net::HttpLoop& loop_;
  const BenchTarget& target_;
  const BenchWork& work_;
  const LevelPlan plan_;
  const std::optional<Nanoseconds> window_;
  LevelStats stats_;
  SplitMix arrivals_;
  TimePoint started_;
  Nanoseconds next_arrival_{};
  Nanoseconds last_end_{};
  std::uint64_t begun_ = 0;
  std::uint64_t pieces_ = 0;
  LatencyHistogram lag_;
  // When the next requests begin, the earliest first.
  std::priority_queue<Nanoseconds, std::vector<Nanoseconds>, std::greater<>> due_;
  std::vector<std::unique_ptr<Attempt>> running_;
  std::vector<std::unique_ptr<Attempt>> ended_;
};

}  // namespace

bool ClientLoad::overloaded() const {
  return cpu_share > kCpuShareMax || lag_p99 > kLagMax;
}

LevelResult run_level(net::HttpLoop& loop, const BenchTarget& target, const BenchWork& work, const LevelPlan& plan,
                      const OnProgress& on_progress) {
  return Level(loop, target, work, plan).run(on_progress);
}

}  // namespace drover::cli
