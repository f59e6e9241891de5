#include "engine/embedder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/check.h"
#include "engine/engine_library.h"

namespace drover {
namespace {

class EmbedderTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    DROVER_CHECK(initialize_engine().ok());
    ModelOptions options;
    options.path = DROVER_CRIA;
    auto loaded = LlamaModel::load(options);
    ASSERT_TRUE(loaded.ok());
    model_ = loaded->release();
  }
  static void TearDownTestSuite() { delete model_; }

  static std::unique_ptr<Embedder> create(int context_length, int batch_tokens) {
    EmbedderOptions options;
    options.context_length = context_length;
    options.batch_tokens = batch_tokens;
    options.threads = 1;
    auto embedder = Embedder::create(*model_, options);
    EXPECT_TRUE(embedder.ok());
    return embedder ? std::move(*embedder) : nullptr;
  }

  static std::vector<Token> some_tokens(std::size_t count, Token first) {
    std::vector<Token> tokens(count);
    std::iota(tokens.begin(), tokens.end(), first);
    for (Token& token : tokens) token %= model_->vocabulary_size();
    return tokens;
  }

  static std::vector<float> alone(Embedder& embedder, const std::vector<Token>& tokens) {
    const Embedder::Input input(tokens);
    auto vectors = embedder.compute(std::span(&input, 1));
    EXPECT_TRUE(vectors.ok());
    return vectors ? (*vectors)[0] : std::vector<float>();
  }

  static LlamaModel* model_;
};

LlamaModel* EmbedderTest::model_ = nullptr;

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  const double ab = std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  const double aa = std::inner_product(a.begin(), a.end(), a.begin(), 0.0);
  const double bb = std::inner_product(b.begin(), b.end(), b.begin(), 0.0);
  return 1 - ab / std::sqrt(aa * bb);
}

TEST_F(EmbedderTest, VectorsOfABatchAreThoseOfEachAlone) {
  const auto embedder = create(2048, 512);
  std::vector<std::vector<Token>> texts;
  for (std::size_t i = 0; i < 20; ++i) texts.push_back(some_tokens(1 + i, static_cast<Token>(100 + 31 * i)));
  const std::vector<Embedder::Input> inputs(texts.begin(), texts.end());
  const auto together = embedder->compute(inputs);
  ASSERT_TRUE(together.ok());
  ASSERT_EQ(together->size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::vector<float> single = alone(*embedder, texts[i]);
    ASSERT_EQ(single.size(), static_cast<std::size_t>(embedder->dimensions()));
    const double difference = distance((*together)[i], single);
    EXPECT_LT(difference, 1e-4) << i;
    if (i == 0) continue;
    EXPECT_LT(10 * difference, distance((*together)[i], (*together)[i - 1])) << i;
  }
}

TEST_F(EmbedderTest, AnInputThatIsComputedInPiecesHasTheSameVector) {
  const auto in_pieces = create(700, 64);
  const auto at_once = create(700, 700);
  for (const std::size_t size : {63u, 64u, 65u, 128u, 700u}) {
    const std::vector<Token> tokens = some_tokens(size, 7);
    EXPECT_LT(distance(alone(*in_pieces, tokens), alone(*at_once, tokens)), 1e-3) << size;
  }
}

TEST_F(EmbedderTest, TruncatingKeepsTheBeginning) {
  const auto embedder = create(2048, 512);
  std::vector<Token> tokens = some_tokens(10, 50);
  embedder->truncate(tokens, 10);
  EXPECT_EQ(tokens.size(), 10u);
  embedder->truncate(tokens, 4);
  EXPECT_EQ(tokens, some_tokens(4, 50));  // cria's vocabulary adds no token at the end
}

}  // namespace
}  // namespace drover
