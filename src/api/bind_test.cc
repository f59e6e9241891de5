#include "api/bind.h"

#include <gtest/gtest.h>

#include <thread>

#include "api/anthropic_request.h"
#include "api/error_status.h"
#include "api/ollama_request.h"
#include "api/openai_request.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

using ReadBody = Result<Request> (*)(Json body);

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
};

// What is submitted for a body, or the first error.
Read read(ReadBody read_body, const Json& body, const Model& model = some_model()) {
  Read read;
  const auto fail = [&](const Error& error) {
    read.error = error.message;
    read.status = http_status(error);
  };
  auto request = read_body(body);
  if (!request) {
    fail(request.error());
    return read;
  }
  auto bound = bind_ask(request->ask, std::make_shared<const Model>(model), Settings());
  if (bound) {
    read.submission = std::move(*bound);
  } else {
    fail(bound.error());
  }
  return read;
}

Read with_options(const char* options, const Model& model = some_model()) {
  return read(read_ollama_generate, {{"prompt", "x"}, {"options", Json::parse(options)}}, model);
}

TEST(ReadOptions, WhatNoEngineTakesIsRefused) {
  EXPECT_EQ(with_options(R"({"num_thread": 100000})").error, "option \"num_thread\" must be at most 512");
  EXPECT_EQ(with_options(R"({"num_thread": 513})").status, 400);
  EXPECT_EQ(with_options(R"({"main_gpu": 1e18})").error, "option \"main_gpu\" must be at most 127");
  EXPECT_EQ(with_options(R"({"num_thread": "x"})").error, "option \"num_thread\" must be of type integer");
}

TEST(ReadOptions, StopsAreCounted) {
  const auto error_of = [](const Json& stops) {
    return read(read_ollama_generate, {{"prompt", "x"}, {"options", {{"stop", stops}}}}).error;
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
  EXPECT_EQ(read(read_ollama_generate, {{"prompt", "x"}, {"format", kReversed}}).error, kReversedText);
  const Json messages = Json::array({{{"role", "user"}, {"content", "x"}}});
  EXPECT_EQ(read(read_ollama_chat, {{"messages", messages}, {"format", kReversed}}).error, kReversedText);
  const Json format = {{"type", "json_schema"}, {"json_schema", {{"name", "x"}, {"schema", kReversed}}}};
  const Json flat = {{"type", "json_schema"}, {"name", "x"}, {"schema", kReversed}};
  EXPECT_EQ(read(read_openai_chat, {{"model", "m"}, {"messages", messages}, {"response_format", format}}).error,
            kReversedText);
  EXPECT_EQ(read(read_openai_response, {{"model", "m"}, {"input", "x"}, {"text", {{"format", flat}}}}).error,
            kReversedText);
  EXPECT_EQ(read(read_anthropic_message,
                 {{"model", "m"}, {"max_tokens", 5}, {"messages", messages}, {"output_config", {{"format", flat}}}})
                .error,
            kReversedText);
}

TEST(ReadFormat, WhatIsNoneIsNotRepeatedAtLength) {
  const Read found = read(read_ollama_generate, {{"prompt", "x"}, {"format", std::string(100'000, 'x')}});
  EXPECT_EQ(found.status, 400);
  EXPECT_LT(found.error.size(), 1200U);
}

TEST(ReadTools, TheirParametersAreChecked) {
  const Json tool = {{"type", "function"}, {"function", {{"name", "f"}, {"parameters", kReversed}}}};
  const Json messages = Json::array({{{"role", "user"}, {"content", "x"}}});
  EXPECT_EQ(read(read_ollama_chat, {{"messages", messages}, {"tools", Json::array({tool})}}).error,
            "tools[0].function.parameters: #/properties/x: minLength 5 is greater than maxLength 2");
  EXPECT_EQ(read(read_ollama_chat, {{"messages", messages}, {"tools", Json::parse("[[[]]]")}}).error,
            "a tool must be an object");
}

TEST(ReadMessages, TheArgumentsOfAllCallsTogetherAreBounded) {
  const Json call = {{"function", {{"name", "f"}, {"arguments", {{"a", std::vector<int>(100'000)}}}}}};
  const auto body = [&](int calls) {
    const Json message = {{"role", "assistant"}, {"content", ""}, {"tool_calls", std::vector<Json>(calls, call)}};
    return Json{{"messages", Json::array({message})}};
  };
  EXPECT_EQ(read(read_ollama_chat, body(2)).error, "");
  EXPECT_EQ(read(read_ollama_chat, body(3)).error, "tool call arguments: more than 262144 values in all");
}

// ---- what a model says where the request does not

const Json kHello = Json::array({{{"role", "user"}, {"content", "Hello"}}});

std::string roles(const Read& read) {
  EXPECT_EQ(read.error, "");
  std::string all;
  for (const pb::Message& message : read.submission.work.chat().messages()) {
    all += message.role() + ":" + message.content() + " ";
  }
  return all;
}

Model talkative_model() {
  Model model = some_model();
  model.system = "Be brief.";
  model.messages = Json::parse(R"([{"role":"user","content":"1?"},{"role":"assistant","content":"2"}])");
  return model;
}

TEST(Bind, TheModelsMessagesComeFirst) {
  const Model model = talkative_model();
  EXPECT_EQ(roles(read(read_ollama_chat, {{"messages", kHello}}, model)),
            "system:Be brief. user:1? assistant:2 user:Hello ");
  const Json own = Json::array({{{"role", "system"}, {"content", "Rhyme."}}, kHello[0]});
  EXPECT_EQ(roles(read(read_ollama_chat, {{"messages", own}}, model)), "user:1? assistant:2 system:Rhyme. user:Hello ");
  EXPECT_EQ(roles(read(read_ollama_chat, {{"messages", kHello}})), "user:Hello ");
  EXPECT_EQ(roles(read(read_ollama_generate, {{"prompt", "Hello"}}, model)),
            "system:Be brief. user:1? assistant:2 user:Hello ");
  EXPECT_EQ(roles(read(read_ollama_generate, {{"prompt", "Hello"}, {"system", "Rhyme."}, {"context", {1, 2}}}, model)),
            "system:Rhyme. user:Hello ");
}

TEST(Bind, WhatTheModelCannotDoIsRefused) {
  Model model = some_model();
  model.capabilities = {Capability::kCompletion};
  const Json tools = Json::parse(R"([{"type":"function","function":{"name":"f"}}])");
  const std::string name = model.name.full();
  EXPECT_EQ(read(read_ollama_chat, {{"messages", kHello}, {"tools", tools}}, model).error,
            name + " does not support tools");
  EXPECT_EQ(read(read_ollama_chat, {{"messages", kHello}, {"tools", tools}, {"tool_choice", "none"}}, model).error,
            name + " does not support tools");
  EXPECT_EQ(read(read_ollama_chat, {{"messages", kHello}, {"think", true}}, model).error,
            "\"cria:latest\" does not support thinking");
  EXPECT_EQ(read(read_ollama_chat, {{"messages", kHello}, {"think", false}}, model).error, "");
  const Json lenient = {{"model", "m"}, {"messages", kHello}, {"enable_thinking", true}};
  const Read ignored = read(read_openai_chat, lenient, model);
  EXPECT_EQ(ignored.error, "");
  EXPECT_EQ(ignored.submission.work.chat().thinking(), pb::THINKING_UNSET);
  EXPECT_EQ(read(read_ollama_generate, {{"prompt", "a"}, {"suffix", "b"}}, model).error,
            name + " does not support insert");
  model.capabilities = {Capability::kEmbedding};
  EXPECT_EQ(read(read_ollama_chat, {{"messages", kHello}}, model).error, "\"cria:latest\" does not support chat");
  EXPECT_EQ(read(read_ollama_generate, {{"prompt", "a"}}, model).error, "\"cria:latest\" does not support generate");
  EXPECT_EQ(read(read_ollama_generate, {{"keep_alive", 0}}, model).error, "") << "any model can be unloaded";
  model.family_renderer = "no-such-renderer";
  EXPECT_EQ(read(read_ollama_generate, {{"prompt", "a"}}, model).status, 500) << "the request is not at fault";
}

TEST(Bind, AModelThatCanThinkDoesUnlessItIsToldOtherwise) {
  Model model = some_model();
  model.capabilities = {Capability::kCompletion, Capability::kThinking};
  const auto thinking = [&](const Json& body) {
    const Read found = read(read_ollama_chat, body, model);
    EXPECT_EQ(found.error, "");
    const pb::Chat& chat = found.submission.work.chat();
    return std::pair(chat.thinking(), chat.think_level());
  };
  const Json plain = {{"messages", kHello}};
  EXPECT_EQ(thinking(plain), std::pair(pb::THINKING_ON, std::string()));
  model.parameters = {{"think", "low"}};
  EXPECT_EQ(thinking(plain), std::pair(pb::THINKING_ON, std::string("low")));
  model.parameters = {{"think", false}};
  EXPECT_EQ(thinking(plain), std::pair(pb::THINKING_OFF, std::string()));
  EXPECT_EQ(thinking({{"messages", kHello}, {"think", "high"}}), std::pair(pb::THINKING_ON, std::string("high")));
}

TEST(Bind, TheRequestsOptionsCountBeforeTheModels) {
  Model model = some_model();
  model.parameters = {{"temperature", 0.5}, {"num_ctx", 512}, {"stop", {"a"}}};
  const Read found = with_options(R"({"temperature": 0, "stop": ["b", "c"]})", model);
  const pb::Generate& work = found.submission.work;
  EXPECT_EQ(work.sampling().temperature(), 0);
  EXPECT_EQ(work.context_length(), 512U);
  EXPECT_EQ(found.submission.target.context_length, 512);
  ASSERT_EQ(work.stop_size(), 2);
  EXPECT_EQ(work.stop(0), "b");
}

TEST(Bind, ASuffixIsForTheTemplateIfThatHasAPlaceForIt) {
  Model model = some_model();
  const Json body = {{"prompt", "a"}, {"suffix", "b"}};
  model.capabilities.push_back(Capability::kInsert);
  EXPECT_EQ(read(read_ollama_generate, body, model).submission.work.infill().suffix(), "b");
  model.template_text = "{{ .Prompt }}{{ .Suffix }}";
  const Read found = read(read_ollama_generate, body, model);
  EXPECT_EQ(found.submission.work.chat().suffix(), "b");
  EXPECT_EQ(found.submission.work.chat().go_template(), *model.template_text);
}

}  // namespace
}  // namespace drover::api
