#include "server/line_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace drover::server {
namespace {

using namespace std::chrono_literals;

std::string notice(std::uint64_t left_out) {
  return "(" + std::to_string(left_out) + ")\n";
}

class LineWriterTest : public ::testing::Test {
 protected:
  LineWriterTest() { EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0); }
  ~LineWriterTest() override {
    if (ends_[0] >= 0) ::close(ends_[0]);
    // The other end stays open: a thread may be stuck in it until the reading end is gone.
  }

  // Reads until `size` bytes have come.
  std::string read(std::size_t size) {
    std::string text;
    char bytes[4096];
    while (text.size() < size) {
      const ssize_t got = ::read(ends_[0], bytes, std::min(sizeof(bytes), size - text.size()));
      if (got <= 0) break;
      text.append(bytes, static_cast<std::size_t>(got));
    }
    return text;
  }

  int ends_[2] = {-1, -1};
};

TEST_F(LineWriterTest, WritesInOrder) {
  LineWriter writer(ends_[1], {}, notice);
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    all += std::to_string(i) + "\n";
    writer.write(std::to_string(i) + "\n");
  }
  EXPECT_EQ(read(all.size()), all);
  EXPECT_TRUE(writer.finish(1h));
}

TEST_F(LineWriterTest, AStuckReaderCostsLinesThatAreCounted) {
  LineWriter::Bounds bounds;
  bounds.lines_max = 100;
  LineWriter writer(ends_[1], bounds, notice);
  const std::string line = std::string(4095, 'x') + "\n";
  constexpr int kLines = 2000;  // 8 MB, of which a pipe takes 64 KiB
  for (int i = 0; i < kLines; ++i) writer.write(line);
  EXPECT_FALSE(writer.finish(1ms));
  // What was taken comes as soon as somebody reads, and then how many were not.
  std::string text;
  while (text.empty() || text.back() != '\n' || text[text.size() - 2] != ')') text += read(1);
  const auto at = text.rfind('(');
  const std::size_t written = at / line.size();
  EXPECT_EQ(at % line.size(), 0u);
  EXPECT_GE(written, bounds.lines_max);
  EXPECT_EQ(written + std::stoul(text.substr(at + 1)), static_cast<std::size_t>(kLines));
  EXPECT_TRUE(writer.finish(1h));
  writer.write("again\n");
  EXPECT_EQ(read(6), "again\n");
}

TEST_F(LineWriterTest, BytesAreBoundedToo) {
  LineWriter::Bounds bounds;
  bounds.bytes_max = 10;
  LineWriter writer(ends_[1], bounds, notice);
  writer.write("12345678901\n");
  writer.write("1234567\n");
  EXPECT_EQ(read(12), "(1)\n1234567\n");
}

TEST_F(LineWriterTest, AReaderThatHasGoneIsNoReasonToWait) {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  LineWriter writer(ends_[1], {}, notice);
  ::close(ends_[0]);
  ends_[0] = -1;
  for (int i = 0; i < 100; ++i) writer.write("nobody reads this\n");
  EXPECT_TRUE(writer.finish(1h));
  ::signal(SIGPIPE, before);
}

}  // namespace
}  // namespace drover::server
