// The dispatcher under test, as the simulation calls it. It can be broken on purpose, one rule at a time, between the
// dispatcher and the world: so the simulation proves that its checks bite. The dispatcher itself has no such hooks.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/dispatcher.h"

namespace drover::sim {

enum class Mutation {
  kNone,
  kLoseCancel,       // a client's leaving is not heard
  kKeepSlot,         // the end of a request does not free its slot
  kEvictBusy,        // a runner with work is stopped
  kSwapArrivals,     // two requests of a client change places
  kDispatchTwice,    // a request gets two slots
  kForgetDeadline,   // a request that waited too long is not told
  kOverbook,         // a runner gets one request more than it has slots
  kShrinkEstimates,  // models are taken for smaller than they are
  kFailReplay,       // a request that could be replayed is failed
  kMergeClients,     // everybody is the same client
  kLoseRequest,      // a request is dropped without a word
  kDeafToUnload,     // an unload is not heard
  kRetryAtOnce,      // a model that failed to load is started again at once
  kDeafToBlame,      // nobody hears whose fault a runner's end was
  kBlameTheKilled,   // a runner that was killed from outside is taken for one that crashed
  kTrustSuspects,    // one that may have killed a runner is taken for innocent as soon as it runs again
  kDeafToSlots,      // a runner's new number of slots is not heard
  kIgnoreWeights,    // everybody has the same share
  kSplitClients,     // each request is another client's, so that nobody pays for the service it has had
  kShortRetry,       // whoever is refused is told to come back at once, however many wait
  kForgetStop,       // a runner that has drained or is idle is not told to make room
  kFillDraining,     // a runner that drains gets one more request
  kAdmitLate,        // a server that shuts down still takes requests in
  kCutShort,         // a server that shuts down fails what runs
};

struct NamedMutation {
  Mutation mutation;
  std::string_view name;
};

inline constexpr std::array<NamedMutation, 24> kMutations = {{
    {Mutation::kLoseCancel, "lose-cancel"},
    {Mutation::kKeepSlot, "keep-slot"},
    {Mutation::kEvictBusy, "evict-busy"},
    {Mutation::kSwapArrivals, "swap-arrivals"},
    {Mutation::kDispatchTwice, "dispatch-twice"},
    {Mutation::kForgetDeadline, "forget-deadline"},
    {Mutation::kOverbook, "overbook"},
    {Mutation::kShrinkEstimates, "shrink-estimates"},
    {Mutation::kFailReplay, "fail-replay"},
    {Mutation::kMergeClients, "merge-clients"},
    {Mutation::kLoseRequest, "lose-request"},
    {Mutation::kDeafToUnload, "deaf-to-unload"},
    {Mutation::kRetryAtOnce, "retry-at-once"},
    {Mutation::kDeafToBlame, "deaf-to-blame"},
    {Mutation::kBlameTheKilled, "blame-the-killed"},
    {Mutation::kTrustSuspects, "trust-suspects"},
    {Mutation::kDeafToSlots, "deaf-to-slots"},
    {Mutation::kIgnoreWeights, "ignore-weights"},
    {Mutation::kSplitClients, "split-clients"},
    {Mutation::kShortRetry, "short-retry"},
    {Mutation::kForgetStop, "forget-stop"},
    {Mutation::kFillDraining, "fill-draining"},
    {Mutation::kAdmitLate, "admit-late"},
    {Mutation::kCutShort, "cut-short"},
}};

class Subject {
 public:
  Subject(const DispatcherConfig& config, Mutation mutation) : dispatcher_(config), mutation_(mutation) {}

  Result<void> admit(Arrival arrival, TimePoint now);
  bool unload(ModelId model, TimePoint now);
  Duration retry_after(ModelId model, TimePoint now) const;
  void tell(Event event, TimePoint now);
  // What has been decided since this was called last.
  std::vector<Action> take_actions(TimePoint now);

  const Dispatcher& dispatcher() const { return dispatcher_; }

 private:
  // True once in a while, for the mutation that is on.
  bool strikes(Mutation mutation);
  void apply(const Event& event, TimePoint now);
  // How the dispatcher hears of an event. False: it does not.
  bool hear(event::Cancel& cancel);
  bool hear(event::Loaded& loaded);
  bool hear(event::SlotsChanged& changed);
  bool hear(event::OutputSent& sent);
  bool hear(event::Finished& finished);
  bool hear(event::Blamed& blamed);
  bool hear(event::RunnerGone& gone);
  bool hear(event::Shutdown& shutdown);
  template <typename Other>
  bool hear(Other&) {
    return true;
  }
  void break_actions(std::vector<Action>& actions);
  void fill_draining(std::vector<Action>& actions);
  void cut_short(std::vector<Action>& actions) const;
  void twist(Blame& blame) const;
  RequestId swapped(RequestId request) const;

  Dispatcher dispatcher_;
  Mutation mutation_;
  int chances_ = 0;
  std::vector<Action> decided_;
  std::optional<Arrival> last_arrival_;
  std::map<RequestId, RequestId> swapped_;
  std::set<RequestId> dispatched_;
  std::optional<StartRunner> last_start_;
  std::set<RequestId> plain_;    // those that want a slot and no larger context
  std::set<RunnerId> draining_;  // when actions were taken last
  bool shut_down_ = false;
  bool shut_down_now_ = false;  // since actions were taken last
};

}  // namespace drover::sim
