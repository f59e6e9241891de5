// The engine thread with llama.cpp itself: a canceled request leaves within a step.
#include "runner/engine_loop.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/check.h"
#include "engine/engine_library.h"
#include "engine/grammar_cache.h"

namespace drover {
namespace {

class EngineLoopTest : public testing::Test {
 protected:
  void SetUp() override {
    DROVER_CHECK(initialize_engine().ok());
    auto model = LlamaModel::load({.path = DROVER_CRIA, .adapter_paths = {}, .on_progress = {}});
    ASSERT_TRUE(model.ok()) << model.error().message;
    model_ = std::move(*model);
    ContextOptions options;
    options.cells = 4096;
    options.seqs = 2;
    options.threads = 1;
    auto engine = LlamaEngine::create(*model_, options);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = std::move(*engine);
  }

  void post(std::uint64_t request, int prompt_tokens) {
    GrammarCache grammars(*model_);
    Prepared prepared;
    prepared.engine = std::make_unique<EngineJob>();
    prepared.engine->request = {request};
    for (int i = 0; i < prompt_tokens; ++i) prepared.engine->prompt.push_back((i * 31 + 7) % model_->vocabulary_size());
    prepared.engine->sampler = std::move(*Sampler::create(*model_, {}, grammars));
    prepared.engine->output_max = 1;
    prepared.engine->context_max = 4096;
    prepared.output =
        std::make_unique<OutputJob>(OutputJob{.request = {request}, .parser = OutputParser({}, {}), .context = {}});
    mail_.post(std::move(prepared));
  }

  // The next end of a request.
  pb::Finished wait_for_end() {
    std::vector<OutputMail> batch;
    while (ends_.empty() && output_.drain(batch, true)) {
      for (OutputMail& item : batch) {
        if (auto* end = std::get_if<OutputEnd>(&item)) ends_.push_back(end->finished);
      }
    }
    pb::Finished first = ends_.front();
    ends_.erase(ends_.begin());
    return first;
  }

  std::unique_ptr<LlamaModel> model_;
  std::unique_ptr<LlamaEngine> engine_;
  Mailbox<EngineMail> mail_;
  Mailbox<OutputMail> output_;
  std::vector<pb::Finished> ends_;
};

TEST_F(EngineLoopTest, ACanceledPromptLeavesWithinAStep) {
  const std::vector<Row> row = {{.token = 1, .position = 0, .seq = 0, .output = true}};
  const std::uint64_t before = engine_->progress();
  ASSERT_EQ(engine_->decode(row), DecodeStatus::kDone);
  const std::uint64_t step = engine_->progress() - before;  // the nodes of one
  const std::vector<MemoryOperation> clear = {{MemoryOperation::Kind::kRemove, 0, 0, 0, -1}};
  engine_->apply(clear);

  EngineLoop loop(*model_, *engine_, {.slots = 2, .slots_max = 2}, mail_, output_);
  std::thread thread([&] { loop.run(); });
  const std::uint64_t start = engine_->progress();
  post(1, 3000);  // several steps
  while (engine_->progress() < start + step + step / 2) std::this_thread::yield();
  loop.cancel({1});
  const std::uint64_t at_cancel = engine_->progress();
  const pb::Finished end = wait_for_end();
  const std::uint64_t after = engine_->progress();
  EXPECT_EQ(end.request(), 1u);
  EXPECT_EQ(end.reason(), pb::Finished::CANCELED);
  EXPECT_LE(after - at_cancel, step) << "no step begins after the cancel";

  // What was computed of it is kept, also in the step that was running: the same prompt again begins where it stopped.
  post(2, 3000);
  const pb::Finished again = wait_for_end();
  EXPECT_EQ(again.request(), 2u);
  EXPECT_NE(again.reason(), pb::Finished::CANCELED);
  EXPECT_GE(again.cached_tokens(), 2 * 64u);
  mail_.close();
  thread.join();
}

TEST_F(EngineLoopTest, CalibratesWithinTheContextAndLeavesNothingBehind) {
  ContextOptions options;
  options.cells = 48;  // fewer than a calibration's larger steps have rows
  options.seqs = 1;
  options.threads = 1;
  auto engine = LlamaEngine::create(*model_, options);
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  EngineLoop loop(*model_, **engine, {.slots = 1, .slots_max = 1}, mail_, output_);
  const std::uint64_t before = (*engine)->progress();
  loop.calibrate();
  EXPECT_GT((*engine)->progress(), before);
  std::thread thread([&] { loop.run(); });
  post(1, 47);  // all of the context
  EXPECT_EQ(wait_for_end().reason(), pb::Finished::LENGTH);
  mail_.close();
  thread.join();
}

}  // namespace
}  // namespace drover
