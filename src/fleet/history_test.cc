#include "fleet/history.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

HistoryReading reading_at(seconds at) {
  HistoryReading reading;
  reading.at = at;
  return reading;
}

TEST(History, KeepsTheLastTenMinutesAndNoMore) {
  History history;
  for (int i = 0; i < 1000; ++i) {
    HistoryReading reading = reading_at(i * kHistoryInterval);
    reading.waiting = static_cast<std::uint64_t>(i);
    history.add(reading);
  }
  ASSERT_EQ(history.samples().size(), 120u);
  EXPECT_EQ(history.samples().front().waiting, 880u);
  EXPECT_EQ(history.samples().back().waiting, 999u);
  EXPECT_EQ(history.samples().back().at - history.samples().front().at, seconds(595));
}

TEST(History, TellsWhatWasAddedSinceTheReadingBefore) {
  History history;
  HistoryReading reading = reading_at(seconds(100));
  reading.tokens = 1000;
  history.add(reading);
  EXPECT_EQ(history.samples().back().tokens_per_second, std::nullopt) << "since when, nobody knows";
  reading.at = seconds(104);
  reading.tokens = 1200;
  reading.running = 3;
  reading.slots = 4;
  history.add(reading);
  EXPECT_EQ(history.samples().back().tokens_per_second, 50.0);
  EXPECT_EQ(history.samples().back().running, 3u);
  EXPECT_EQ(history.samples().back().slots, 4u);
  // The machine has slept: the time of it counts.
  reading.at += seconds(3600);
  history.add(reading);
  EXPECT_EQ(history.samples().back().tokens_per_second, 0.0);
  EXPECT_EQ(history.samples().back().at, seconds(3704));
}

TEST(History, LatenciesAreThoseOfTheLastTwoIntervals) {
  History history;
  HistoryReading reading = reading_at(seconds(0));
  history.add(reading);
  reading.at = seconds(5);
  for (int i = 0; i < 10; ++i) reading.first_token.observe(0.3);  // above 0.25, up to 0.5
  history.add(reading);
  ASSERT_TRUE(history.samples().back().first_token);
  EXPECT_DOUBLE_EQ(history.samples().back().first_token->median, 0.375);
  EXPECT_DOUBLE_EQ(history.samples().back().first_token->p95, 0.4875);
  EXPECT_FALSE(history.samples().back().inter_token);
  reading.at = seconds(10);
  history.add(reading);
  EXPECT_TRUE(history.samples().back().first_token) << "it is within two intervals";
  reading.at = seconds(15);
  history.add(reading);
  EXPECT_FALSE(history.samples().back().first_token);
}

TEST(History, SharesOfACacheThatIsThere) {
  History history;
  HistoryReading reading = reading_at(seconds(0));
  history.add(reading);
  EXPECT_FALSE(history.samples().back().kv);
  reading.kv_cells = 200;
  reading.kv_used = 50;
  reading.kv_kept = 20;
  history.add(reading);
  ASSERT_TRUE(history.samples().back().kv);
  EXPECT_DOUBLE_EQ(history.samples().back().kv->used, 0.25);
  EXPECT_DOUBLE_EQ(history.samples().back().kv->kept, 0.1);
}

}  // namespace
}  // namespace drover
