#include "prepare/message_cut.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

namespace drover {
namespace {

struct Search {
  std::size_t dropped = 0;
  int asked = 0;
};

// Messages of which the first `needed` have to go.
Search search(std::size_t messages, std::size_t needed, double size_over) {
  Search search;
  search.dropped = messages_to_drop(std::vector<double>(messages, 1.0), size_over, [&](std::size_t dropped) {
    EXPECT_GT(dropped, 0U) << "known not to fit";
    EXPECT_LT(dropped, messages) << "there is no other choice";
    ++search.asked;
    return dropped >= needed;
  });
  return search;
}

int asked_max(std::size_t messages) {
  return 2 * static_cast<int>(std::bit_width(messages)) + 2;
}

TEST(MessageCut, DropsNoneMoreThanItMustWhateverTheEstimate) {
  for (const std::size_t messages : {1, 2, 3, 7, 64, 200}) {
    for (std::size_t needed = 1; needed <= messages; ++needed) {
      for (const double over : {-5.0, 0.0, 1.0, 0.5 * messages, 1.0 * needed, 1.0 * messages, 1e9}) {
        const Search found = search(messages, needed, over);
        EXPECT_EQ(found.dropped, needed) << messages << " messages, over by " << over;
        EXPECT_LE(found.asked, asked_max(messages)) << messages << " messages, over by " << over;
      }
    }
  }
}

TEST(MessageCut, DropsAllIfThatDoesNotSuffice) {
  EXPECT_EQ(search(0, 1, 5).dropped, 0U);
  EXPECT_EQ(search(0, 1, 5).asked, 0);
  EXPECT_EQ(search(1, 9, 5).dropped, 1U);
  EXPECT_EQ(search(50, 99, 5).dropped, 50U);
}

TEST(MessageCut, TenTimesTheMessagesAreAFewQuestionsMore) {
  for (const double over : {0.0, 200'000.0}) {
    EXPECT_LE(search(200, 180, over).asked, 18);
    EXPECT_LE(search(2000, 1980, over).asked, 24);
    EXPECT_LE(search(100'000, 99'980, over).asked, 36);
  }
}

TEST(MessageCut, AGoodEstimateSavesMostOfThem) {
  EXPECT_LE(search(2000, 1980, 1980).asked, 3);
  EXPECT_LE(search(2000, 1980, 1977).asked, 5);
  EXPECT_LE(search(2000, 1, 0.5).asked, 1);
  EXPECT_LE(search(2000, 3, 1).asked, 4);
}

TEST(MessageCut, HeedsThatMessagesDifferInSize) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<double> sizes(1 + random() % 300);
    double sum = 0;
    for (double& size : sizes) sum += size = 1 + random() % 1000;
    const double over = std::uniform_real_distribution<double>(1, sum)(random);
    double dropped_size = 0;
    std::size_t needed = 0;
    while (dropped_size < over) dropped_size += sizes[needed++];
    int asked = 0;
    const std::size_t dropped = messages_to_drop(sizes, over, [&](std::size_t count) {
      ++asked;
      return count >= needed;
    });
    EXPECT_EQ(dropped, needed);
    EXPECT_LE(asked, 2) << "the estimate is exact";
  }
}

}  // namespace
}  // namespace drover
