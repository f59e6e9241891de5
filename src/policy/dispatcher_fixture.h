// What the dispatcher's unit tests share: a dispatcher in virtual time, and short words for what clients and runners
// do.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "policy/dispatcher.h"

namespace drover {

inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// Actions as text, in order: "start 1 A", "stop 1 evicted", "run r1 1", "cancel r1 1", "complete r1", "fail r1 busy…".
inline std::string to_text(const Action& action) {
  static constexpr const char* kReasons[] = {"idle",         "evicted",   "asked for", "hung",
                                             "load stalled", "abandoned", "grown",     "shutdown"};
  struct Visitor {
    std::string operator()(const StartRunner& a) const {
      return "start " + std::to_string(a.runner.value) + " " + static_cast<char>('A' + a.model.value) +
             (a.context_length ? " " + std::to_string(a.context_length) : "");
    }
    std::string operator()(const StopRunner& a) const {
      return "stop " + std::to_string(a.runner.value) + " " + kReasons[static_cast<int>(a.reason)];
    }
    std::string operator()(const Dispatch& a) const {
      return "run r" + std::to_string(a.request.value) + " " + std::to_string(a.runner.value);
    }
    std::string operator()(const CancelOnRunner& a) const {
      return "cancel r" + std::to_string(a.request.value) + " " + std::to_string(a.runner.value);
    }
    std::string operator()(const Complete& a) const { return "complete r" + std::to_string(a.request.value); }
    std::string operator()(const Fail& a) const {
      return "fail r" + std::to_string(a.request.value) + " " + a.error.message;
    }
    std::string operator()(const Refuse& a) const {
      return "refuse r" + std::to_string(a.request.value) + " " + a.error.message;
    }
    std::string operator()(const Explanation& a) const { return a.text; }
  };
  return std::visit(Visitor{}, action);
}

// A dispatcher with a function for each event. Keeps what it has decided until somebody looks.
class ToldDispatcher : public Dispatcher {
 public:
  using Dispatcher::Dispatcher;

  Result<void> admit(const Arrival& arrival, TimePoint now) {
    std::vector<Action> decided = apply(event::Admit{arrival}, now);
    if (!decided.empty())
      if (const auto* refuse = std::get_if<Refuse>(&decided.front())) {
        EXPECT_EQ(decided.size(), 1u) << "nothing else follows from a refusal";
        return refuse->error;
      }
    keep(std::move(decided));
    return {};
  }
  bool unload(ModelId model, TimePoint now) {
    const bool in_memory = is_in_memory(model);
    tell(event::Unload{model}, now);
    return in_memory;
  }
  void tell(const Event& event, TimePoint now) { keep(apply(event, now)); }

  std::vector<Action> take_actions() { return std::exchange(actions_, {}); }
  std::vector<Explanation> take_explanations() { return std::exchange(explanations_, {}); }

 private:
  void keep(std::vector<Action> decided) {
    for (Action& action : decided) {
      if (auto* why = std::get_if<Explanation>(&action)) {
        explanations_.push_back(std::move(*why));
      } else {
        actions_.push_back(std::move(action));
      }
    }
  }

  std::vector<Action> actions_;
  std::vector<Explanation> explanations_;
};

class DispatcherFixture : public ::testing::Test {
 protected:
  using Log = std::vector<std::string>;
  static constexpr const char* kCrash =
      "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check "
      "ollama server logs for details";
  static constexpr const char* kBusy = "server busy, please try again.  maximum pending requests exceeded";

  // Models 'A', 'B', … of one GiB each, clients by name.
  Arrival arrival(char model, const std::string& client = "client") {
    Arrival arrival;
    arrival.request = RequestId{++requests_};
    arrival.model = ModelId{static_cast<std::uint32_t>(model - 'A')};
    arrival.client = client;
    arrival.needs.memory_bytes = kGiB;
    return arrival;
  }
  Result<void> admit(const Arrival& arrival) { return dispatcher().admit(arrival, now_); }
  // Admits a request that must be taken; its number is one more than that of the last arrival().
  RequestId ask(char model, const std::string& client = "client") { return ask(arrival(model, client)); }
  RequestId ask(const Arrival& arrival) {
    const auto admitted = admit(arrival);
    EXPECT_TRUE(admitted.ok()) << admitted.error().message;
    return arrival.request;
  }
  void tell(const Event& event) { dispatcher().tell(event, now_); }
  void cancel(RequestId request) { tell(event::Cancel{request}); }
  void finish(RequestId request) { tell(event::Finished{request}); }
  void loaded(std::uint64_t runner, int slots = 1, int context_length = 4096, std::uint64_t bytes = 0) {
    tell(event::Loaded{RunnerId{runner}, slots, context_length, bytes});
  }
  void load_failed(std::uint64_t runner, bool memory = false) {
    tell(event::LoadFailed{RunnerId{runner}, internal("no good"), memory});
    gone(runner);
  }
  // By default somebody else has killed it.
  void gone(std::uint64_t runner, const Blame& blame = {.request = {}, .from_outside = true}) {
    tell(event::RunnerGone{RunnerId{runner}, "signal 9", blame});
  }
  void send_output(RequestId request) { tell(event::OutputSent{request}); }
  // Lets time pass, stopping at every moment at which something is due.
  void pass(Duration duration) {
    const TimePoint end = now_ + duration;
    while (dispatcher().next_due() <= end) {
      now_ = std::max(now_, dispatcher().next_due());
      tell(event::Tick{});
      ASSERT_GT(dispatcher().next_due(), now_) << "a Tick left something undone";
    }
    now_ = end;
    tell(event::Tick{});
  }
  Log actions() {
    Log log;
    for (const Action& action : dispatcher().take_actions()) {
      if (const auto* fail = std::get_if<Fail>(&action)) failures_[fail->request] = *fail;
      log.push_back(to_text(action));
    }
    return log;
  }
  // A model that is in memory and idle; its runner's number.
  std::uint64_t load(char model, int slots = 1) {
    Arrival wanted = arrival(model);
    wanted.load_only = true;
    ask(wanted);
    const Log log = actions();
    EXPECT_EQ(log.size(), 1u);
    loaded(++runners_, slots);
    EXPECT_EQ(actions(), Log{"complete r" + std::to_string(wanted.request.value)});
    return runners_;
  }
  ModelView view(char model) {
    for (const ModelView& view : dispatcher().models())
      if (view.model.value == static_cast<std::uint32_t>(model - 'A')) return view;
    return {};
  }
  ToldDispatcher& dispatcher() {
    if (!dispatcher_) dispatcher_ = std::make_unique<ToldDispatcher>(config_);
    return *dispatcher_;
  }

  DispatcherConfig config_;
  TimePoint now_ = TimePoint(std::chrono::hours(1));
  std::map<RequestId, Fail> failures_;
  std::uint64_t runners_ = 0;   // started by load()
  std::uint64_t requests_ = 0;  // numbers given

 private:
  std::unique_ptr<ToldDispatcher> dispatcher_;
};

}  // namespace drover
