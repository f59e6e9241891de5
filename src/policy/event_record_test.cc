// A record read is the record written.
#include "policy/event_record.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using namespace std::chrono_literals;

std::string again(const std::string& line) {
  const Result<RecordedEvent> read = read_record_line(line);
  return read ? record_line(*read) : read.error().message;
}

TEST(EventRecord, EveryEventIsReadAsItWasWritten) {
  Arrival arrival;
  arrival.request = RequestId{7};
  arrival.model = ModelId{3};
  arrival.client = "id:a \"quoted\" name\n";
  arrival.client_weight = 0.1;
  arrival.priority = Priority::kLow;
  arrival.needs = {std::uint64_t{5} << 40, 8192, true};
  arrival.timeout = 3s;
  arrival.keep_alive = Duration::max();
  arrival.load_only = true;
  const RunnerId runner{12};
  const std::vector<Event> events = {event::Admit{arrival},
                                     event::Cancel{RequestId{7}},
                                     event::Unload{ModelId{3}},
                                     event::Shutdown{},
                                     event::MemoryBound{std::uint64_t{1} << 36},
                                     event::LoadProgress{runner, 0.25f},
                                     event::Loaded{runner, 4, 4096, 1u << 30},
                                     event::SlotsChanged{runner, 6},
                                     event::LoadFailed{runner, internal("no"), true},
                                     event::LoadFailed{runner, not_found("no"), false},
                                     event::OutputSent{RequestId{7}},
                                     event::Finished{RequestId{7}, 100, 20},
                                     event::Progress{runner},
                                     event::Blamed{runner, {.request = RequestId{7}, .from_outside = false}},
                                     event::RunnerGone{runner, "signal 9", {.request = {}, .from_outside = true}},
                                     event::Tick{}};
  for (const Event& event : events) {
    const std::string line = record_line({1234567890123ns, event, "cria"});
    EXPECT_EQ(again(line), line);
    EXPECT_EQ(read_record_line(line)->event.index(), event.index()) << line;
  }
  const auto admit = std::get<event::Admit>(read_record_line(record_line({1ns, events[0], "cria"}))->event);
  EXPECT_EQ(admit.arrival.client, arrival.client);
  EXPECT_EQ(admit.arrival.needs.memory_bytes, arrival.needs.memory_bytes);
  EXPECT_EQ(admit.arrival.keep_alive, arrival.keep_alive);
  EXPECT_EQ(admit.arrival.client_weight, 0.1);
}

TEST(EventRecord, TheHeadTellsTheSettings) {
  DispatcherConfig config;
  config.waiting_max = 7;
  config.slots = 3;
  config.request_timeout = 90s;
  const std::string head = record_head(config);
  const auto read = read_record_head(head);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->waiting_max, 7u);
  EXPECT_EQ(read->request_timeout, Duration(90s));
  EXPECT_EQ(record_head(*read), head);
}

TEST(EventRecord, WhatIsNoRecordIsRefused) {
  EXPECT_FALSE(read_record_head("").ok());
  EXPECT_FALSE(read_record_head("{}").ok());
  EXPECT_FALSE(read_record_head("{\"drover_record\":2}").ok());
  for (const char* line :
       {"", "[]", "{\"t\":1}", "{\"t\":1,\"e\":\"dance\"}", "{\"t\":1,\"e\":\"cancel\"}",
        "{\"t\":\"x\",\"e\":\"tick\"}", "{\"t\":1,\"e\":\"cancel\",\"r\":\"7\"}", "{\"t\":1,\"e\":\"ti"})
    EXPECT_FALSE(read_record_line(line).ok()) << line;
}

}  // namespace
}  // namespace drover
