#include "cli/launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "client/json.h"
#include "terminal/format.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

struct Program {
  std::string_view name;
  std::string_view also;  // another name of it, or ""
  std::string_view title;
  std::string_view text;  // {0}: the server's address, {1}: the model
};

constexpr std::array kPrograms = {
    Program{"claude", "claude-code", "Claude Code",
            "ANTHROPIC_BASE_URL={0} ANTHROPIC_AUTH_TOKEN=drover CLAUDE_CODE_ATTRIBUTION_HEADER=0 \\\n"
            "  claude --model {1}\n"},
    Program{"codex", "", "Codex", "CODEX_OSS_BASE_URL={0}/v1 codex --oss --model {1}\n"},
    Program{"opencode", "", "OpenCode",
            "OPENCODE_CONFIG_CONTENT='{{\"provider\":{{\"drover\":{{\"npm\":\"@ai-sdk/openai-compatible\",'\\\n"
            "'\"options\":{{\"baseURL\":\"{0}/v1\"}},\"models\":{{\"{1}\":{{}}}}}}}}}}' \\\n"
            "  opencode --model drover/{1}\n"},
    Program{"qwen", "qwen-code", "Qwen Code", "OPENAI_BASE_URL={0}/v1 OPENAI_API_KEY=drover OPENAI_MODEL={1} qwen\n"},
    Program{"continue", "cn", "Continue",
            "In ~/.continue/config.yaml:\n\n"
            "  name: drover\n  version: 1.0.0\n  schema: v1\n  models:\n"
            "    - name: {1}\n      provider: ollama\n      model: {1}\n      apiBase: {0}\n\n"
            "and then: cn\n"},
    Program{"aider", "", "Aider", "OLLAMA_API_BASE={0} aider --model ollama_chat/{1}\n"},
};

std::string known_programs() {
  std::string names;
  for (const Program& program : kPrograms) names += (names.empty() ? "" : ", ") + std::string(program.name);
  return names;
}

// The first model that generates; without a server, a word that stands for one.
std::string some_model(ApiClient& client) {
  if (const auto answer = client.get("/api/tags"); answer.ok()) {
    for (const Json& model : array_field(*answer, "models")) {
      const Json& capabilities = array_field(model, "capabilities");
      const bool generates = std::find(capabilities.begin(), capabilities.end(), "completion") != capabilities.end();
      if (generates) return text_field(model, "name");
    }
  }
  return "MODEL";
}

}  // namespace

Result<std::string> launch_text(ApiClient& client, const std::string& url, const std::string& program,
                                const std::string& model) {
  if (program.empty()) {
    return fmt::format(
        "Drover starts no other programs; it says how they are started so that they use it:\n\n"
        "  drover launch PROGRAM [--model MODEL]\n\nPrograms: {}. More: docs/integrations.md\n",
        known_programs());
  }
  for (const Program& known : kPrograms) {
    if (program != known.name && (known.also.empty() || program != known.also)) continue;
    const std::string name = printable(model.empty() ? some_model(client) : model);
    return fmt::format(
        "Drover does not start {} itself. To use it with this server:\n\n{}\n"
        "An agent needs room for its instructions: OLLAMA_CONTEXT_LENGTH=65536 drover serve, or as much "
        "as the model\nand the memory allow. More: docs/integrations.md\n",
        known.title, fmt::format(fmt::runtime(known.text), url, name));
  }
  return not_found(
      fmt::format("{} is not known here; known are {}. What speaks Ollama's, OpenAI's or Anthropic's API "
                  "works: docs/integrations.md",
                  in_quotes(program), known_programs()));
}

}  // namespace drover::cli
