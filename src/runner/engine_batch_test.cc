// The batch scheduler with llama.cpp itself: under every mixture of sharing, preemption, canceling, shifting and
// chunking a sequence gets the tokens that it gets alone, for each kind of memory that a model can have.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <random>
#include <set>

#include "base/check.h"
#include "engine/engine_library.h"
#include "engine/llama_engine.h"
#include "engine/tiny_model.h"
#include "runner/batch_scheduler.h"

namespace drover {
namespace {

constexpr int kSlots = 5;
constexpr int kStepTokensMax = 48;

// Rows are computed together or alone, and rounding is not the same. With 32 bits in the cache the difference is so
// small that hardly two tokens are as likely as each other; 16 bits are what is used otherwise.
enum class Precision { kExact, kUsual };

std::unique_ptr<LlamaEngine> make_engine(const LlamaModel& model, int slots, Precision precision) {
  ContextOptions options;
  options.cells = 256;
  options.seqs = slots;
  options.step_tokens_max = kStepTokensMax;
  options.threads = 1;
  if (precision == Precision::kExact) {
    options.kv_cache_type = "f32";
    options.flash_attention = 0;
  }
  auto engine = LlamaEngine::create(model, options);
  return engine ? std::move(*engine) : nullptr;
}

Token likeliest(const float* logits, int size) {
  return static_cast<Token>(std::max_element(logits, logits + size) - logits);
}

// Says for a sequence, all by itself in a context of its own, what comes next at each position.
class Alone {
 public:
  Alone(const LlamaModel& model, Precision precision)
      : size_(model.vocabulary_size()),
        tolerance_(precision == Precision::kExact ? 1e-4f : 1e-2f),
        engine_(make_engine(model, 1, precision)) {}

  // Compares what was said after the first `prompt` tokens. Of two tokens that are as likely but for rounding either is
  // right. Returns how many such there were, or nothing for a token that is wrong.
  std::optional<int> near_ties(const std::vector<Token>& tokens, int prompt) {
    const std::vector<MemoryOperation> clear = {{MemoryOperation::Kind::kRemove, 0, 0, 0, -1}};
    engine_->apply(clear);
    int ties = 0;
    int computed = 0;
    for (int said = prompt; said < static_cast<int>(tokens.size()); ++said) {
      const float* logits = compute(tokens, computed, said);
      computed = said;
      const float highest = *std::max_element(logits, logits + size_);
      const float chosen = logits[tokens[static_cast<std::size_t>(said)]];
      EXPECT_TRUE(std::isfinite(highest) && std::isfinite(chosen));
      if (chosen == highest) continue;
      const float lowest = *std::min_element(logits, logits + size_);
      if (highest - chosen > tolerance_ * (highest - lowest)) {
        ADD_FAILURE() << fmt::format("token {} of {} (prompt {}): {} has {}, the likeliest {}", said, tokens.size(),
                                     prompt, tokens[static_cast<std::size_t>(said)], chosen, highest);
        return std::nullopt;
      }
      ++ties;
    }
    return ties;
  }

 private:
  const float* compute(const std::vector<Token>& tokens, int begin, int end) {
    int last_rows = 0;
    while (begin < end) {
      std::vector<Row> rows;
      while (begin < end && static_cast<int>(rows.size()) < kStepTokensMax) {
        rows.push_back({.token = tokens[static_cast<std::size_t>(begin)], .position = begin, .seq = 0});
        ++begin;
      }
      rows.back().output = begin == end;
      EXPECT_EQ(engine_->decode(rows), DecodeStatus::kDone);
      last_rows = static_cast<int>(rows.size());
    }
    return engine_->logits(last_rows - 1);
  }

  const int size_;
  const float tolerance_;  // of the distance between the likeliest and the least likely
  std::unique_ptr<LlamaEngine> engine_;
};

struct Counts {
  int requests = 0;
  int outputs = 0;
  int ties = 0;
  int preempted = 0;
  int canceled = 0;
  int replaced = 0;
  int aborted = 0;
  int cached = 0;
  int restored = 0;
  std::set<Token> distinct;
};

class World {
 public:
  World(const LlamaModel& model, Precision precision, std::uint64_t seed)
      : model_(model),
        random_(seed),
        engine_(make_engine(model, kSlots, precision)),
        alone_(model, precision),
        scheduler_(config()) {
    for (int i = 0; i < 3; ++i) {
      auto& document = documents_.emplace_back();
      if (i > 0 && chance(2)) document = documents_[0];
      append_random(document, 10 + below(50));
    }
  }

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
      if (chance(4)) arrive();
      step();
    }
    while (!requests_.empty() && !testing::Test::HasFatalFailure()) step();
    const SchedulerView view = scheduler_.view();
    EXPECT_EQ(view.running + view.preempted + view.cells_used, 0);
  }

  const Counts& counts() const { return counts_; }
  bool saves() const { return engine_->limits().saved_cells > 0; }

 private:
  struct Request {
    RequestId id;
    std::vector<Token> tokens;
    int prompt = 0;  // of the tokens: not said by the model
    int tokens_max = 0;
    int preempted = 0;
  };

  int below(int n) { return n <= 1 ? 0 : static_cast<int>(random_() % static_cast<unsigned>(n)); }
  bool chance(int one_in) { return below(one_in) == 0; }
  bool shares() const { return engine_->limits().memory == MemoryKind::kShared; }

  SchedulerConfig config() {
    SchedulerConfig config;
    config.engine = engine_->limits();
    config.slots = config.slots_max = kSlots;
    config.gap_target = std::chrono::milliseconds(10 + below(60));
    return config;
  }

  void append_random(std::vector<Token>& tokens, int count) {
    while (count-- > 0) tokens.push_back(below(model_.vocabulary_size()));
  }

  void arrive() {
    int count = chance(3) ? kSlots : 1;
    while (count-- > 0 && static_cast<int>(requests_.size()) < kSlots) {
      Request request;
      request.id = {++last_id_};
      const int kind = below(4);
      if (kind == 0 && !past_.empty())
        request.tokens = past_[static_cast<std::size_t>(below(static_cast<int>(past_.size())))];
      if (kind == 1 || kind == 2) request.tokens = documents_[static_cast<std::size_t>(below(3))];
      if (request.tokens.empty() || !chance(3)) append_random(request.tokens, 1 + below(chance(4) ? 90 : 12));
      request.tokens.resize(std::min<std::size_t>(request.tokens.size(), 150));
      request.prompt = static_cast<int>(request.tokens.size());
      request.tokens_max = request.prompt + 1 + below(60);
      scheduler_.add(request.id, request.tokens);
      requests_.push_back(std::move(request));
      ++counts_.requests;
    }
  }

  void step() {
    cancel_some();
    replace_some();
    const Step& step = scheduler_.plan();
    if (step.empty()) return;
    const bool applied = engine_->apply(step.operations);
    ASSERT_TRUE(applied);
    for (const MemoryOperation& operation : step.operations) {
      if (operation.kind == MemoryOperation::Kind::kRestore) counts_.restored += operation.end - operation.begin;
    }
    const bool abort = shares() && chance(12);
    if (abort) engine_->request_abort();
    const DecodeStatus status = engine_->decode(step.rows);
    engine_->clear_abort();
    if (status == DecodeStatus::kAborted) {
      ASSERT_TRUE(abort);
      ++counts_.aborted;
      return scheduler_.abandon(status);
    }
    // That the cells suffice is the scheduler's promise: it counts them as llama.cpp does.
    ASSERT_EQ(status, DecodeStatus::kDone);
    answer(step);
  }

  void cancel_some() {
    for (std::size_t i = requests_.size(); i-- > 0;) {
      if (!chance(60)) continue;
      scheduler_.remove(requests_[i].id);
      ++counts_.canceled;
      finish(i);
    }
  }

  void replace_some() {
    for (Request& request : requests_) {
      if (!chance(150)) continue;
      check(request);
      const auto length = static_cast<int>(request.tokens.size());
      const int keep = below(length / 2);
      request.tokens.erase(request.tokens.begin() + keep, request.tokens.begin() + keep + (length - keep) / 2);
      request.prompt = static_cast<int>(request.tokens.size());
      request.tokens_max = std::max(request.tokens_max - (length - keep) / 2, request.prompt + 5);
      scheduler_.replace(request.id, request.tokens);
      ++counts_.replaced;
    }
  }

  void answer(const Step& step) {
    std::vector<Sampled> sampled;
    std::size_t output = 0;
    for (std::size_t row = 0; row < step.rows.size(); ++row) {
      if (!step.rows[row].output) continue;
      const Token token = likeliest(engine_->logits(static_cast<int>(row)), model_.vocabulary_size());
      sampled.push_back({.request = step.output_of[output++], .token = token, .end = false});
    }
    // Made up, so that the budget, and with it the chunks, change in ways that the seed decides.
    const auto took = std::chrono::microseconds(5000 + static_cast<int>(step.rows.size()) * (200 + below(1500)));
    scheduler_.commit(sampled, took);
    for (const Sampled& each : sampled) {
      const auto request =
          std::find_if(requests_.begin(), requests_.end(), [&](auto& r) { return r.id == each.request; });
      request->tokens.push_back(each.token);
      ++counts_.outputs;
      counts_.distinct.insert(each.token);
      if (static_cast<int>(request->tokens.size()) < request->tokens_max) continue;
      const SequenceStats stats = scheduler_.stats(each.request);
      counts_.preempted += stats.preempted;
      counts_.cached += stats.cached_tokens;
      scheduler_.remove(each.request);
      finish(static_cast<std::size_t>(request - requests_.begin()));
    }
  }

  void check(const Request& request) {
    const auto ties = alone_.near_ties(request.tokens, request.prompt);
    ASSERT_TRUE(ties.has_value()) << "request " << request.id.value << " got a token that it does not get alone";
    counts_.ties += *ties;
  }

  void finish(std::size_t index) {
    check(requests_[index]);
    past_.push_back(std::move(requests_[index].tokens));
    if (past_.size() > 6) past_.pop_front();
    requests_.erase(requests_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  const LlamaModel& model_;
  std::mt19937_64 random_;
  std::unique_ptr<LlamaEngine> engine_;
  Alone alone_;
  BatchScheduler scheduler_;
  std::vector<std::vector<Token>> documents_;
  std::deque<std::vector<Token>> past_;
  std::deque<Request> requests_;
  std::uint64_t last_id_ = 0;
  Counts counts_;
};

// `distinct_min`: so many different tokens must come out, or the comparison would say little.
void run_worlds(const LlamaModel& model, Precision precision, int seeds, int steps, int distinct_min) {
  Counts all;
  bool saves = false;
  for (int seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    World world(model, precision, static_cast<std::uint64_t>(seed));
    saves = world.saves();
    world.run(steps);
    const Counts& counts = world.counts();
    all.requests += counts.requests;
    all.outputs += counts.outputs;
    all.ties += counts.ties;
    all.preempted += counts.preempted;
    all.canceled += counts.canceled;
    all.replaced += counts.replaced;
    all.aborted += counts.aborted;
    all.cached += counts.cached;
    all.restored += counts.restored;
    all.distinct.insert(counts.distinct.begin(), counts.distinct.end());
  }
  fmt::print(
      "{} requests, {} tokens ({} different, {} as likely as another), {} from the cache, {} restored, {} preempted, "
      "{} "
      "canceled, {} replaced, {} steps aborted\n",
      all.requests, all.outputs, all.distinct.size(), all.ties, all.cached, all.restored, all.preempted, all.canceled,
      all.replaced, all.aborted);
  EXPECT_GE(static_cast<int>(all.distinct.size()), distinct_min);
  EXPECT_LE(all.ties, all.outputs / 100);
  EXPECT_GT(all.preempted, 0);
  EXPECT_GT(all.canceled, 0);
  EXPECT_GT(all.replaced, 0);
  EXPECT_GT(all.cached, 0);
  EXPECT_EQ(all.restored > 0, saves);
}

struct TinyCase {
  const char* name;
  TinyKind kind;
  MemoryKind memory;
};

class MemoryKinds : public testing::TestWithParam<TinyCase> {};

TEST_P(MemoryKinds, AnswersAsAlone) {
  auto model = make_tiny_model(GetParam().kind);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto engine = make_engine(**model, kSlots, Precision::kExact);
  ASSERT_NE(engine, nullptr);
  EXPECT_EQ(engine->limits().memory, GetParam().memory);
  run_worlds(**model, Precision::kExact, 4, 400, 20);
}

INSTANTIATE_TEST_SUITE_P(All, MemoryKinds,
                         testing::Values(TinyCase{"sliding_window", TinyKind::kSlidingWindow, MemoryKind::kShared},
                                         TinyCase{"recurrent", TinyKind::kRecurrent, MemoryKind::kWhole},
                                         TinyCase{"recurrent2", TinyKind::kRecurrent2, MemoryKind::kWhole},
                                         TinyCase{"hybrid", TinyKind::kHybrid, MemoryKind::kWhole},
                                         TinyCase{"convolution", TinyKind::kConvolution, MemoryKind::kWhole}),
                         [](const auto& named) { return std::string(named.param.name); });

TEST(EngineBatch, CriaAnswersAsAlone) {
  DROVER_CHECK(initialize_engine().ok());
  auto model = LlamaModel::load({.path = DROVER_CRIA, .adapter_paths = {}, .on_progress = {}});
  ASSERT_TRUE(model.ok()) << model.error().message;
  run_worlds(**model, Precision::kUsual, 6, 400, 20);
}

// An aborted step leaves nothing behind: the same rows give the same afterwards.
TEST(EngineBatch, AnAbortedStepIsAsIfItHadNotBeen) {
  auto model = make_tiny_model(TinyKind::kSlidingWindow);
  ASSERT_TRUE(model.ok());
  const auto engine = make_engine(**model, 2, Precision::kUsual);
  std::vector<Row> first;
  std::vector<Row> second;
  for (int i = 0; i < 40; ++i) first.push_back({.token = i, .position = i, .seq = 0, .output = i == 39});
  for (int i = 0; i < 40; ++i) second.push_back({.token = 7 * i % 256, .position = i, .seq = 1, .output = i == 39});
  ASSERT_EQ(engine->decode(first), DecodeStatus::kDone);
  engine->request_abort();
  ASSERT_EQ(engine->decode(second), DecodeStatus::kAborted);
  engine->clear_abort();
  ASSERT_EQ(engine->decode(second), DecodeStatus::kDone);
  const std::vector<float> after(engine->logits(39), engine->logits(39) + (*model)->vocabulary_size());
  const auto fresh = make_engine(**model, 2, Precision::kUsual);
  ASSERT_EQ(fresh->decode(first), DecodeStatus::kDone);
  ASSERT_EQ(fresh->decode(second), DecodeStatus::kDone);
  const std::vector<float> expected(fresh->logits(39), fresh->logits(39) + (*model)->vocabulary_size());
  EXPECT_EQ(after, expected);
}

}  // namespace
}  // namespace drover
