#include "engine/engine_library.h"

#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>

#include "engine/engine_log.h"
#include "engine/kernel_check.h"
#include "engine/struct_size.h"

namespace drover {
namespace {

TEST(EngineLibrary, IsTheOneThatThisProgramWasBuiltFor) {
  const auto engine = inspect_engine("");
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  EXPECT_TRUE(engine->unloadable.empty()) << engine->unloadable.front();
  ASSERT_FALSE(engine->variants.empty());
  EXPECT_TRUE(std::is_sorted(engine->variants.begin(), engine->variants.end(),
                             [](const CpuVariant& a, const CpuVariant& b) { return a.score > b.score; }));
  EXPECT_GE(engine->threads, 1);
  EXPECT_NE(engine->line().find("engine llama.cpp v"), std::string::npos) << engine->line();
  EXPECT_NE(engine->line().find("variant " + engine->variants.front().name), std::string::npos) << engine->line();
}

TEST(EngineLibrary, AVariantThatIsAskedForComesFirst) {
  const auto all = inspect_engine("auto");
  ASSERT_TRUE(all.ok());
  for (const CpuVariant& variant : all->variants) {
    const auto engine = inspect_engine(variant.name);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    EXPECT_EQ(engine->variants.front().name, variant.name);
    EXPECT_EQ(engine->variants.size(), all->variants.size());
  }
}

TEST(EngineLibrary, AnUnknownVariantIsAnErrorThatNamesTheOthers) {
  const auto all = inspect_engine("");
  const auto engine = inspect_engine("pentium");
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(engine.error().message.find("\"pentium\": there is no such variant"), std::string::npos);
  for (const CpuVariant& variant : all->variants) {
    EXPECT_NE(engine.error().message.find(variant.name), std::string::npos) << engine.error().message;
  }
}

// ---- sizes

struct Ours {
  std::int64_t first;
  std::int64_t second;
  std::int64_t third;
};
struct Larger {
  Ours ours;
  bool more;
};
struct Smaller {
  std::int64_t first;
  std::int64_t second;
  std::int32_t third;
};
Ours same() {
  return {1, 2, -1};
}
Larger larger() {
  return {{1, 2, -1}, true};
}
Smaller smaller() {
  return {1, 2, 3};
}

template <typename T>
std::size_t size_as_seen_by_us(T (*theirs)()) {
  return struct_size_in_library(reinterpret_cast<Ours (*)()>(reinterpret_cast<void*>(theirs)));
}

TEST(StructSize, IsTheLibrarysOwn) {
  EXPECT_EQ(size_as_seen_by_us(same), sizeof(Ours));
  EXPECT_EQ(size_as_seen_by_us(larger), sizeof(Larger));
  EXPECT_EQ(size_as_seen_by_us(smaller), 24u);  // 20 bytes, rounded up
  EXPECT_EQ(struct_size_in_library(llama_context_default_params), (sizeof(llama_context_params) + 7) / 8 * 8);
}

// ---- kernels

TEST(KernelCheck, CriasKernelsAreRightInEachVariant) {
  set_up_engine_log();
  const auto engine = inspect_engine("");
  ASSERT_TRUE(engine.ok());
  for (const CpuVariant& variant : engine->variants) {
    ASSERT_TRUE(use_variant(variant).ok());
    EXPECT_EQ(wrong_kernel({DROVER_CRIA}, true), "") << variant.name;
    EXPECT_EQ(wrong_kernel({DROVER_CRIA}, false), "") << variant.name;
  }
  const auto chosen = choose_kernels(engine->variants, {DROVER_CRIA});
  ASSERT_TRUE(chosen.ok()) << chosen.error().message;
  EXPECT_EQ(chosen->variant.name, engine->variants.front().name);
  EXPECT_TRUE(chosen->packed);
}

TEST(KernelCheck, AFileThatCannotBeReadIsLeftToTheLoader) {
  const auto engine = inspect_engine("");
  ASSERT_TRUE(engine.ok());
  EXPECT_TRUE(choose_kernels(engine->variants, {"/nonexistent.gguf"}).ok());
}

TEST(KernelCheck, WithoutAVariantThereIsAnError) {
  const auto chosen = choose_kernels({}, {DROVER_CRIA});
  ASSERT_FALSE(chosen.ok());
  EXPECT_NE(chosen.error().message.find("no variant of the engine"), std::string::npos);
}

}  // namespace
}  // namespace drover
