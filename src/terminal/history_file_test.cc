#include "terminal/history_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

namespace drover::cli {
namespace {

namespace fs = std::filesystem;

TEST(HistoryFile, KeepsTheLastLines) {
  const fs::path folder = fs::temp_directory_path() / ("drover-history-test-" + std::to_string(getpid()));
  const fs::path file = folder / "deep" / "history";
  EXPECT_TRUE(load_history(file, 3, 1000).empty());
  for (const char* line : {"a", "b", "c", "d"}) append_history(file, line);
  EXPECT_EQ(load_history(file, 3, 1000), (std::vector<std::string>{"b", "c", "d"}));
  EXPECT_EQ(fs::file_size(file), 8u);  // Not twice as much as is kept, so it was left alone.
  for (const char* line : {"e", "f", "g"}) append_history(file, line);
  EXPECT_EQ(load_history(file, 3, 1000), (std::vector<std::string>{"e", "f", "g"}));
  EXPECT_EQ(fs::file_size(file), 6u);
  EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace drover::cli
