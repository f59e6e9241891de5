// A body for each of the OpenAI- and Anthropic-compatible routes, and for those of vectors: read, and then bound to a
// model.
#include "api/anthropic_request.h"
#include "api/bind.h"
#include "api/embed_request.h"
#include "api/openai_request.h"
#include "api/openai_tokens.h"
#include "fuzz.h"

namespace {

using namespace drover;

std::shared_ptr<const Model> some_model() {
  Model model(*ModelName::parse("cria"), ModelConfig{});
  model.gguf = std::make_shared<Gguf>();
  model.capabilities = {Capability::kCompletion, Capability::kTools, Capability::kInsert, Capability::kThinking};
  return std::make_shared<const Model>(std::move(model));
}

using ReadBody = Result<api::Request> (*)(Json body);

constexpr ReadBody kRoutes[] = {api::read_openai_chat,       api::read_openai_completion, api::read_openai_response,
                                api::read_anthropic_message, api::read_anthropic_count,   api::read_embed,
                                api::read_embeddings,        api::read_openai_embeddings, api::read_tokenize,
                                api::read_detokenize};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::shared_ptr<const Model> model = some_model();
  const auto body = api::parse_json(text_of(data, size));
  if (!body) return 0;
  for (const ReadBody read : kRoutes) {
    auto request = read(*body);
    if (!request) continue;
    expect(request->form != nullptr, "what is read has a form");
    const auto bound = api::bind_ask(request->ask, model, Settings());
    if (!bound) continue;
    std::string frame;
    expect(bound->work.SerializeToString(&frame) && bound->embed.SerializeToString(&frame),
           "what is read can be sent to a runner");
  }
  return 0;
}
