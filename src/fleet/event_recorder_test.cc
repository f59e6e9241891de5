// A recording that cannot go on ends by itself, says so once, and delays nobody.
#include "fleet/event_recorder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "policy/event_record.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

class EventRecorderTest : public ::testing::Test {
 protected:
  EventRecorderTest()
      : folder_(std::filesystem::temp_directory_path() / ("drover-record-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "record";
  }
  ~EventRecorderTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<EventRecorder> recorder(int descriptor, EventRecorder::Bounds bounds = {}) {
    return std::make_unique<EventRecorder>(
        descriptor, DispatcherConfig{}, bounds, [said = said_](const std::string&) { ++*said; }, now_);
  }
  int open() {
    const auto descriptor = open_record(path_);
    EXPECT_TRUE(descriptor.ok());
    return descriptor ? *descriptor : -1;
  }
  std::vector<std::string> lines() {
    std::vector<std::string> lines;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  event::Admit admit(const std::string& client) {
    Arrival arrival;
    arrival.request = RequestId{++requests_};
    arrival.client = client;
    return {arrival};
  }

  const std::filesystem::path folder_;
  std::string path_;
  TimePoint now_{1h};
  std::uint64_t requests_ = 0;
  std::shared_ptr<std::atomic<int>> said_ = std::make_shared<std::atomic<int>>(0);
};

TEST_F(EventRecorderTest, WhatIsRecordedIsInTheFileWhenItEnds) {
  auto record = recorder(open());
  record->record(admit("key secret"), now_ + 1s, {"key:12345678", "cria"});
  record->record(event::Tick{}, now_ + 2s);
  record.reset();
  const auto written = lines();
  ASSERT_EQ(written.size(), 3u);
  EXPECT_TRUE(read_record_head(written[0]).ok());
  EXPECT_EQ(written[1].find("secret"), std::string::npos) << "a key is nobody's business";
  EXPECT_NE(written[1].find("key:12345678~"), std::string::npos);
  EXPECT_EQ(read_record_line(written[2])->at, Duration(2s));
  EXPECT_EQ(*said_, 0);
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(EventRecorderTest, ClientsOfOneNameAreToldApartAndTheSameOneIsTheSame) {
  auto record = recorder(open());
  for (const char* client : {"one", "other", "one"}) record->record(admit(client), now_, {"shown", "cria"});
  record.reset();
  std::vector<std::string> clients;
  for (const std::string& line : lines())
    if (const auto read = read_record_line(line)) clients.push_back(std::get<event::Admit>(read->event).arrival.client);
  ASSERT_EQ(clients.size(), 3u);
  EXPECT_EQ(clients[0], clients[2]);
  EXPECT_NE(clients[0], clients[1]);
}

TEST_F(EventRecorderTest, StepsAreRecordedOnceASecond) {
  auto record = recorder(open());
  for (int i = 0; i < 100; ++i) record->record(event::Progress{RunnerId{1}}, now_ + i * 30ms);
  record.reset();
  EXPECT_EQ(lines().size(), 1u + 3u);
}

TEST_F(EventRecorderTest, AnEarlierRecordIsKept) {
  recorder(open()).reset();
  recorder(open()).reset();
  EXPECT_TRUE(std::filesystem::exists(path_ + ".old"));
  EXPECT_EQ(lines().size(), 1u);
  ::unlink(path_.c_str());
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(open_record(path_).ok()) << "a pipe is no file, and to open it does not wait";
  EXPECT_FALSE(open_record(folder_ / "none" / "record").ok());
}

TEST_F(EventRecorderTest, AFileThatIsLongEnoughEndsTheRecording) {
  auto record = recorder(open(), {.file_bytes_max = 4096, .waiting_bytes_max = 1 << 20});
  for (int i = 0; i < 1000; ++i) record->record(event::Cancel{RequestId{1}}, now_);
  record.reset();
  EXPECT_EQ(*said_, 1);
  EXPECT_LE(std::filesystem::file_size(path_), 4096u);
  EXPECT_GT(std::filesystem::file_size(path_), 3500u) << "what was taken is written";
}

TEST_F(EventRecorderTest, AFullDiskEndsTheRecording) {
  auto record = recorder(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  record->record(event::Tick{}, now_);
  for (int i = 0; i < 1000 && *said_ == 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(*said_, 1);
  for (int i = 0; i < 1000; ++i) record->record(event::Tick{}, now_);
  record.reset();
  EXPECT_EQ(*said_, 1) << "it is said once";
}

TEST_F(EventRecorderTest, AStuckFileDelaysNobody) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);  // nobody reads it
  const auto began = Clock::now();
  auto record = recorder(ends[1], {.file_bytes_max = 1 << 30, .waiting_bytes_max = 200'000});
  for (int i = 0; i < 50'000; ++i) record->record(event::Cancel{RequestId{1}}, now_);
  EXPECT_EQ(*said_, 1);
  record.reset();
  EXPECT_LT(Clock::now() - began, 20s);
  ::signal(SIGPIPE, SIG_IGN);
  ::close(ends[0]);  // so its thread ends
}

}  // namespace
}  // namespace drover
