#include "fleet/metrics.h"

#include <gtest/gtest.h>

#include "fleet/request_log.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

TimePoint at(Duration time) {
  return TimePoint{} + 1h + time;
}

RequestRecord record() {
  RequestRecord record;
  record.identity = {"42", "127.0.0.1", "/api/chat", ""};
  record.model = "cria";
  record.arrived = at(0s);
  record.dispatched = at(5s);
  record.load = 3s;
  return record;
}

TEST(Metrics, LabelsAreBounded) {
  Metrics metrics;
  for (std::size_t i = 0; i < 3 * Metrics::kModelsMax; ++i) ++metrics.of("model" + std::to_string(i)).crashes;
  EXPECT_EQ(metrics.models().size(), Metrics::kModelsMax);
  EXPECT_EQ(metrics.label_of("model0"), "model0");
  EXPECT_EQ(metrics.label_of("model299"), "other");
  EXPECT_EQ(metrics.of("model299").crashes, 2 * Metrics::kModelsMax + 1);
}

TEST(Metrics, AModelThatIsCalledOther) {
  Metrics metrics;
  for (std::size_t i = 0; i < Metrics::kModelsMax; ++i) metrics.of("model" + std::to_string(i));
  metrics.of("other");
  EXPECT_EQ(metrics.models().size(), Metrics::kModelsMax);
}

TEST(Metrics, ARequestFromItsSlotToItsEnd) {
  ModelMetrics metrics;
  RequestRecord request = record();
  metrics.on_dispatched(request);
  EXPECT_DOUBLE_EQ(metrics.queue_wait.sum(), 2);  // five seconds, three of them a load
  metrics.on_output(request, at(6s));
  metrics.on_output(request, at(6500ms));
  metrics.on_output(request, at(7s));
  EXPECT_EQ(metrics.first_token.count(), 1u);
  EXPECT_DOUBLE_EQ(metrics.first_token.sum(), 6);
  EXPECT_EQ(metrics.inter_token.count(), 2u);
  EXPECT_DOUBLE_EQ(metrics.inter_token.sum(), 1);
  EXPECT_EQ(request.output_tokens, 3u);
  request.prompt_tokens = 10;
  request.cached_tokens = 7;
  request.outcome = Outcome::kLength;
  request.ended = at(8s);
  metrics.on_ended(request);
  EXPECT_DOUBLE_EQ(metrics.total.sum(), 8);
  EXPECT_DOUBLE_EQ(metrics.prompt_tokens.sum(), 10);
  EXPECT_EQ(metrics.cached_tokens, 7u);
  EXPECT_EQ(metrics.generated_tokens, 3u);
  EXPECT_EQ(metrics.outcomes[static_cast<std::size_t>(Outcome::kLength)], 1u);
}

TEST(Metrics, GeneratedTokensGrowWithEachPieceAndEndAsTheRunnerCountedThem) {
  ModelMetrics metrics;
  RequestRecord request = record();
  metrics.on_output(request, at(6s));
  metrics.on_output(request, at(7s));
  EXPECT_EQ(metrics.generated_tokens, 2u);
  request.output_tokens = 5;
  metrics.on_ended(request);
  EXPECT_EQ(metrics.generated_tokens, 5u);
  EXPECT_DOUBLE_EQ(metrics.output_tokens.sum(), 5);
}

TEST(Metrics, ARequestWithoutASlotHasAnOutcomeAlone) {
  ModelMetrics metrics;
  RequestRecord request = record();
  request.dispatched = {};
  request.outcome = Outcome::kQueueFull;
  request.ended = at(0s);
  metrics.on_ended(request);
  EXPECT_EQ(metrics.outcomes[static_cast<std::size_t>(Outcome::kQueueFull)], 1u);
  EXPECT_EQ(metrics.total.count(), 0u);
}

TEST(RequestLine, TextAndJsonHaveTheSameFields) {
  RequestRecord request = record();
  request.first_output = at(5500ms);
  request.outcome = Outcome::kStop;
  request.ended = at(7s);
  request.prompt_tokens = 12;
  request.cached_tokens = 4;
  request.output_tokens = 30;
  EXPECT_EQ(request_line(request, LogFormat::kText),
            "request id=42 client=127.0.0.1 route=/api/chat model=cria outcome=stop queue_ms=2000.0 load_ms=3000.0 "
            "prefill_ms=500.0 decode_ms=1500.0 total_ms=7000.0 prompt_tokens=12 cached_tokens=4 output_tokens=30");
  EXPECT_EQ(request_line(request, LogFormat::kJson),
            R"("id":"42","client":"127.0.0.1","route":"/api/chat","model":"cria","outcome":"stop","queue_ms":2000.0,)"
            R"("load_ms":3000.0,"prefill_ms":500.0,"decode_ms":1500.0,"total_ms":7000.0,"prompt_tokens":12,)"
            R"("cached_tokens":4,"output_tokens":30)");
}

TEST(RequestLine, WhatWasNeverServedAndAnErrorThatIsNoWord) {
  RequestRecord request = record();
  request.dispatched = {};
  request.load = {};
  request.outcome = Outcome::kTimedOut;
  request.error = "two\nlines and \"quotes\"";
  request.ended = at(1s);
  EXPECT_EQ(request_line(request, LogFormat::kText),
            "request id=42 client=127.0.0.1 route=/api/chat model=cria outcome=timeout "
            R"(error="two\nlines and \"quotes\"" queue_ms=1000.0 load_ms=0.0 total_ms=1000.0)");
}

TEST(RequestLine, IsBoundedWhateverAnErrorQuotes) {
  RequestRecord request;
  request.identity.id = "one";
  request.outcome = Outcome::kInvalid;
  request.error = "model '" + std::string(1 << 20, '\x1b') + "' not found";
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    const std::string line = request_line(request, format);
    EXPECT_LT(line.size(), 8u << 10);
    EXPECT_NE(line.find("... (1047570 bytes more)"), std::string::npos) << line.substr(line.size() - 200);
  }
}

}  // namespace
}  // namespace drover
