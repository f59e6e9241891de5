#include "api/generation_request.h"

#include <gtest/gtest.h>

#include <thread>

#include "api/anthropic_request.h"
#include "api/openai_request.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

Model some_model() {
  Model model(*ModelName::parse("cria"), ModelConfig{});
  model.gguf = std::make_shared<Gguf>();
  model.capabilities = {Capability::kCompletion, Capability::kTools};
  return model;
}

struct Read {
  std::string error;
  int status = 0;
  Submission submission;
  Warnings warnings;
};

Read read(Endpoint endpoint, const Json& body, const Model& model = some_model()) {
  Read read;
  if (auto error =
          read_generation(endpoint, body, model, ThinkRule::kIgnore, Settings(), read.submission, read.warnings)) {
    read.error = error->error.message;
    read.status = error->status;
  }
  return read;
}

Read with_options(const char* options, const Model& model = some_model()) {
  return read(Endpoint::kGenerate, {{"prompt", "x"}, {"options", Json::parse(options)}}, model);
}

TEST(ReadOptions, WhatNoEngineTakesIsRefused) {
  EXPECT_EQ(with_options(R"({"num_thread": 100000})").error, "option \"num_thread\" must be at most 512");
  EXPECT_EQ(with_options(R"({"num_thread": 513})").status, 0) << "that of the error: 400";
  EXPECT_EQ(with_options(R"({"main_gpu": 1e18})").error, "option \"main_gpu\" must be at most 127");
  EXPECT_EQ(with_options(R"({"num_thread": "x"})").status, 0);
}

TEST(ReadOptions, MayStandBesideOptions) {
  const auto read_body = [](const Json& more) {
    Json body = {{"prompt", "x"}, {"think", false}};
    body.update(more);
    return read(Endpoint::kGenerate, body);
  };
  const auto temperature_of = [&](const Json& more) {
    return read_body(more).submission.work.sampling().temperature();
  };
  EXPECT_EQ(temperature_of({{"temperature", 0.5}}), 0.5f);
  EXPECT_EQ(temperature_of({{"temperature", 0.5}, {"options", {{"temperature", 0.25}}}}), 0.25f);
  EXPECT_EQ(temperature_of({{"temperature", 0.5}, {"options", {{"top_k", 1}}}}), 0.5f);
  EXPECT_EQ(temperature_of({{"temperature", nullptr}}), temperature_of(Json::object()));
  EXPECT_EQ(read_body({{"temperature", "hot"}}).error, "option \"temperature\" must be of type float32");
  EXPECT_EQ(read_body({{"unheard_of", "hot"}}).error, "");
}

TEST(ReadOptions, StopsAreCounted) {
  const auto error_of = [](const Json& stops) {
    return read(Endpoint::kGenerate, {{"prompt", "x"}, {"options", {{"stop", stops}}}}).error;
  };
  EXPECT_EQ(error_of(std::vector<std::string>(64, std::string(4096, 'x'))), "");
  EXPECT_EQ(error_of(std::vector<std::string>(65, "x")), "option \"stop\" must have at most 64 strings");
  EXPECT_EQ(error_of({"x", std::string(4097, 'x')}), "option \"stop\" must have strings of at most 4096 bytes");
  Model model = some_model();
  model.parameters = {{"stop", std::vector<std::string>(65, "x")}};
  EXPECT_EQ(with_options("{}", model).submission.work.stop_size(), 64);
}

TEST(ReadOptions, OthersAreKeptWithinTheirBounds) {
  Read found = with_options(
      R"({"num_batch": 2147483647, "num_ctx": 2147483647, "num_thread": 512, "num_keep": 2147483647,
          "top_k": -2147483648, "num_gpu": 2147483647, "temperature": 1e6, "repeat_penalty": 0,
          "num_predict": 2147483647})");
  EXPECT_EQ(found.error, "");
  const ModelTarget& target = found.submission.target;
  EXPECT_EQ(target.batch, kBatchMax);
  EXPECT_EQ(target.context_length, std::numeric_limits<int>::max());
  EXPECT_LE(target.threads, static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u)));
  EXPECT_GE(target.threads, 1);
  EXPECT_EQ(target.gpu_layers, std::numeric_limits<int>::max());
  const pb::Generate& work = found.submission.work;
  EXPECT_EQ(work.keep(), static_cast<std::uint32_t>(std::numeric_limits<int>::max()));
  EXPECT_EQ(work.sampling().top_k(), std::numeric_limits<int>::min());
  EXPECT_EQ(work.sampling().temperature(), 1e6f);
  EXPECT_EQ(work.sampling().repeat_penalty(), 1) << "none, instead of one that divides by nothing";
  EXPECT_GT(work.predict_max(), 0);
  found = with_options(R"({"num_batch": -1, "num_ctx": -5, "num_thread": -1, "num_gpu": -1})");
  EXPECT_EQ(found.submission.target.batch, 0);
  EXPECT_EQ(found.submission.target.context_length, 0);
  EXPECT_EQ(found.submission.target.threads, 0);
  EXPECT_EQ(found.submission.target.gpu_layers, -1);
}

TEST(ReadOptions, AModelsOwnMayBeAnything) {
  Model model = some_model();
  model.parameters = {{"num_thread", 100'000}, {"num_batch", std::int64_t{1} << 60}, {"main_gpu", 1000}};
  const Read found = with_options("{}", model);
  EXPECT_EQ(found.error, "");
  EXPECT_LE(found.submission.target.threads, kThreadsMax);
  EXPECT_EQ(found.submission.target.batch, kBatchMax);
  EXPECT_EQ(found.submission.target.main_gpu, kMainGpuMax);
}

const Json kReversed =
    Json::parse(R"({"type":"object","properties":{"x":{"type":"string","minLength":5,"maxLength":2}}})");
constexpr const char* kReversedText = "invalid format: #/properties/x: minLength 5 is greater than maxLength 2";

TEST(ReadFormat, ASchemaThatTheEngineWouldNotSurviveIsRefusedInEveryDialect) {
  EXPECT_EQ(read(Endpoint::kGenerate, {{"prompt", "x"}, {"format", kReversed}}).error, kReversedText);
  const Json messages = Json::array({{{"role", "user"}, {"content", "x"}}});
  EXPECT_EQ(read(Endpoint::kChat, {{"messages", messages}, {"format", kReversed}}).error, kReversedText);
  const Json format = {{"type", "json_schema"}, {"json_schema", {{"name", "x"}, {"schema", kReversed}}}};
  const Json flat = {{"type", "json_schema"}, {"name", "x"}, {"schema", kReversed}};
  const auto translated = [](Result<Translated> result) {
    return result ? read(Endpoint::kChat, result->body).error : result.error().message;
  };
  EXPECT_EQ(translated(translate_openai_chat({{"model", "m"}, {"messages", messages}, {"response_format", format}})),
            kReversedText);
  EXPECT_EQ(translated(translate_openai_response({{"model", "m"}, {"input", "x"}, {"text", {{"format", flat}}}})),
            kReversedText);
  EXPECT_EQ(translated(translate_anthropic_message(
                {{"model", "m"}, {"max_tokens", 5}, {"messages", messages}, {"output_config", {{"format", flat}}}})),
            kReversedText);
}

TEST(ReadFormat, WhatIsNoneIsNotRepeatedAtLength) {
  const Read found = read(Endpoint::kGenerate, {{"prompt", "x"}, {"format", std::string(100'000, 'x')}});
  EXPECT_EQ(found.status, 0) << "that of the error: 400";
  EXPECT_LT(found.error.size(), 1200U);
}

TEST(ReadTools, TheirParametersAreChecked) {
  const Json tool = {{"type", "function"}, {"function", {{"name", "f"}, {"parameters", kReversed}}}};
  const Json messages = Json::array({{{"role", "user"}, {"content", "x"}}});
  EXPECT_EQ(read(Endpoint::kChat, {{"messages", messages}, {"tools", Json::array({tool})}}).error,
            "tools[0].function.parameters: #/properties/x: minLength 5 is greater than maxLength 2");
  EXPECT_EQ(read(Endpoint::kChat, {{"messages", messages}, {"tools", Json::parse("[[[]]]")}}).error,
            "tools[0] must be an object");
}

TEST(ReadTools, AreReadAsGoAndPythonWriteThem) {
  const Json messages = Json::array({{{"role", "user"}, {"content", "x"}}});
  const auto tools_of = [&](const char* tool) {
    const Read found = read(Endpoint::kChat, {{"messages", messages}, {"tools", Json::array({Json::parse(tool)})}});
    return found.error.empty() ? found.submission.work.chat().tools_json() : found.error;
  };
  const std::string plain = R"([{"type":"function","function":{"name":"f"}}])";
  const std::pair<const char*, std::string> rows[] = {
      {R"({"type":"function","function":{"name":"f"}})", plain},
      {R"({"type":"function","function":{"name":"f","description":null,"parameters":null}})", plain},
      {R"({"type":"","function":{"name":"f"}})", plain},
      {R"({"function":{"name":"f"}})", R"([{"function":{"name":"f"},"type":"function"}])"},
      {R"({"type":"web_search"})", ""},
      {R"({"type":"function"})", "a tool of the type \"function\" needs a name"},
      {R"({"type":"function","function":{"name":null}})", "a tool of the type \"function\" needs a name"},
      {R"({"type":"function","function":{"name":"f","parameters":"x"}})",
       "json: cannot unmarshal string into Go struct field ToolFunction.parameters of type object"},
  };
  for (const auto& [tool, expected] : rows) EXPECT_EQ(tools_of(tool), expected) << tool;
}

TEST(ReadMessages, TheArgumentsOfAllCallsTogetherAreBounded) {
  const Json call = {{"function", {{"name", "f"}, {"arguments", {{"a", std::vector<int>(100'000)}}}}}};
  const auto body = [&](int calls) {
    const Json message = {{"role", "assistant"}, {"content", ""}, {"tool_calls", std::vector<Json>(calls, call)}};
    return Json{{"messages", Json::array({message})}};
  };
  EXPECT_EQ(read(Endpoint::kChat, body(2)).error, "");
  EXPECT_EQ(read(Endpoint::kChat, body(3)).error, "tool call arguments: more than 262144 values in all");
}

}  // namespace
}  // namespace drover::api
