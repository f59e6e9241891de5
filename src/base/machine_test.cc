#include "base/machine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/system_memory.h"

namespace drover {
namespace {

TEST(ProcessorTimes, AreReadFromProc) {
  const auto times = parse_processor_times(
      "cpu  10 1 5 80 4 0 0 0 3 0\ncpu0 5 0 3 40 2 0 0 0 0 0\ncpu1 5 1 2 40 2 0 0 0 0 0\nintr 5\n");
  ASSERT_TRUE(times);
  EXPECT_EQ(times->cores, 2);
  EXPECT_EQ(times->busy, 16u);
  EXPECT_EQ(times->all, 100u);
  EXPECT_FALSE(parse_processor_times("intr 5\n"));
  EXPECT_FALSE(parse_processor_times("cpu  10\n"));
}

TEST(ProcessorTimes, TellTheShareThatWasBusy) {
  const ProcessorTimes before{100, 1000, 4};
  EXPECT_EQ(busy_share(before, {150, 1200, 4}), 0.25);
  EXPECT_EQ(busy_share(before, before), std::nullopt);
  EXPECT_EQ(busy_share(before, {50, 1200, 4}), std::nullopt);
}

class SystemMemory : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(testing::TempDir()) / ("system_memory_" + std::to_string(::getpid()));
    write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 4000 kB\n");
    write("proc/self/cgroup", "0::/outer/inner\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  void limit(const std::string& group, const std::string& most, std::uint64_t used_kib) {
    write("sys/fs/cgroup" + group + "/memory.max", most + "\n");
    write("sys/fs/cgroup" + group + "/memory.current", std::to_string(used_kib << 10) + "\n");
  }
  std::uint64_t available_kib() const { return available_memory_bytes(root_) >> 10; }

  std::filesystem::path root_;
};

TEST_F(SystemMemory, IsWhatTheSystemSays) {
  EXPECT_EQ(available_kib(), 4000u);
  limit("/outer/inner", "max", 100);
  EXPECT_EQ(available_kib(), 4000u);
  write("proc/meminfo", "MemTotal: 9000 kB\n");
  EXPECT_EQ(available_kib(), 0u);
}

TEST_F(SystemMemory, IsNoMoreThanAnyOfTheControlGroupsLeaves) {
  limit("/outer/inner", std::to_string(3000 << 10), 1000);
  EXPECT_EQ(available_kib(), 2000u);
  limit("/outer", std::to_string(2500 << 10), 1500);
  EXPECT_EQ(available_kib(), 1000u) << "the limit of the group around it counts too";
  limit("", std::to_string(500 << 10), 600);
  EXPECT_EQ(available_kib(), 0u);
}

TEST_F(SystemMemory, KnowsTheControlGroupsOfVersionOne) {
  write("proc/self/cgroup", "4:memory:/slice\n1:cpu:/slice\n");
  write("sys/fs/cgroup/memory/slice/memory.limit_in_bytes", std::to_string(3000 << 10));
  write("sys/fs/cgroup/memory/slice/memory.usage_in_bytes", std::to_string(2900 << 10));
  EXPECT_EQ(available_kib(), 100u);
}

}  // namespace
}  // namespace drover
