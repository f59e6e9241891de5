#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "load_test/bench_answer.h"
#include "load_test/bench_prompts.h"
#include "load_test/bench_stats.h"

namespace drover::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// ---- histogram

TEST(LatencyHistogram, NothingIsZero) {
  const LatencyHistogram none;
  EXPECT_EQ(none.count(), 0u);
  EXPECT_EQ(none.percentile(50).count(), 0);
  EXPECT_EQ(none.largest().count(), 0);
  EXPECT_EQ(none.mean().count(), 0);
}

TEST(LatencyHistogram, SmallValuesAreExactAndNegativeOnesZero) {
  LatencyHistogram histogram;
  for (int i = 1; i <= 100; ++i) histogram.add(Nanoseconds(i));
  EXPECT_EQ(histogram.percentile(50).count(), 50);
  EXPECT_EQ(histogram.percentile(90).count(), 90);
  EXPECT_EQ(histogram.percentile(99).count(), 99);
  EXPECT_EQ(histogram.percentile(100).count(), 100);
  histogram.add(Nanoseconds(-5));
  EXPECT_EQ(histogram.percentile(0).count(), 0);
}

TEST(LatencyHistogram, IsWithinItsErrorOfSortedValues) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> distribution(16, 3);
  LatencyHistogram histogram;
  std::vector<std::int64_t> values;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(static_cast<std::int64_t>(distribution(random)));
    histogram.add(Nanoseconds(values.back()));
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {1.0, 10.0, 50.0, 90.0, 99.0, 99.9}) {
    const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
    const auto exact = static_cast<double>(values[rank - 1]);
    EXPECT_NEAR(static_cast<double>(histogram.percentile(percent).count()), exact, exact * 0.004 + 0.5) << percent;
  }
  EXPECT_EQ(histogram.percentile(100).count(), values.back());
  EXPECT_EQ(histogram.largest().count(), values.back());
}

TEST(LatencyHistogram, TakesTheLargestDuration) {
  LatencyHistogram histogram;
  histogram.add(Nanoseconds::max());
  EXPECT_EQ(histogram.percentile(50), Nanoseconds::max());
}

TEST(LatencyHistogram, MergedIsAsAddedToOne) {
  LatencyHistogram all;
  LatencyHistogram one;
  LatencyHistogram two;
  for (int i = 0; i < 1000; ++i) {
    const Nanoseconds value = milliseconds(i * i);
    all.add(value);
    (i % 3 == 0 ? one : two).add(value);
  }
  one.merge(LatencyHistogram());
  one.merge(two);
  for (const double percent : {5.0, 50.0, 99.0, 100.0}) EXPECT_EQ(one.percentile(percent), all.percentile(percent));
  EXPECT_EQ(one.count(), all.count());
  EXPECT_EQ(one.mean(), all.mean());
}

// ---- stats

RequestOutcome answered(Nanoseconds intended, Nanoseconds first, Nanoseconds end, std::uint64_t tokens) {
  RequestOutcome outcome;
  outcome.intended = intended;
  outcome.first_piece = first;
  outcome.end = end;
  outcome.tokens = tokens;
  outcome.pieces = tokens;
  outcome.pieces_in_window = tokens;
  return outcome;
}

TEST(LevelStats, RatesAreOfAllOfTheTimeWithoutAWindow) {
  LevelStats stats;
  stats.add(answered(seconds(0), seconds(1), seconds(2), 10));
  stats.add(answered(seconds(2), seconds(3), seconds(4), 30));
  stats.finish(seconds(4));
  EXPECT_DOUBLE_EQ(stats.requests_per_second(), 0.5);
  EXPECT_DOUBLE_EQ(stats.tokens_per_second(), 10);
  EXPECT_EQ(stats.first_token().largest(), seconds(1));
  EXPECT_EQ(stats.total().largest(), seconds(2));
}

TEST(LevelStats, OfAnAnswerThatGoesOnBehindTheWindowThePartBeforeItCounts) {
  LevelStats stats{Nanoseconds(seconds(10))};
  stats.add(answered(seconds(0), seconds(1), seconds(5), 50));
  RequestOutcome late = answered(seconds(5), seconds(6), seconds(30), 100);
  late.pieces_in_window = 40;
  stats.add(late);
  stats.finish(seconds(30));
  EXPECT_DOUBLE_EQ(stats.requests_per_second(), 0.14);  // one, and 40 of 100 pieces of another
  EXPECT_DOUBLE_EQ(stats.tokens_per_second(), 9);       // 50 and 40 in ten seconds
  EXPECT_EQ(stats.total().largest(), seconds(25));
  EXPECT_EQ(stats.succeeded(), 2u);
}

TEST(LevelStats, AWindowInWhichNothingEndedIsNotUsed) {
  LevelStats stats{Nanoseconds(seconds(1))};
  stats.add(answered(seconds(0), seconds(1), seconds(4), 8));
  stats.finish(seconds(4));
  EXPECT_DOUBLE_EQ(stats.requests_per_second(), 0.25);
  EXPECT_DOUBLE_EQ(stats.tokens_per_second(), 2);
}

TEST(LevelStats, LatencyCountsFromTheIntendedStart) {
  LevelStats stats;
  stats.add(answered(seconds(3), seconds(9), seconds(10), 1));
  EXPECT_EQ(stats.first_token().largest(), seconds(6));
  EXPECT_EQ(stats.total().largest(), seconds(7));
}

TEST(LevelStats, FailuresCountByKindAndNowhereElse) {
  LevelStats stats;
  RequestOutcome failed = answered(seconds(0), seconds(1), seconds(2), 10);
  failed.error = "HTTP 503";
  failed.error_text = "busy";
  stats.add(failed);
  failed.error_text = "still busy";
  stats.add(failed);
  stats.finish(seconds(2));
  EXPECT_EQ(stats.failed(), 2u);
  EXPECT_EQ(stats.succeeded(), 0u);
  EXPECT_EQ(stats.total().count(), 0u);
  EXPECT_EQ(stats.tokens_per_second(), 0);
  ASSERT_EQ(stats.errors().size(), 1u);
  EXPECT_EQ(stats.errors().at("HTTP 503").count, 2u);
  EXPECT_EQ(stats.errors().at("HTTP 503").example, "busy");
}

TEST(LevelStats, PiecesStandInForTokensThatTheServerDidNotCount) {
  LevelStats stats;
  RequestOutcome outcome = answered(seconds(0), seconds(1), seconds(2), 10);
  EXPECT_TRUE(stats.tokens_are_exact());
  outcome.tokens.reset();
  stats.add(outcome);
  stats.finish(seconds(2));
  EXPECT_FALSE(stats.tokens_are_exact());
  EXPECT_EQ(stats.output_tokens(), 10u);
}

TEST(LevelStats, MergedRatesAreOfAllRoundsTogether) {
  LevelStats one;
  one.add(answered(seconds(0), seconds(1), seconds(1), 10));
  one.finish(seconds(1));
  LevelStats two;
  two.add(answered(seconds(0), seconds(1), seconds(3), 10));
  two.finish(seconds(3));
  one.merge(two);
  EXPECT_DOUBLE_EQ(one.requests_per_second(), 0.5);
  EXPECT_DOUBLE_EQ(one.tokens_per_second(), 5);
  EXPECT_EQ(one.total().count(), 2u);
}

TEST(Spread, IsMedianAndEnds) {
  EXPECT_EQ(spread_of({}).median, 0);
  const Spread odd = spread_of({3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.lowest, 1);
  EXPECT_EQ(odd.highest, 3);
  EXPECT_EQ(spread_of({4, 1, 2, 3}).median, 2.5);
}

// ---- answers

std::uint64_t take_all(AnswerReader& reader, std::string_view text, std::size_t at_a_time) {
  std::uint64_t pieces = 0;
  for (std::size_t i = 0; i < text.size(); i += at_a_time) pieces += reader.take(200, text.substr(i, at_a_time));
  reader.finish(200);
  return pieces;
}

constexpr std::string_view kOllamaStream =
    "{\"model\":\"m\",\"response\":\"a\",\"done\":false}\n"
    "{\"model\":\"m\",\"response\":\"\",\"thinking\":\"b\",\"done\":false}\n"
    "{\"model\":\"m\",\"response\":\"\",\"done\":true,\"total_duration\":1000,\"prompt_eval_duration\":300,"
    "\"eval_duration\":500,\"eval_count\":7,\"prompt_eval_count\":9}\n";
constexpr std::string_view kOpenAiStream =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\r\n\r\n"
    ": a comment\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
    "data:{\"choices\":[{\"delta\":{\"reasoning_content\":\"b\"}}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":7}}\n\n"
    "data: [DONE]\n\n";

TEST(AnswerReader, ReadsStreamsHoweverTheyAreCut) {
  for (std::size_t at_a_time = 1; at_a_time < 400; at_a_time += 7) {
    AnswerReader ollama(BenchApi::kOllama, AnswerMode::kStream);
    EXPECT_EQ(take_all(ollama, kOllamaStream, at_a_time), 2u);
    EXPECT_EQ(ollama.error(), "");
    EXPECT_EQ(ollama.output_tokens(), 7u);
    EXPECT_EQ(ollama.prompt_tokens(), 9u);
    EXPECT_EQ(ollama.queue_wait(), std::chrono::nanoseconds(200));
    EXPECT_FALSE(ollama.queue_wait_is_told());
    AnswerReader openai(BenchApi::kOpenAi, AnswerMode::kStream);
    EXPECT_EQ(take_all(openai, kOpenAiStream, at_a_time), 2u);
    EXPECT_EQ(openai.error(), "");
    EXPECT_EQ(openai.output_tokens(), 7u);
    EXPECT_EQ(openai.queue_wait(), std::nullopt);
  }
}

TEST(AnswerReader, BelievesAServerThatTellsHowLongARequestWaited) {
  AnswerReader drover(BenchApi::kOllama, AnswerMode::kWhole);
  take_all(drover, R"({"response":"a","done":true,"total_duration":1000,"eval_duration":5,"queue_duration":40})", 5);
  EXPECT_EQ(drover.queue_wait(), std::chrono::nanoseconds(40));
  EXPECT_TRUE(drover.queue_wait_is_told());
  AnswerReader liar(BenchApi::kOllama, AnswerMode::kWhole);
  take_all(liar, R"({"response":"a","done":true,"queue_duration":18446744073709551615})", 5);
  EXPECT_EQ(liar.queue_wait(), std::chrono::nanoseconds::max());
}

TEST(AnswerReader, ReadsWholeAnswers) {
  AnswerReader ollama(BenchApi::kOllama, AnswerMode::kWhole);
  EXPECT_EQ(take_all(ollama, R"({"response":"a b","done":true,"eval_count":3})", 5), 0u);
  EXPECT_EQ(ollama.error(), "");
  EXPECT_EQ(ollama.output_tokens(), 3u);
  EXPECT_EQ(ollama.queue_wait(), std::nullopt);
  AnswerReader openai(BenchApi::kOpenAi, AnswerMode::kWhole);
  take_all(openai, R"({"choices":[{"message":{"content":"a"}}],"usage":{"completion_tokens":3}})", 5);
  EXPECT_EQ(openai.error(), "");
  EXPECT_EQ(openai.output_tokens(), 3u);
}

struct Failing {
  BenchApi api;
  int status;
  std::string body;
  std::string kind;
  std::string text;
};

TEST(AnswerReader, NamesWhatWentWrong) {
  const std::vector<Failing> cases = {
      {BenchApi::kOllama, 503, R"({"error":"server busy"})", "HTTP 503", "server busy"},
      {BenchApi::kOpenAi, 400, R"({"error":{"message":"no such model"}})", "HTTP 400", "no such model"},
      {BenchApi::kOllama, 502, "<html>\nBad gateway", "HTTP 502", "<html>"},
      {BenchApi::kOllama, 500, "", "HTTP 500", ""},
      {BenchApi::kOllama, 200, "{\"response\":\"a\"}\n{\"error\":\"it crashed\"}\n", "error", "it crashed"},
      {BenchApi::kOllama, 200, "{\"response\":\"a\",\"done\":false}\n", "cut off", ""},
      {BenchApi::kOpenAi, 200, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", "cut off", ""},
      {BenchApi::kOllama, 200, "what?\n", "malformed", ""},
      {BenchApi::kOllama, 200, "[1]\n", "malformed", ""},
      {BenchApi::kOllama, 200, "", "cut off", ""},
      {BenchApi::kOllama, 503, "{\"error\":\"\x1b[2Jclear\"}", "HTTP 503", "[2Jclear"},
  };
  for (const Failing& failing : cases) {
    AnswerReader reader(failing.api, AnswerMode::kStream);
    reader.take(failing.status, failing.body);
    reader.finish(failing.status);
    EXPECT_EQ(reader.error(), failing.kind) << failing.body;
    if (!failing.text.empty()) {
      EXPECT_NE(reader.error_text().find(failing.text), std::string::npos) << reader.error_text();
    }
    EXPECT_EQ(reader.error_text().find('\x1b'), std::string::npos);
  }
}

TEST(AnswerReader, GivesUpOnAnEndlessLine) {
  AnswerReader reader(BenchApi::kOllama, AnswerMode::kStream);
  const std::string much(1u << 20, 'x');
  for (int i = 0; i < 40; ++i) reader.take(200, much);
  reader.finish(200);
  EXPECT_EQ(reader.error(), "malformed");
}

TEST(GenerateBody, SaysWhatEachApiCallsIt) {
  const Json ollama = Json::parse(generate_body(BenchApi::kOllama, "m", "p\"\n", 5, AnswerMode::kWhole));
  EXPECT_EQ(ollama["prompt"], "p\"\n");
  EXPECT_EQ(ollama["stream"], false);
  EXPECT_EQ(ollama["options"]["num_predict"], 5);
  const Json openai = Json::parse(generate_body(BenchApi::kOpenAi, "m", "p", 5, AnswerMode::kStream));
  EXPECT_EQ(openai["messages"][0]["content"], "p");
  EXPECT_EQ(openai["max_tokens"], 5);
  EXPECT_EQ(openai["stream_options"]["include_usage"], true);
  EXPECT_EQ(openai["temperature"], 0);
  const Json text = Json::parse(generate_body(BenchApi::kCompletions, "m", "p", 5, AnswerMode::kWhole, 0.8));
  EXPECT_EQ(text["prompt"], "p");
  EXPECT_FALSE(text.contains("messages"));
  EXPECT_EQ(text["temperature"], 0.8);
}

TEST(AnswerReader, ReadsTextCompletions) {
  AnswerReader streamed(BenchApi::kCompletions, AnswerMode::kStream);
  EXPECT_EQ(streamed.take(200, "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n"), 1u);
  streamed.take(200, "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n");
  streamed.finish(200);
  EXPECT_EQ(streamed.error(), "");
  AnswerReader whole(BenchApi::kCompletions, AnswerMode::kWhole);
  whole.take(200, R"({"choices":[{"text":"a"}],"usage":{"completion_tokens":4,"prompt_tokens":2}})");
  whole.finish(200);
  EXPECT_EQ(whole.error(), "");
  EXPECT_EQ(whole.output_tokens(), 4u);
}

// ---- prompts

TEST(MakePrompt, IsRepeatableAndDiffersFromTheFirstWordsOn) {
  PromptOptions options;
  options.seed = 5;
  std::set<std::string> beginnings;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::string prompt = make_prompt(options, i);
    EXPECT_EQ(prompt, make_prompt(options, i));
    beginnings.insert(prompt.substr(0, 40));
  }
  EXPECT_EQ(beginnings.size(), 1000u);
  options.seed = 6;
  EXPECT_EQ(beginnings.count(make_prompt(options, 0).substr(0, 40)), 0u);
}

TEST(MakePrompt, SharesItsFirstWordsIfAskedTo) {
  PromptOptions options;
  options.shared_words = 100;
  const std::string one = make_prompt(options, 1);
  const std::string two = make_prompt(options, 2);
  const std::size_t end = one.find(". ");
  EXPECT_EQ(std::count(one.begin(), one.begin() + static_cast<std::ptrdiff_t>(end), ' '), 99);
  EXPECT_EQ(one.substr(0, end), two.substr(0, end));
  EXPECT_NE(one.substr(end, 30), two.substr(end, 30));
}

TEST(MakePrompt, TakesTheUsersText) {
  PromptOptions options;
  options.text = "Hello";
  EXPECT_NE(make_prompt(options, 1), make_prompt(options, 2));
  EXPECT_TRUE(make_prompt(options, 1).ends_with(") Hello"));
  options.variety = PromptVariety::kSame;
  EXPECT_EQ(make_prompt(options, 1), "Hello");
  EXPECT_EQ(make_prompt(options, 2), "Hello");
  options.text = "Count from {n} to {n}0";
  EXPECT_EQ(make_prompt(options, 7), "Count from 1 to 10");
  options.variety = PromptVariety::kDifferent;
  EXPECT_EQ(make_prompt(options, 7), "Count from 8 to 80");
}

TEST(SplitMix, FractionsAreAboveZeroAndAverageAHalf) {
  SplitMix random(1);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double fraction = random.fraction();
    ASSERT_GT(fraction, 0);
    ASSERT_LE(fraction, 1);
    sum += fraction;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
}

}  // namespace
}  // namespace drover::cli
