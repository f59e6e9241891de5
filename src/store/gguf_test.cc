#include "store/gguf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "store/gguf_builder.h"
#include "store/temporary_folder.h"

namespace drover {
namespace {

class GgufTest : public testing::Test {
 protected:
  Result<Gguf> read(std::string_view bytes, GgufArrays arrays = GgufArrays::kSmall) {
    return Gguf::read(folder_.write("file.gguf", bytes), arrays);
  }
  // The error that reading `bytes` gives; "" if it gives none.
  std::string error_of(std::string_view bytes) {
    const Result<Gguf> gguf = read(bytes);
    if (gguf.ok()) return "";
    EXPECT_EQ(gguf.error().code, ErrorCode::kInvalidArgument);
    return gguf.error().message;
  }

  TemporaryFolder folder_;
};

TEST_F(GgufTest, RefusesWhatIsNoGguf) {
  for (const std::string bytes : {"", "G", "GGU", "GGML....", "{\"a\": 1}", "PK\x03\x04"}) {
    EXPECT_EQ(error_of(bytes), "supplied file was not in GGUF format") << bytes;
  }
  EXPECT_EQ(Gguf::read(folder_.path() / "missing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(Gguf::read(folder_.path()).error().message, "supplied file was not in GGUF format");
  std::filesystem::create_symlink(folder_.write("real", tiny_model().build()), folder_.path() / "link");
  EXPECT_FALSE(Gguf::read(folder_.path() / "link").ok());
}

TEST_F(GgufTest, RefusesOtherVersions) {
  for (const std::uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    GgufBuilder builder = tiny_model();
    builder.version = version;
    EXPECT_NE(error_of(builder.build()).find("not supported"), std::string::npos) << version;
  }
}

TEST_F(GgufTest, RefusesAFileCutShortAnywhere) {
  const std::string whole = tiny_model().build();
  ASSERT_EQ(error_of(whole), "");
  for (std::size_t size = 4; size < whole.size(); size += size < 1200 ? 1 : 97) {
    EXPECT_TRUE(error_of(whole.substr(0, size)).starts_with("GGUF file is truncated")) << size;
  }
}

TEST_F(GgufTest, KeepsArraysUpToABound) {
  const auto model = tiny_model()
                         .numbers("kept", std::vector<std::uint32_t>(kGgufSmallArrayMax, 7))
                         .numbers("dropped", std::vector<std::uint32_t>(kGgufSmallArrayMax + 1, 7));
  const Result<Gguf> gguf = read(model.build());
  ASSERT_TRUE(gguf.ok()) << gguf.error().message;
  ASSERT_TRUE(gguf->metadata().at("kept").is_array());
  EXPECT_EQ(gguf->metadata().at("kept").size(), kGgufSmallArrayMax);
  EXPECT_TRUE(gguf->metadata().at("dropped").is_null());
}

TEST_F(GgufTest, BoundsEveryCount) {
  const auto huge = std::uint64_t{1} << 60;
  EXPECT_NE(error_of(tiny_model().counts(huge, 1).build()).find("tensors"), std::string::npos);
  EXPECT_NE(error_of(tiny_model().counts(1, huge).build()).find("keys"), std::string::npos);
  EXPECT_NE(error_of(GgufBuilder().entry("k", 8, GgufBuilder::raw(huge)).build()), "");
  EXPECT_NE(error_of(GgufBuilder().entry("k", 9, GgufBuilder::raw(4u) + GgufBuilder::raw(huge)).build()), "");
  // A string or an array that the file is too short for must not be allocated first.
  EXPECT_NE(error_of(GgufBuilder().entry("k", 8, GgufBuilder::raw(kGgufStringBytesMax)).build()), "");
  EXPECT_NE(
      error_of(GgufBuilder().entry("k", 9, GgufBuilder::raw(10u) + GgufBuilder::raw(kGgufArrayElementsMax)).build()),
      "");
}

TEST_F(GgufTest, TensorsStandWhereTheFilesOwnAlignmentSays) {
  const auto two_tensors = [](std::uint32_t alignment, std::uint64_t second) {
    return GgufBuilder()
        .number("general.alignment", alignment)
        .tensor_at("a", {4}, 0, 0, 16)
        .tensor_at("b", {4}, 0, second, 64)
        .build();
  };
  EXPECT_EQ(error_of(two_tensors(16, 16)), "");
  EXPECT_EQ(error_of(two_tensors(8, 24)), "");
  EXPECT_NE(error_of(two_tensors(16, 24)).find("not aligned"), std::string::npos);
  EXPECT_NE(error_of(two_tensors(64, 32)).find("not aligned"), std::string::npos);
}

TEST_F(GgufTest, RefusesContradictions) {
  EXPECT_NE(error_of(GgufBuilder().number("a", 1).number("a", 2).build()).find("twice"), std::string::npos);
  EXPECT_NE(error_of(GgufBuilder().entry("a", 99, "").build()).find("unknown type"), std::string::npos);
  // Arrays in arrays.
  EXPECT_NE(error_of(GgufBuilder().entry("a", 9, GgufBuilder::raw(9u) + GgufBuilder::raw(std::uint64_t{1})).build()),
            "");
  EXPECT_NE(error_of(GgufBuilder().tensor("t", {64}, 31, 8).build()).find("unknown type"), std::string::npos);
  EXPECT_NE(error_of(GgufBuilder().tensor("t", {33}, 2, 64).build()).find("multiple"), std::string::npos);
  EXPECT_NE(error_of(GgufBuilder().tensor("t", {1, 1, 1, 1, 1}, 0, 64).build()).find("dimensions"), std::string::npos);
  const auto half = std::uint64_t{1} << 33;
  EXPECT_NE(error_of(GgufBuilder().tensor("t", {half, half}, 0, 64).build()).find("too large"), std::string::npos);
  EXPECT_NE(error_of(GgufBuilder().tensor("t", {half, half / 4}, 0, 64).build()), "");
  EXPECT_NE(error_of(GgufBuilder().tensor("t", {8}, 0, 32).tensor("t", {8}, 0, 32).build()).find("twice"),
            std::string::npos);
  EXPECT_NE(error_of(GgufBuilder().tensor_at("t", {8}, 0, 7, 64).build()).find("aligned"), std::string::npos);
  EXPECT_NE(error_of(GgufBuilder().tensor_at("t", {8}, 0, ~std::uint64_t{31}, 64).build()).find("truncated"),
            std::string::npos);
  for (const std::uint32_t alignment : {0u, 3u, 1u << 30}) {
    EXPECT_NE(error_of(GgufBuilder().number("general.alignment", alignment).build()).find("alignment"),
              std::string::npos);
  }
}

TEST_F(GgufTest, SurvivesDamagedFiles) {
  const std::string whole = tiny_model().build();
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = whole;
    for (int n = static_cast<int>(random() % 4); n >= 0; --n) {
      damaged[random() % 1000] = static_cast<char>(random() % 3 == 0 ? 0xFF : random());
    }
    const Result<Gguf> gguf = read(damaged);
    if (!gguf) continue;
    // What was accepted can be asked for everything, and printed.
    gguf->estimate_memory_bytes(~std::uint64_t{0}, ~std::uint64_t{0});
    ASSERT_FALSE(gguf->model_info().dump().empty());
  }
}

TEST_F(GgufTest, TellsWhatTheModelIs) {
  const Result<Gguf> gguf = read(tiny_model().build());
  ASSERT_TRUE(gguf.ok()) << gguf.error().message;
  EXPECT_EQ(gguf->architecture(), "llama");
  EXPECT_EQ(gguf->name(), "Tiny");
  EXPECT_EQ(gguf->quantization(), "F16");
  EXPECT_EQ(gguf->parameter_count(), 64u * 32 + 64);
  EXPECT_EQ(gguf->parameter_size(), "2K");
  EXPECT_EQ(gguf->context_length(), 2048u);
  EXPECT_EQ(gguf->embedding_length(), 64u);
  EXPECT_EQ(gguf->block_count(), 2u);
  EXPECT_EQ(gguf->head_count(), 4u);
  EXPECT_EQ(gguf->tensor_bytes(), 64u * 32 * 2 + 64 * 4);
  ASSERT_EQ(gguf->tensors().size(), 2u);
  EXPECT_EQ(gguf->tensors()[0].type, "F16");
  EXPECT_EQ(gguf->tensors()[1].name, "output_norm.weight");
  EXPECT_TRUE(gguf->has_fill_in_the_middle());
  EXPECT_TRUE(gguf->template_has_tools());
  EXPECT_TRUE(gguf->template_has_thinking());
  EXPECT_FALSE(gguf->is_embedding_model());
  EXPECT_FALSE(gguf->is_adapter());
  EXPECT_FALSE(gguf->is_projector());
}

TEST_F(GgufTest, KnowsTheKindsOfFile) {
  EXPECT_TRUE(read(GgufBuilder().text("general.type", "adapter").build())->is_adapter());
  EXPECT_TRUE(read(GgufBuilder().text("general.type", "mmproj").build())->is_projector());
  EXPECT_TRUE(read(GgufBuilder().text("general.architecture", "clip").boolean("clip.has_vision_encoder", true).build())
                  ->is_projector());
  EXPECT_TRUE(read(GgufBuilder().text("general.architecture", "bert").number("bert.pooling_type", 1).build())
                  ->is_embedding_model());
  EXPECT_EQ(read(GgufBuilder().build())->quantization(), "unknown");
  EXPECT_EQ(read(GgufBuilder().number("general.file_type", 15).build())->quantization(), "Q4_K_M");
  EXPECT_EQ(read(GgufBuilder().number("general.file_type", 5).build())->quantization(), "unknown");
  EXPECT_EQ(read(GgufBuilder().number("general.file_type", 4'000'000'000).build())->quantization(), "unknown");
}

TEST_F(GgufTest, ModelInfoIsAsOllamaGivesIt) {
  GgufBuilder builder = tiny_model();
  builder.texts("tokenizer.ggml.merges", std::vector<std::string>(5000, "a b"));
  const nlohmann::ordered_json info = read(builder.build())->model_info();
  EXPECT_TRUE(info.at("tokenizer.ggml.tokens").is_null());
  EXPECT_TRUE(info.at("tokenizer.ggml.merges").is_null());
  EXPECT_FALSE(info.contains("general.name"));
  EXPECT_FALSE(info.contains("tokenizer.chat_template"));
  EXPECT_EQ(info.at("general.parameter_count"), 64 * 32 + 64);
  EXPECT_EQ(info.at("llama.attention.layer_norm_rms_epsilon").dump(), "1e-05");
  EXPECT_EQ(info.begin().key(), "general.architecture");

  const nlohmann::ordered_json verbose = read(builder.build(), GgufArrays::kAll)->model_info();
  EXPECT_EQ(verbose.at("tokenizer.ggml.tokens").size(), 3u);
  EXPECT_EQ(verbose.at("tokenizer.ggml.merges").size(), 5000u);
}

TEST_F(GgufTest, MetadataIsValidUtf8) {
  const Result<Gguf> gguf = read(GgufBuilder().text("a", "x\xFF\xC0\x80y\xED\xA0\x80").text("\xFE", "é€😀").build());
  ASSERT_TRUE(gguf.ok());
  EXPECT_EQ(gguf->metadata().dump(), "{\"a\":\"x���y���\",\"�\":\"é€😀\"}");
}

TEST_F(GgufTest, EstimatesMemory) {
  const Result<Gguf> gguf = read(tiny_model().build());
  const std::uint64_t one = gguf->estimate_memory_bytes(1000, 1);
  // 2 layers × 2 KV heads × (16 + 16) elements × 2 bytes for each cell.
  EXPECT_EQ(gguf->estimate_memory_bytes(2000, 1) - one, 2u * 2 * 32 * 2 * 1000);
  EXPECT_EQ(gguf->estimate_memory_bytes(500, 4), gguf->estimate_memory_bytes(2000, 1));
  EXPECT_GT(one, gguf->tensor_bytes());
  EXPECT_EQ(gguf->estimate_memory_bytes(~std::uint64_t{0}, 2), ~std::uint64_t{0});

  GgufBuilder hybrid;
  hybrid.text("general.architecture", "h").number("h.block_count", 3).number("h.embedding_length", 64);
  hybrid.number("h.attention.head_count", 4).numbers("h.attention.head_count_kv", {0, 2, 0});
  hybrid.number("h.attention.key_length", 24).number("h.attention.value_length", 8);
  const Result<Gguf> mixed = read(hybrid.build());
  EXPECT_EQ(mixed->estimate_memory_bytes(11, 1) - mixed->estimate_memory_bytes(10, 1), 2u * (24 + 8) * 2);
}

// A real model, if one is named: what it says of itself must be there and plausible.
TEST_F(GgufTest, ReadsARealModel) {
  const char* path = std::getenv("DROVER_TEST_GGUF");
  if (path == nullptr) GTEST_SKIP() << "DROVER_TEST_GGUF is not set";
  const Result<Gguf> gguf = Gguf::read(path, GgufArrays::kAll);
  ASSERT_TRUE(gguf.ok()) << gguf.error().message;
  EXPECT_FALSE(gguf->architecture().empty());
  EXPECT_GT(gguf->parameter_count(), 0u);
  EXPECT_GT(gguf->context_length(), 0u);
  EXPECT_GT(gguf->block_count(), 0u);
  EXPECT_NE(gguf->quantization(), "unknown");
  EXPECT_GT(gguf->estimate_memory_bytes(4096, 1), gguf->file_bytes() / 2);
  ASSERT_NE(gguf->find("tokenizer.ggml.tokens"), nullptr);
  EXPECT_GT(gguf->find("tokenizer.ggml.tokens")->size(), 0u);
}

}  // namespace
}  // namespace drover
