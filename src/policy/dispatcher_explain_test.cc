#include "policy/dispatcher_fixture.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

class DispatcherExplain : public DispatcherFixture {
 protected:
  DispatcherExplain() { config_.explain = true; }

  // "A r1 text", "A text (B)".
  Log explanations() {
    Log log;
    for (const Explanation& why : dispatcher().take_explanations()) {
      std::string line(1, static_cast<char>('A' + why.model.value));
      if (why.request != RequestId{}) line += " r" + std::to_string(why.request.value);
      line += " " + why.text;
      if (why.other) line += std::string(" (") + static_cast<char>('A' + why.other->value) + ")";
      log.push_back(line);
    }
    return log;
  }
};

TEST_F(DispatcherExplain, WhyARequestWaitsAndWhyItIsNext) {
  ask('A');
  EXPECT_EQ(explanations(), (Log{"A starts to load: 1 wait for it, it needs 1.00 GiB and runner 1 of at most 3",
                                 "A r1 waits, 1 in all for this model: its model is loading"}));
  loaded(1);
  EXPECT_EQ(explanations(),
            Log{"A r1 gets slot 1 of 1 after 0.000 s: first in the fair order (normal priority), 0 others wait"});
  ask('A');
  EXPECT_EQ(explanations(), Log{"A r2 waits, 1 in all for this model: all slots of its model are taken (1)"});
  pass(1500ms);
  finish(RequestId{1});
  EXPECT_EQ(explanations(),
            Log{"A r2 gets slot 1 of 1 after 1.500 s: first in the fair order (normal priority), 0 others wait"});
}

TEST_F(DispatcherExplain, WhyAModelLeaves) {
  config_.loaded_models_max = 1;
  load('A');
  explanations();
  pass(2s);
  ask('B');
  EXPECT_EQ(explanations(),
            (Log{"A is evicted: idle for 2.0 s, longer than any other, and its 1.00 GiB are needed (B)",
                 "B r2 waits, 1 in all for this model: its model is not in memory and waits for 1.0 GiB of it"}));
  gone(1);
  loaded(2);
  explanations();
  ask('A');
  pass(config_.residence_min);
  const Log log = explanations();
  EXPECT_EQ(log.back(), "B drains: its turn is over, 5.0 s after it was loaded, with 1 running and 0 waiting (A)");
}

TEST_F(DispatcherExplain, NothingIsSaidThatNobodyAskedFor) {
  config_.explain = false;
  ask('A');
  EXPECT_EQ(explanations(), Log{});
}

}  // namespace
}  // namespace drover
