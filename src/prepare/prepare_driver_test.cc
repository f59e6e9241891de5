// Requests that never end, take all memory or crash their process, prepared by real processes: each fails alone.
#include "prepare/prepare_driver.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <fstream>
#include <thread>

#include "base/mutex.h"
#include "engine/cria_fixture.h"
#include "prepare/prompt_wire.h"

namespace drover {
namespace {

// Does what the first message says.
constexpr const char* kTemplate =
    "{% macro deep(n) %}{{ deep(n + 1) }}{% endmacro %}"
    "{% set text = messages[0].content %}"
    "{% if text == 'endless' %}{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
    "{% elif text == 'memory' %}{% for i in range(2000000000) %}{{ i }}{% endfor %}"
    "{% elif text == 'stack' %}{{ deep(0) }}"
    "{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}";

struct Outcome {
  enum class Kind { kPrompt, kInputs, kInvalid, kInternal, kCanceled } kind;
  std::string error = {};
  std::string text = {};  // what was rendered
  std::vector<std::string> tokens = {};
};

class PrepareDriverTest : public testing::Test {
 protected:
  void start(PrepareLimits limits = {}, KeeperOptions options = {}) {
    options.model_path = DROVER_CRIA;
    if (options.template_override.empty() && options.with_template) options.template_override = kTemplate;
    auto keeper = Keeper::start(options);
    ASSERT_TRUE(keeper) << keeper.error().message;
    keeper_ = std::move(*keeper);
    const auto ready = keeper_->ready(true);
    ASSERT_TRUE(ready) << ready.error().message;
    driver_ = std::make_unique<PrepareDriver>(
        *keeper_, limits,
        PrepareDriver::Events{
            .on_answer = [this](pb::PrepareWork& work, pb::PrepareAnswer& answer) { on_answer(work, answer); },
            .on_failed =
                [this](RequestId request, const Error& error) {
                  const bool theirs = error.code == ErrorCode::kInvalidArgument;
                  add(request,
                      {.kind = theirs ? Outcome::Kind::kInvalid : Outcome::Kind::kInternal, .error = error.message});
                },
            .on_canceled =
                [this](RequestId request, bool here) {
                  if (here) add(request, {.kind = Outcome::Kind::kCanceled});
                }});
    thread_ = std::thread([this] { driver_->run(); });
  }

  void TearDown() override {
    if (!driver_) return;
    driver_->close();
    thread_.join();
    EXPECT_EQ(driver_->requests(), 0u);
  }

  RequestId ask(const std::string& text) {
    pb::PrepareWork work;
    work.set_context_max(1 << 24);
    pb::Generate& generate = *work.mutable_generate();
    generate.set_request(++last_);
    generate.set_render_only(true);
    pb::Message& message = *generate.mutable_chat()->add_messages();
    message.set_role("user");
    message.set_content(text);
    driver_->add(std::move(work));
    return {last_};
  }

  Outcome outcome(RequestId request) {
    MutexLock lock(mutex_);
    while (outcomes_.count(request) == 0) lock.wait(changed_);
    return outcomes_.at(request);
  }
  bool has_ended(RequestId request) {
    const MutexLock lock(mutex_);
    return outcomes_.count(request) > 0;
  }
  void expect_answered(const std::string& text) {
    const Outcome got = outcome(ask(text));
    EXPECT_EQ(got.kind, Outcome::Kind::kPrompt) << got.error;
    EXPECT_EQ(got.text, text);
  }

  std::vector<pid_t> workers() const {
    const std::string process = std::to_string(keeper_->process());
    std::ifstream file("/proc/" + process + "/task/" + process + "/children");
    return {std::istream_iterator<pid_t>(file), {}};
  }

  std::unique_ptr<Keeper> keeper_;
  std::unique_ptr<PrepareDriver> driver_;

 private:
  void on_answer(const pb::PrepareWork& work, pb::PrepareAnswer& answer) {
    if (answer.has_inputs()) {
      Outcome outcome{.kind = Outcome::Kind::kInputs};
      outcome.tokens.assign(answer.inputs().tokens().begin(), answer.inputs().tokens().end());
      return add({work.embed().request()}, std::move(outcome));
    }
    auto prompt = read_prompt(*answer.mutable_prompt(), cria().vocabulary_size());
    ASSERT_TRUE(prompt) << prompt.error().message;
    add({work.generate().request()},
        {.kind = Outcome::Kind::kPrompt, .text = prompt->rendered.text, .tokens = {token_bytes(prompt->tokens)}});
  }

  void add(RequestId request, Outcome outcome) {
    const MutexLock lock(mutex_);
    EXPECT_TRUE(outcomes_.emplace(request, std::move(outcome)).second) << "answered twice";
    changed_.notify_all();
  }

  std::thread thread_;
  Mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<RequestId, Outcome> outcomes_ GUARDED_BY(mutex_);
  std::uint64_t last_ = 0;
};

TEST_F(PrepareDriverTest, GivesWhatIsMadeWithoutAProcess) {
  start({.time_max = std::chrono::minutes(10)}, {.model_path = {}, .request_seconds = 300});
  std::string large;
  while (large.size() < 3'000'000) large += fmt::format("{} words ", large.size());
  for (const std::string& text : {std::string("hello"), large}) {
    const Outcome got = outcome(ask(text));
    EXPECT_EQ(got.kind, Outcome::Kind::kPrompt) << got.error;
    EXPECT_EQ(got.text, text);
    EXPECT_EQ(got.tokens.front(), token_bytes(cria().tokenize(text, true)));
  }
}

TEST_F(PrepareDriverTest, MakesTheTokensOfInputs) {
  start({}, {.model_path = {}, .with_template = false});
  pb::PrepareWork work;
  work.mutable_embed()->set_request(7);
  work.mutable_embed()->add_texts("hello");
  work.mutable_embed()->add_texts("");
  driver_->add(std::move(work));
  EXPECT_EQ(outcome({7}).tokens,
            (std::vector{token_bytes(cria().tokenize("hello", true)), token_bytes(cria().tokenize("", true))}));
}

TEST_F(PrepareDriverTest, OneThatDoesNotEndDelaysNobodyAndIsEnded) {
  start({}, {.model_path = {}, .request_seconds = 3});
  const RequestId endless = ask("endless");
  for (int i = 0; i < 5; ++i) expect_answered(fmt::format("hello {}", i));
  EXPECT_FALSE(has_ended(endless));
  const Outcome got = outcome(endless);
  EXPECT_EQ(got.kind, Outcome::Kind::kInvalid);
  EXPECT_NE(got.error.find("more than 3 s of the processor"), std::string::npos) << got.error;
  expect_answered("hello");
}

TEST_F(PrepareDriverTest, TheTimeThatARequestMayRunIsLimitedToo) {
  start({.time_max = std::chrono::seconds(1)});  // enough for others on a slow machine
  const Outcome got = outcome(ask("endless"));
  EXPECT_EQ(got.kind, Outcome::Kind::kInvalid);
  EXPECT_NE(got.error.find("the request takes too long to prepare"), std::string::npos) << got.error;
  expect_answered("hello");
}

TEST_F(PrepareDriverTest, ManyThatDoNotEndDelayNobody) {
  start();
  std::vector<RequestId> endless;
  for (int i = 0; i < 8; ++i) endless.push_back(ask("endless"));
  for (int i = 0; i < 5; ++i) expect_answered(fmt::format("hello {}", i));
  while (workers().size() > 4 + 3) std::this_thread::yield();  // killed workers exist for a moment
  for (const RequestId request : endless) driver_->cancel(request);
  for (const RequestId request : endless) EXPECT_EQ(outcome(request).kind, Outcome::Kind::kCanceled);
  expect_answered("hello");
}

TEST_F(PrepareDriverTest, ACanceledOneIsGoneAtOnce) {
  start();
  const RequestId endless = ask("endless");
  expect_answered("hello");
  driver_->cancel(endless);
  EXPECT_EQ(outcome(endless).kind, Outcome::Kind::kCanceled);
  driver_->cancel(endless);  // it is never answered
  expect_answered("hello");
}

// Of some tries the best: what the machine does beside is none of ours.
TEST_F(PrepareDriverTest, TheNextOneIsAnsweredWithin100MsOfOneThatGoesOnAnd50MsOfOneThatWasCanceled) {
  start();
  expect_answered("hello");
  Duration beside = Duration::max();
  Duration behind = Duration::max();
  for (int i = 0; i < 10; ++i) {
    const TimePoint asked = Clock::now();
    const RequestId endless = ask("endless");
    expect_answered("hello");
    beside = std::min(beside, Clock::now() - asked);
    driver_->cancel(endless);
    EXPECT_EQ(outcome(endless).kind, Outcome::Kind::kCanceled);

    const RequestId short_lived = ask("endless");
    const TimePoint canceled = Clock::now();
    driver_->cancel(short_lived);
    EXPECT_EQ(outcome(short_lived).kind, Outcome::Kind::kCanceled);
    expect_answered("hello");
    behind = std::min(behind, Clock::now() - canceled);
  }
  RecordProperty("beside_us", static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(beside).count()));
  RecordProperty("behind_us", static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(behind).count()));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(beside, std::chrono::milliseconds(100));
  EXPECT_LT(behind, std::chrono::milliseconds(50));
#endif
}

// Each request ends a worker and starts another, and the keeper reports it: more reports than a socket holds unread.
TEST_F(PrepareDriverTest, ManyCancelsAtOnceHoldUpNobody) {
  start();
  std::vector<RequestId> endless;
  for (int i = 0; i < 600; ++i) endless.push_back(ask("endless"));
  for (const RequestId request : endless) driver_->cancel(request);
  for (const RequestId request : endless) EXPECT_EQ(outcome(request).kind, Outcome::Kind::kCanceled);
  expect_answered("hello");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they reserve more than any limit
TEST_F(PrepareDriverTest, OneThatTakesAllMemoryIsEnded) {
  start({}, {.model_path = {}, .memory_max = 256u << 20});
  const Outcome got = outcome(ask("memory"));
  EXPECT_EQ(got.kind, Outcome::Kind::kInvalid);
  EXPECT_NE(got.error.find("too much memory to prepare, more than 256 MiB"), std::string::npos) << got.error;
  expect_answered("hello");
}
#endif

TEST_F(PrepareDriverTest, OneThatIsNestedTooDeeplyIsEnded) {
  start();
  const Outcome got = outcome(ask("stack"));
  EXPECT_EQ(got.kind, Outcome::Kind::kInvalid);
  EXPECT_EQ(got.error, "the request is nested too deeply");
  expect_answered("hello");
}

TEST_F(PrepareDriverTest, AWorkerThatDiesCostsItsRequest) {
  start();
  const RequestId endless = ask("endless");
  expect_answered("hello");
  ::kill(workers().front(), SIGKILL);  // the oldest
  const Outcome got = outcome(endless);
  EXPECT_EQ(got.kind, Outcome::Kind::kInternal);
  EXPECT_EQ(got.error, "the process that prepared the request has ended: signal 9 (Killed)");
  expect_answered("hello");
}

TEST_F(PrepareDriverTest, IfMemoryIsShortTheKernelTakesWorkersFirst) {
  start();
  expect_answered("hello");
  const auto score = [](pid_t process) {
    std::ifstream file(fmt::format("/proc/{}/oom_score_adj", process));
    int value = 0;
    file >> value;
    return value;
  };
  for (const pid_t worker : workers()) EXPECT_EQ(score(worker), 1000);
  // While it starts a worker it has that score itself.
  while (score(keeper_->process()) != score(::getpid())) std::this_thread::yield();
}

TEST(Keeper, AChatTemplateThatDoesNotEndIsNamed) {
  const auto why = [](const std::string& text, std::uint64_t memory_max) {
    auto keeper = Keeper::start(
        {.model_path = DROVER_CRIA, .template_override = text, .memory_max = memory_max, .template_seconds = 1});
    const auto ready = (*keeper)->ready(true);
    EXPECT_FALSE(ready);
    const auto again = (*keeper)->ready(true);
    EXPECT_EQ(ready.error().message, again.error().message);
    EXPECT_EQ(ready.error().code, ErrorCode::kInvalidArgument);
    return ready ? std::string() : ready.error().message;
  };
  const std::string which = "the model's chat template cannot be used: it ";
  EXPECT_EQ(why("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", 1u << 30),
            which + "takes too long");
  EXPECT_EQ(why("{% macro deep(n) %}{{ deep(n + 1) }}{% endmacro %}{{ deep(0) }}", 1u << 30),
            which + "is nested too deeply");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_EQ(why("{% for i in range(2000000000) %}{{ i }}{% endfor %}", 256u << 20), which + "takes too much memory");
#endif
}

TEST(Keeper, AModelThatIsNoneIsNamed) {
  auto keeper = Keeper::start({.model_path = "/nowhere"});
  const auto ready = (*keeper)->ready(true);
  ASSERT_FALSE(ready);
  EXPECT_NE(ready.error().message.find("unable to load model"), std::string::npos);
}

}  // namespace
}  // namespace drover
