#include "store/gguf_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>

#include "store/gguf_builder.h"
#include "store/temporary_folder.h"

namespace drover {
namespace {

class GgufCheckTest : public testing::Test {
 protected:
  std::string error_of(const GgufBuilder& builder, Result<void> (*check)(const Gguf&) = check_model) {
    const Result<Gguf> gguf = Gguf::read(folder_.write("file.gguf", builder.build()));
    if (!gguf.ok()) return "not read: " + gguf.error().message;
    const Result<void> checked = check(*gguf);
    return checked.ok() ? "" : checked.error().message;
  }

  TemporaryFolder folder_;
};

GgufBuilder model() {
  return GgufBuilder().text("general.architecture", "m");
}

GgufBuilder with_vocabulary(std::string_view kind, std::vector<std::string> tokens) {
  return model().text("tokenizer.ggml.model", kind).texts("tokenizer.ggml.tokens", tokens);
}

TEST_F(GgufCheckTest, CountsHaveRanges) {
  EXPECT_EQ(error_of(tiny_model()), "");
  EXPECT_EQ(error_of(model()), "") << "what is missing is for the engine to say";
  for (const std::uint32_t count : {0u, 513u, 1'000'000u, ~0u}) {
    EXPECT_EQ(error_of(model().number("m.block_count", count)),
              "m.block_count is " + std::to_string(count) + ", and must be between 1 and 512");
  }
  EXPECT_EQ(error_of(model().number("m.block_count", 512)), "");
  EXPECT_EQ(error_of(model().number("m.block_count", 4).number("m.nextn_predict_layers", 5)),
            "m.nextn_predict_layers is 5, and must be between 0 and 4");
  EXPECT_EQ(error_of(model().number("m.pooling_type", 5)), "m.pooling_type is 5, and must be between 0 and 4");
  EXPECT_EQ(error_of(model().text("m.block_count", "4")), "") << "the engine refuses it";
}

TEST_F(GgufCheckTest, Experts) {
  const auto experts = [](std::uint32_t count, std::uint32_t used) {
    return model().number("m.expert_count", count).number("m.expert_used_count", used);
  };
  EXPECT_EQ(error_of(experts(8, 2)), "");
  EXPECT_EQ(error_of(experts(0, 0)), "");
  EXPECT_EQ(error_of(experts(1025, 2)), "m.expert_count is 1025, and must be between 0 and 1024");
  EXPECT_EQ(error_of(experts(8, 9)), "m.expert_used_count is 9, and must be between 0 and 8");
  EXPECT_EQ(error_of(experts(8, 0)), "m.expert_used_count is 0 or missing, and must be between 1 and 8");
  EXPECT_EQ(error_of(model().number("m.expert_used_count", 1)), "m.expert_used_count is 1, and must be 0");
  EXPECT_EQ(error_of(model().number("m.expert_count", 8).numbers("m.expert_used_count", {0, 2, 2})), "");
  EXPECT_EQ(error_of(experts(8, 2).number("m.expert_group_count", 1)), "") << "as DeepSeek's smaller ones say";
  EXPECT_EQ(error_of(experts(8, 2).number("m.expert_group_count", 4).number("m.expert_group_used_count", 2)), "");
  EXPECT_EQ(error_of(experts(8, 2).number("m.expert_group_count", 8)),
            "m.expert_group_count is 8, and must be between 0 and 7");
  EXPECT_EQ(error_of(experts(8, 2).number("m.expert_group_count", 3)),
            "m.expert_group_count is 3, and must divide the 8 experts");
  EXPECT_EQ(error_of(experts(8, 2).number("m.expert_group_count", 4).number("m.expert_group_used_count", 4)),
            "m.expert_group_used_count is 4, and must be between 1 and 3");
  EXPECT_EQ(error_of(experts(8, 2).number("m.expert_group_count", 4)),
            "m.expert_group_used_count is missing, and must be between 1 and 3");
  GgufBuilder hunyuan;
  hunyuan.text("general.architecture", "hunyuan-dense").number("hunyuan-dense.expert_count", 1);
  EXPECT_EQ(error_of(hunyuan), "");
}

TEST_F(GgufCheckTest, RealNumbers) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::string key :
       {"m.attention.layer_norm_rms_epsilon", "m.attention.layer_norm_epsilon", "m.rope.freq_base"}) {
    EXPECT_EQ(error_of(model().real(key, 0)), "");
    EXPECT_EQ(error_of(model().real(key, 1e-6f)), "");
    EXPECT_EQ(error_of(model().real(key, nan)), key + " is not a number");
    EXPECT_EQ(error_of(model().real(key, -1)), key + " is -1, and must be a number from 0 on");
    EXPECT_EQ(error_of(model().real(key, inf)), key + " is inf, and must be a number from 0 on");
  }
  EXPECT_EQ(error_of(model().real("m.logit_scale", nan)), "m.logit_scale is not a number");
  EXPECT_EQ(error_of(model().real("m.logit_scale", -inf)), "");
  EXPECT_EQ(error_of(model().real("other.logit_scale", nan)), "");
  EXPECT_EQ(error_of(model().text("m.rope.scaling.type", "yarn")), "");
  EXPECT_EQ(error_of(model().text("m.rope.scaling.type", "x")),
            "m.rope.scaling.type is \"x\", and must be none, linear, yarn or longrope");
}

TEST_F(GgufCheckTest, HeadsOfEachLayer) {
  const auto heads = [](std::uint32_t count, std::uint32_t shared) {
    return model()
        .number("m.block_count", 2)
        .number("m.attention.head_count", count)
        .number("m.attention.head_count_kv", shared);
  };
  for (const auto& [count, shared] : {std::pair{32u, 8u}, {71u, 1u}, {0u, 0u}, {0u, 4u}, {4u, 0u}, {4u, 4u}}) {
    EXPECT_EQ(error_of(heads(count, shared)), "") << count << " " << shared;
  }
  EXPECT_EQ(error_of(heads(4, 3)), "m.attention.head_count_kv is 3, and must divide attention.head_count, 4");
  EXPECT_EQ(error_of(heads(4, 8)), "m.attention.head_count_kv is 8, and must divide attention.head_count, 4");
  GgufBuilder layers = model().number("m.block_count", 3).numbers("m.attention.head_count", {8, 0, 6});
  EXPECT_EQ(error_of(layers.numbers("m.attention.head_count_kv", {2, 2, 3})), "");
  layers = model().number("m.block_count", 3).numbers("m.attention.head_count", {8, 0, 6});
  EXPECT_NE(error_of(layers.numbers("m.attention.head_count_kv", {2, 2, 4})), "");
}

TEST_F(GgufCheckTest, Vocabulary) {
  EXPECT_EQ(error_of(with_vocabulary("gpt2", {"a", "b", "", "\xFF", "\xFE"})), "");
  EXPECT_EQ(error_of(with_vocabulary("gpt2", {"a", "b", "a"})), "tokenizer.ggml.tokens: 0 and 2 are the same token");
  EXPECT_EQ(error_of(with_vocabulary("gpt2", {"[EMPTY_1]", ""})), "tokenizer.ggml.tokens: 0 and 1 are the same token");
  EXPECT_EQ(error_of(with_vocabulary("gpt2", {std::string("a\0b", 3), "b", "a"})),
            "tokenizer.ggml.tokens: 0 and 2 are the same token");
  EXPECT_EQ(error_of(with_vocabulary("gpt2", {})), "tokenizer.ggml.tokens is empty, and must have at least one token");
  for (const std::string none : {"none", "no_vocab"}) {
    EXPECT_EQ(error_of(with_vocabulary(none, {"a"})),
              "tokenizer.ggml.model is \"" + none + "\": a model without a vocabulary cannot be used");
  }
}

// The engine's defaults for tokens that texts begin and end with are beyond a small vocabulary.
TEST_F(GgufCheckTest, TokensThatAreAddedAreThere) {
  const std::vector<std::string> tokens = {"a", "b", "c"};
  const auto bos = "tokenizer.ggml.bos_token_id";
  EXPECT_EQ(error_of(with_vocabulary("llama", tokens)), "");
  EXPECT_EQ(error_of(with_vocabulary("llama", {"a"})),
            "tokenizer.ggml.bos_token_id is missing, and must be one of the 1 tokens");
  EXPECT_EQ(error_of(with_vocabulary("llama", {"a"}).boolean("tokenizer.ggml.add_bos_token", false)), "");
  EXPECT_EQ(error_of(with_vocabulary("llama", {"a"}).number(bos, 0)), "");
  EXPECT_EQ(error_of(with_vocabulary("gpt2", tokens)), "");
  EXPECT_EQ(error_of(with_vocabulary("gpt2", tokens).boolean("tokenizer.ggml.add_bos_token", true).number(bos, 3)),
            "tokenizer.ggml.bos_token_id is 3, and must be one of the 3 tokens");
  EXPECT_EQ(error_of(with_vocabulary("gpt2", tokens).boolean("tokenizer.ggml.add_eos_token", true)),
            "tokenizer.ggml.eos_token_id is missing, and must be one of the 3 tokens");
  EXPECT_EQ(error_of(with_vocabulary("bert", tokens).number(bos, 0)),
            "tokenizer.ggml.seperator_token_id is missing, and must be one of the 3 tokens");
  EXPECT_EQ(error_of(with_vocabulary("bert", tokens).number(bos, 0).number("tokenizer.ggml.seperator_token_id", 1)),
            "");
  const std::string glm = error_of(
      with_vocabulary("gpt2", std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"})
          .text("tokenizer.ggml.pre", "glm4")
          .boolean("tokenizer.ggml.add_bos_token", true));
  EXPECT_EQ(glm, "tokenizer.ggml.bos_token_id is missing, and must be one of the 12 tokens");
}

TEST_F(GgufCheckTest, Templates) {
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "{% if a %}";
  for (const std::string key : {"tokenizer.chat_template", "tokenizer.chat_template.tool_use"}) {
    EXPECT_EQ(error_of(model().text(key, "{{ a }}")), "");
    EXPECT_EQ(error_of(model().text(key, deep)), key + " has blocks that are nested more than 100 deep");
  }
}

TEST_F(GgufCheckTest, Weights) {
  const auto tensor = [](std::string_view name, std::uint32_t type) { return model().tensor(name, {8}, type, 64); };
  for (const std::uint32_t type : {0u, 1u, 30u}) EXPECT_EQ(error_of(tensor("blk.0.attn_q.weight", type)), "");
  for (const std::uint32_t type : {24u, 25u, 26u, 27u, 28u}) {
    EXPECT_NE(error_of(tensor("blk.0.attn_q.weight", type)).find("which is not valid for weights"), std::string::npos);
    EXPECT_EQ(error_of(tensor("d2t", type)), "");
  }
  EXPECT_EQ(error_of(tensor("blk.0.ffn_gate_tid2eid.weight", 26)), "");
  EXPECT_EQ(error_of(tensor("output_norm.weight", 26)),
            "output_norm.weight has the type I32, which is not valid for weights");
}

TEST_F(GgufCheckTest, Adapters) {
  const auto lora = [] { return GgufBuilder().text("general.type", "adapter").text("adapter.type", "lora"); };
  EXPECT_EQ(error_of(lora().real("adapter.lora.alpha", 4), check_adapter), "");
  EXPECT_EQ(error_of(lora().number("adapter.lora.alpha", 4), check_adapter),
            "adapter.lora.alpha must be a 32-bit float");
  EXPECT_EQ(error_of(GgufBuilder().number("adapter.type", 4), check_adapter), "adapter.type must be text");
}

TEST_F(GgufCheckTest, ARealModelPasses) {
  const char* path = std::getenv("DROVER_TEST_GGUF");
  if (path == nullptr) GTEST_SKIP() << "DROVER_TEST_GGUF is not set";
  const Result<Gguf> gguf = Gguf::read(path);
  ASSERT_TRUE(gguf.ok()) << gguf.error().message;
  EXPECT_TRUE(check_model(*gguf).ok()) << check_model(*gguf).error().message;
}

}  // namespace
}  // namespace drover
