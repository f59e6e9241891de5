// A body for each of the OpenAI- and Anthropic-compatible routes: translated, and then read as the native request that
// it became.
#include "api/anthropic_request.h"
#include "api/openai_request.h"
#include "fuzz.h"

namespace {

using namespace drover;

Model some_model() {
  Model model(*ModelName::parse("cria"), ModelConfig{});
  model.gguf = std::make_shared<Gguf>();
  model.capabilities = {Capability::kCompletion, Capability::kTools, Capability::kInsert, Capability::kThinking};
  return model;
}

struct Route {
  api::Endpoint endpoint;
  Result<api::Translated> (*translate)(api::Json body);
};

constexpr Route kRoutes[] = {{api::Endpoint::kChat, api::translate_openai_chat},
                             {api::Endpoint::kGenerate, api::translate_openai_completion},
                             {api::Endpoint::kChat, api::translate_openai_response},
                             {api::Endpoint::kChat, api::translate_anthropic_message},
                             {api::Endpoint::kChat, api::translate_anthropic_count}};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Model model = some_model();
  const auto body = api::parse_json(text_of(data, size));
  if (!body) return 0;
  for (const Route& route : kRoutes) {
    auto translated = route.translate(*body);
    if (!translated) continue;
    expect(translated->form != nullptr, "what is translated has a form");
    if (!api::read_head(route.endpoint, translated->body)) continue;
    Submission submission;
    api::Warnings& warnings = translated->warnings;
    const auto error = api::read_generation(route.endpoint, translated->body, model, translated->think_rule, Settings(),
                                            submission, warnings);
    if (error) continue;
    std::string frame;
    expect(submission.work.SerializeToString(&frame), "what is read can be sent to a runner");
  }
  return 0;
}
