// The body of a generation, read and bound to a model that has something of everything.
#include "api/bind.h"
#include "api/ollama_request.h"
#include "fuzz.h"

namespace {

using namespace drover;

std::shared_ptr<const Model> some_model() {
  Model model(*ModelName::parse("cria"), ModelConfig{});
  model.system = "Be brief.";
  model.template_text = "{{ range .Messages }}{{ .Content }}{{ end }}{{ .Tools }}{{ .Suffix }}";
  model.gguf = std::make_shared<Gguf>();
  return std::make_shared<const Model>(std::move(model));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::shared_ptr<const Model> model = some_model();
  const auto body = api::parse_json(text_of(data, size));
  if (!body) return 0;
  for (const auto read : {api::read_ollama_generate, api::read_ollama_chat}) {
    auto request = read(*body);
    if (!request) continue;
    const auto bound = api::bind_ask(request->ask, model, Settings());
    if (!bound) continue;
    std::string frame;
    expect(bound->work.SerializeToString(&frame), "what is read can be sent to a runner");
  }
  return 0;
}
