#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "store/model_store_fixture.h"

namespace drover {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
class ModelCreateTest : public ModelStoreTest {};

TEST_F(ModelCreateTest, CreateRefusesWhatMakesNoModel) {
  const std::string good = put(tiny_model().build()).to_string();
  CreateSpec spec(name_of("m"));
  EXPECT_EQ(create_error(spec), "neither 'from' or 'files' was specified");
  for (const char* path : {"/etc/passwd", "../x.gguf", "a/../../x", "", "a//b", ".", "a\\b", "C:x"}) {
    spec.files = {{path, good}};
    EXPECT_EQ(create_error(spec), "file path must be relative") << path;
  }
  spec.files = {{"m.gguf", "sha256:../../etc/passwd"}};
  EXPECT_EQ(create_error(spec), "invalid digest format");
  spec.files = {{"m.gguf", Digest::of("nothing").to_string()}};
  EXPECT_TRUE(create_error(spec).starts_with("blob not found for m.gguf"));
  spec.files = {{"m.gguf", put("{}").to_string()}};
  EXPECT_EQ(create_error(spec), "supplied file was not in GGUF format");
  spec.files = {{"m.gguf", put(tiny_model().build().substr(0, 2000)).to_string()}};
  EXPECT_TRUE(create_error(spec).starts_with("GGUF file is truncated"));
  spec.files = {{"m.gguf", put(GgufBuilder().text("general.architecture", "llama").build()).to_string()}};
  EXPECT_EQ(create_error(spec), "m.gguf has no weights");
  spec.files = {{"a.gguf", put(GgufBuilder().text("general.type", "adapter").build()).to_string()}};
  EXPECT_NE(create_error(spec).find("only adapters"), std::string::npos);
  spec.files = {{"a.gguf", good}, {"b.gguf", good}};
  EXPECT_NE(create_error(spec).find("several models"), std::string::npos);

  spec.files = {{"m.gguf", good}};
  spec.adapters = {{"a", good}, {"b", good}};
  EXPECT_EQ(create_error(spec), "only one adapter is currently supported");
  spec.adapters = {{"a", good}};
  EXPECT_EQ(create_error(spec), "a is not an adapter");
  spec.adapters.clear();
  spec.parameters = {{"num_ctx", "big"}};
  EXPECT_EQ(create_error(spec), "option \"num_ctx\" must be of type integer");
  spec.parameters = {{"num_thread", 100'000}};
  EXPECT_EQ(create_error(spec), "option \"num_thread\" must be at most 512");
  spec.parameters = nullptr;
  spec.messages = {{{"content", "x"}}};
  EXPECT_EQ(create_error(spec), "a message must have a role");
  spec.messages = nullptr;
  spec.quantize = "q4_x";
  EXPECT_TRUE(create_error(spec).starts_with("unsupported quantization type q4_x - supported types are F32, "));
  spec.quantize.clear();
  EXPECT_EQ(create_error(CreateSpec(spec)), "");
  EXPECT_TRUE(store_->exists(name_of("m")));

  CreateSpec missing(name_of("n"));
  missing.from = name_of("missing");
  EXPECT_EQ(create(missing).error().code, ErrorCode::kNotFound);
}

TEST_F(ModelCreateTest, CreatesFromAFile) {
  const std::string bytes = tiny_model().build();
  CreateSpec spec(name_of("ana/Mine:1"));
  spec.files = {{"tiny.gguf", put(bytes).to_string()}};
  spec.system = "Be brief.";
  spec.parameters = {{"temperature", 0}, {"stop", {"<|im_end|>"}}};
  spec.messages = {{{"role", "user"}, {"content", "hi"}}};
  spec.licenses = {"MIT", "Apache"};
  ASSERT_TRUE(create(spec).ok());

  ASSERT_EQ(statuses_.size(), 9u);
  EXPECT_EQ(statuses_[0], "parsing GGUF");
  EXPECT_EQ(statuses_[1], "using existing layer " + Digest::of(bytes).to_string());
  EXPECT_EQ(statuses_[2], "creating new layer " + Digest::of("Be brief.").to_string());
  EXPECT_EQ(statuses_[7], "writing manifest");
  EXPECT_EQ(statuses_[8], "success");

  const std::string manifest = folder_.read("manifests/registry.ollama.ai/ana/Mine/1");
  const auto model = find("ana/mine:1");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->name.display_shortest(), "ana/Mine:1");
  EXPECT_EQ(model->digest, Digest::of(manifest));
  EXPECT_EQ(model->model_path, folder_.path() / "blobs" / Digest::of(bytes).file_name());
  EXPECT_EQ(model->system, "Be brief.");
  EXPECT_EQ(model->parameters.dump(), R"({"temperature":0.0,"stop":["<|im_end|>"]})");
  EXPECT_EQ(model->messages.dump(), R"([{"role":"user","content":"hi"}])");
  EXPECT_EQ(model->licenses, (std::vector<std::string>{"MIT", "Apache"}));
  EXPECT_FALSE(model->template_text.has_value());
  EXPECT_EQ(model->config.format, "gguf");
  EXPECT_EQ(model->config.family, "llama");
  EXPECT_EQ(model->config.families, std::vector<std::string>{"llama"});
  EXPECT_EQ(model->config.parameter_size, "2K");
  EXPECT_EQ(model->config.quantization, "F16");
  EXPECT_EQ(model->config.json.at("architecture"), "amd64");
  EXPECT_EQ(model->config.json.at("rootfs").at("diff_ids").size(), 6u);
  EXPECT_GT(model->size, bytes.size());
  EXPECT_TRUE(model->can(Capability::kCompletion));
  EXPECT_TRUE(model->can(Capability::kTools));
  EXPECT_TRUE(model->can(Capability::kThinking));
  EXPECT_TRUE(model->can(Capability::kInsert));
  EXPECT_FALSE(model->can(Capability::kVision));
  struct stat status {};
  ASSERT_EQ(::stat(model->model_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST_F(ModelCreateTest, CreatesFromAnotherModel) {
  import("base");
  CreateSpec first(name_of("first"));
  first.from = name_of("base");
  first.system = "one";
  first.template_text = "{{ .Prompt }}";
  first.parameters = {{"temperature", 0.5}, {"top_k", 3}};
  first.licenses = {"MIT"};
  ASSERT_TRUE(create(first).ok());
  CreateSpec second(name_of("second"));
  second.from = name_of("FIRST");
  second.system = "two";
  second.parameters = {{"temperature", 1.5}};
  second.licenses = {"more"};
  second.requires_version = "0.14.0";
  ASSERT_TRUE(create(second).ok());

  const auto model = find("second");
  EXPECT_EQ(model->system, "two");
  EXPECT_EQ(model->template_text, "{{ .Prompt }}");
  EXPECT_EQ(model->parameters.dump(), R"({"temperature":1.5,"top_k":3})");
  EXPECT_EQ(model->licenses, (std::vector<std::string>{"MIT", "more"}));
  EXPECT_EQ(model->config.requires_version, "0.14.0");
  EXPECT_EQ(model->parent_model, "FIRST:latest");
  EXPECT_EQ(model->model_path, find("base")->model_path);
  EXPECT_EQ(model->gguf, find("base")->gguf) << "one file is read once";

  // A model made again from itself keeps its weights.
  CreateSpec again(name_of("second"));
  again.from = name_of("second");
  again.system = "three";
  ASSERT_TRUE(create(again).ok());
  EXPECT_EQ(find("second")->system, "three");
  EXPECT_FALSE(store_->blobs().has(Digest::of("two")));
  EXPECT_TRUE(store_->blobs().has(Digest::of("one")));
}

TEST_F(ModelCreateTest, TakesAnAdapter) {
  import("base");
  CreateSpec spec(name_of("tuned"));
  spec.from = name_of("base");
  spec.adapters = {{"lora.gguf", put(GgufBuilder().text("general.type", "adapter").build()).to_string()}};
  ASSERT_TRUE(create(spec).ok());
  EXPECT_EQ(find("tuned")->adapter_paths.size(), 1u);
}

TEST_F(ModelCreateTest, RefusesAnAdapterForOtherModels) {
  import("base");
  CreateSpec spec(name_of("tuned"));
  spec.from = name_of("base");
  const std::string adapter =
      GgufBuilder().text("general.type", "adapter").text("general.architecture", "qwen2").build();
  spec.adapters = {{"lora.gguf", put(adapter).to_string()}};
  EXPECT_EQ(create_error(spec), "lora.gguf is an adapter for qwen2 models, and this is a llama model");
}

TEST_F(ModelCreateTest, WhatTheEngineDiesOfIsRefused) {
  import("base");
  CreateSpec spec(name_of("new"));
  spec.files = {{"m.gguf", put(tiny_model().real("llama.rope.freq_base", -1).build()).to_string()}};
  EXPECT_EQ(create_error(spec), "llama.rope.freq_base is -1, and must be a number from 0 on");
  CreateSpec adapted(name_of("new"));
  adapted.from = name_of("base");
  const std::string adapter = GgufBuilder()
                                  .text("general.type", "adapter")
                                  .text("general.architecture", "llama")
                                  .number("adapter.lora.alpha", 4)
                                  .build();
  adapted.adapters = {{"lora.gguf", put(adapter).to_string()}};
  EXPECT_EQ(create_error(adapted), "adapter.lora.alpha must be a 32-bit float");
}

// Part `number`, from 0, of a model that is split.
std::string part_of_model(std::uint16_t number, std::uint32_t count = 3, std::uint32_t tensors = 4) {
  GgufBuilder builder = number == 0 ? tiny_model("Split") : GgufBuilder();
  builder.short_number("split.no", number).number("split.count", count).number("split.tensors.count", tensors);
  if (number > 0) builder.tensor("part" + std::to_string(number) + ".weight", {64}, 0, 64 * 4);
  return builder.build();
}

TEST_F(ModelCreateTest, TakesASplitModelInAnyOrder) {
  CreateSpec spec(name_of("split"));
  for (const std::uint16_t number : {2, 0, 1}) {
    // In the order of their names, the last part is the first.
    spec.files.emplace_back("part-" + std::to_string(9 - number), put(part_of_model(number)).to_string());
  }
  ASSERT_TRUE(create(spec).ok());
  const auto model = find("split");
  EXPECT_EQ(model->model_digest, Digest::of(part_of_model(0)));
  EXPECT_EQ(model->shard_paths, (std::vector<fs::path>{store_->blobs().path(Digest::of(part_of_model(1))),
                                                       store_->blobs().path(Digest::of(part_of_model(2)))}));
  EXPECT_EQ(model->gguf->tensors().size(), 4u);
  EXPECT_EQ(model->gguf->parameter_count(), 64 * 32 + 64 + 64 + 64u);
  EXPECT_EQ(model->config.parameter_size, "2K");
  EXPECT_EQ(model->config.requires_version, "0.35.0");
  const Result<Gguf> all = read_gguf(*model, GgufArrays::kAll);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->tensors().size(), 4u);
  EXPECT_EQ(all->find("tokenizer.ggml.tokens")->size(), 3u);
  EXPECT_NE(show_modelfile(*model).find("FROM " + model->shard_paths.back().string()), std::string::npos);

  // Another program may have listed the parts in any order.
  const fs::path place = folder_.path() / "manifests" / name_of("split").manifest_path();
  nlohmann::ordered_json manifest = nlohmann::ordered_json::parse(std::ifstream(place));
  std::reverse(manifest["layers"].begin(), manifest["layers"].end());
  write_manifest((name_of("reversed").manifest_path()).string(), manifest.dump());
  EXPECT_EQ(find("reversed")->model_digest, model->model_digest);
  EXPECT_EQ(find("reversed")->shard_paths, model->shard_paths);

  // A model made from it is split too.
  CreateSpec derived(name_of("derived"));
  derived.from = name_of("split");
  derived.system = "one";
  ASSERT_TRUE(create(derived).ok());
  EXPECT_EQ(find("derived")->shard_paths, model->shard_paths);
  fs::remove(model->shard_paths.back());
  ASSERT_TRUE(store_->copy(name_of("derived"), name_of("copy")).ok());
  const auto broken = store_->find(name_of("copy"));
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find("not found"), std::string::npos) << broken.error().message;
}

TEST_F(ModelCreateTest, RefusesPartsThatAreNoModel) {
  const auto error_of = [this](const std::vector<std::string>& parts) {
    CreateSpec spec(name_of("split"));
    for (const std::string& part : parts) {
      spec.files.emplace_back("part-" + std::to_string(spec.files.size()), put(part).to_string());
    }
    return create_error(spec);
  };
  EXPECT_EQ(error_of({part_of_model(0), part_of_model(2)}), "invalid split GGUF: part 2 of 3 is missing");
  EXPECT_EQ(error_of({part_of_model(1), part_of_model(2)}), "invalid split GGUF: part 1 of 3 is missing");
  EXPECT_EQ(error_of({part_of_model(0)}), "invalid split GGUF: part 2 of 3 is missing");
  EXPECT_EQ(error_of({part_of_model(0), part_of_model(1), part_of_model(1, 3, 5), part_of_model(2)}),
            "invalid split GGUF: part 2 is there twice");
  EXPECT_EQ(error_of({part_of_model(0), part_of_model(1, 2)}),
            "invalid split GGUF: one file is of a model of 3 parts, another of one of 2");
  EXPECT_EQ(error_of({part_of_model(0, 2, 9), part_of_model(1, 2, 9)}),
            "invalid split GGUF: it should have 9 tensors, and its parts have 3");
  EXPECT_EQ(error_of({part_of_model(0, 2), part_of_model(7, 2)}), "invalid split GGUF: there is no part 8");
  const std::string odd = GgufBuilder().number("split.no", 1).number("split.count", 2).build();
  EXPECT_EQ(error_of({part_of_model(0, 2), odd}), "invalid split GGUF: split.no must be a 16-bit number");
  EXPECT_EQ(error_of({tiny_model().build(), part_of_model(1, 3)}),
            "several models were given; a model is created from one");
}

TEST_F(ModelCreateTest, Quantizes) {
  import("base");
  const std::string made = GgufBuilder()
                               .text("general.architecture", "llama")
                               .number("general.file_type", 7)
                               .tensor("output_norm.weight", {64}, 0, 64 * 4)
                               .build();
  QuantizeWork work;
  const auto quantizer = [&](const QuantizeWork& given, const std::function<void(double)>& progress) -> Result<void> {
    work = given;
    progress(0.5);
    std::ofstream(work.target, std::ios::binary) << made;
    return {};
  };
  CreateSpec spec(name_of("small"));
  spec.from = name_of("base");
  spec.quantize = "q8_0";
  std::vector<CreateStatus> statuses;
  const auto report = [&](const CreateStatus& status) { statuses.push_back(status); };
  ASSERT_TRUE(store_->create(spec, report, quantizer).ok());
  EXPECT_EQ(work.sources, std::vector<fs::path>{find("base")->model_path});
  EXPECT_EQ(work.file_type, 7u);
  EXPECT_FALSE(fs::exists(work.target));
  EXPECT_EQ(find("small")->model_digest, Digest::of(made));
  EXPECT_EQ(find("small")->config.quantization, "Q8_0");
  EXPECT_EQ(find("small")->parent_model, "base:latest");
  const std::uint64_t total = fs::file_size(find("base")->model_path);
  ASSERT_GE(statuses.size(), 4u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(statuses[i].status, "quantizing F16 model to Q8_0");
    EXPECT_EQ(statuses[i].total, total);
    EXPECT_EQ(statuses[i].completed, total * i / 2);
  }
  EXPECT_EQ(statuses[3].status, "creating new layer " + Digest::of(made).to_string());

  // What is quantized already is not done again; what is of the wanted type stays as it is.
  spec.name = name_of("smaller");
  spec.from = name_of("small");
  EXPECT_EQ(store_->create(spec, report, quantizer).error().message,
            "quantization is only supported for F16, BF16 and F32 models");
  spec.from = name_of("base");
  spec.quantize = "f16";
  ASSERT_TRUE(store_->create(spec, report, nullptr).ok());
  EXPECT_EQ(find("smaller")->model_digest, find("base")->model_digest);
}

TEST_F(ModelCreateTest, AFailedQuantizationLeavesNothing) {
  import("base");
  const std::size_t before = count_blobs();
  CreateSpec spec(name_of("small"));
  spec.from = name_of("base");
  spec.quantize = "Q4_K_M";
  const auto fails = [&](const QuantizeWork& work, const auto&) -> Result<void> {
    std::ofstream(work.target) << "half";
    return Error{ErrorCode::kNoSpace, "no space left on device"};
  };
  EXPECT_EQ(store_->create(spec, nullptr, fails).error().message, "no space left on device");
  const auto lies = [&](const QuantizeWork& work, const auto&) -> Result<void> {
    std::ofstream(work.target) << "not a model";
    return {};
  };
  EXPECT_EQ(store_->create(spec, nullptr, lies).error().message, "supplied file was not in GGUF format");
  EXPECT_FALSE(store_->exists(name_of("small")));
  EXPECT_LE(count_blobs(), before + 1);
}

}  // namespace
}  // namespace drover
