#include "registry/partial_file.h"

#include <gtest/gtest.h>

#include "store/temporary_folder.h"

namespace drover::registry {
namespace {

using Ranges = std::vector<ByteRange>;

TEST(RangeSet, MergesWhatTouches) {
  RangeSet set;
  set.add({10, 20});
  set.add({30, 40});
  EXPECT_EQ(set.bytes(), 20u);
  EXPECT_EQ(set.prefix(), 0u);
  set.add({20, 30});
  EXPECT_EQ(set.missing(50, 100), (Ranges{{0, 10}, {40, 50}}));
  set.add({0, 5});
  set.add({3, 12});
  EXPECT_EQ(set.bytes(), 40u);
  EXPECT_EQ(set.prefix(), 40u);
  set.add({7, 7});
  set.add({0, 50});
  EXPECT_EQ(set.bytes(), 50u);
  EXPECT_TRUE(set.missing(50, 100).empty());
}

TEST(RangeSet, CutsWhatIsMissing) {
  RangeSet set;
  set.add({5, 8});
  EXPECT_EQ(set.missing(20, 4), (Ranges{{0, 4}, {4, 5}, {8, 12}, {12, 16}, {16, 20}}));
  EXPECT_EQ(set.missing(6, 100), (Ranges{{0, 5}}));
  EXPECT_TRUE(RangeSet().missing(0, 4).empty());
}

struct Fixture : testing::Test {
  TemporaryFolder folder;
  BlobStore blobs{folder.path()};
  const std::string content = "0123456789";
  Digest digest = Digest::of(content);
  std::string ledger = digest.file_name() + "-ledger";
  std::string partial = digest.file_name() + "-partial";
};
using PartialFileTest = Fixture;

TEST_F(PartialFileTest, GoesOnWhereItStopped) {
  {
    auto file = PartialFile::open(blobs, digest, content.size());
    ASSERT_TRUE(file.ok()) << file.error().message;
    ASSERT_TRUE(file->write(4, "4567").ok());
    ASSERT_TRUE(file->record({4, 8}).ok());
    EXPECT_EQ(PartialFile::open(blobs, digest, content.size()).error().code, ErrorCode::kUnavailable);
  }
  auto file = PartialFile::open(blobs, digest, content.size());
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->done().missing(10, 100), (Ranges{{0, 4}, {8, 10}}));
  EXPECT_GT(PartialFile::bytes_on_disk(blobs, digest), 0u);
  ASSERT_TRUE(file->write(0, "0123").ok());
  ASSERT_TRUE(file->write(8, "89").ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(folder.read(digest.file_name()), content);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / ledger));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / partial));
}

TEST_F(PartialFileTest, ALedgerThatMakesNoSenseSaysNothing) {
  for (const std::string text :
       {"", "x", "drover-ledger 1 10", "drover-ledger 1 11\n0 4\n", "drover-ledger 2 10\n0 4\n",
        "drover-ledger 1 10\n4 0\n", "drover-ledger 1 10\n0 11\n", "drover-ledger 1 10\n-1 4\n",
        "drover-ledger 1 10\n0 99999999999999999999999\n", "drover-ledger 1 10\n0 4"}) {
    folder.write(partial, content);
    folder.write(ledger, text);
    const auto file = PartialFile::open(blobs, digest, content.size());
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->done().bytes(), 0u) << text;
  }
  folder.write(partial, content);
  folder.write(ledger, "drover-ledger 1 10\n0 4\n6 8\n8 1");
  EXPECT_EQ(PartialFile::open(blobs, digest, content.size())->done().bytes(), 6u);
  ASSERT_TRUE(PartialFile::open(blobs, digest, content.size())->record({4, 6}).ok());
  EXPECT_EQ(PartialFile::open(blobs, digest, content.size())->done().bytes(), 8u) << "a cut line is cut off";
  // Of a file that has another length nothing is believed.
  EXPECT_EQ(PartialFile::open(blobs, digest, 12)->done().bytes(), 0u);
}

TEST_F(PartialFileTest, ALinkIsNotFollowed) {
  folder.write("elsewhere", "mine");
  std::filesystem::create_symlink(folder.path() / "elsewhere", folder.path() / partial);
  folder.write(ledger, "x");
  EXPECT_FALSE(PartialFile::open(blobs, digest, content.size()).ok());
  EXPECT_EQ(folder.read("elsewhere"), "mine");
}

TEST_F(PartialFileTest, Sweep) {
  folder.write(partial, content);
  folder.write(ledger, "x");
  folder.write(digest.file_name() + "-partial-0", "{}");
  folder.write("notes-partial", "mine");
  PartialFile::sweep(blobs);
  EXPECT_TRUE(std::filesystem::exists(folder.path() / partial)) << "it is young";
  PartialFile::sweep(blobs, std::chrono::seconds(0));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / partial));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / ledger));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / (digest.file_name() + "-partial-0"))) << "it is Ollama's";
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "notes-partial"));
  folder.write(digest.file_name(), content);
  folder.write(partial, content);
  PartialFile::sweep(blobs, std::chrono::seconds(0));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / partial)) << "without a ledger it is Ollama's";
  folder.write(ledger, "x");
  PartialFile::sweep(blobs);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / partial)) << "the blob is there";
  EXPECT_TRUE(std::filesystem::exists(folder.path() / digest.file_name()));
}

// Ollama has begun with the same blob, under the same name.
TEST_F(PartialFileTest, AnotherProgramsFileIsLeftAlone) {
  folder.write(partial, "theirs");
  folder.write(digest.file_name() + "-partial-0", "{}");
  {
    auto file = PartialFile::open(blobs, digest, content.size());
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write(0, content).ok());
    ASSERT_TRUE(file->record({0, 4}).ok());
  }
  EXPECT_EQ(PartialFile::open(blobs, digest, content.size())->done().bytes(), 4u) << "it goes on with its own";
  EXPECT_EQ(folder.read(partial), "theirs");
  ASSERT_TRUE(PartialFile::open(blobs, digest, content.size())->commit().ok());
  EXPECT_EQ(folder.read(digest.file_name()), content);
  EXPECT_EQ(folder.read(partial), "theirs");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / ledger));
}

}  // namespace
}  // namespace drover::registry
