// The body of a generation, read against a model that has something of everything.
#include "api/generation_request.h"
#include "fuzz.h"

namespace {

using namespace drover;

Model some_model() {
  Model model(*ModelName::parse("cria"), ModelConfig{});
  model.system = "Be brief.";
  model.template_text = "{{ range .Messages }}{{ .Content }}{{ end }}{{ .Tools }}{{ .Suffix }}";
  model.gguf = std::make_shared<Gguf>();
  return model;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Model model = some_model();
  const auto body = api::parse_json(text_of(data, size));
  if (!body) return 0;
  for (const auto endpoint : {api::Endpoint::kGenerate, api::Endpoint::kChat}) {
    const auto head = api::read_head(endpoint, *body);
    if (!head) continue;
    Submission submission;
    api::Warnings warnings;
    const auto error =
        api::read_generation(endpoint, *body, model, api::ThinkRule::kRefuse, Settings(), submission, warnings);
    if (error) continue;
    std::string frame;
    expect(submission.work.SerializeToString(&frame), "what is read can be sent to a runner");
  }
  return 0;
}
