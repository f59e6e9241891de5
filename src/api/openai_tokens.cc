#include "api/openai_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "api/openai_request.h"

namespace drover::api {
namespace {

class TokensForm final : public AnswerForm {
 public:
  // `skipped` of the prompt's first tokens are not the text's.
  explicit TokensForm(int skipped) : skipped_(skipped) {}

  void bound(int context_max) override { context_max_ = context_max; }

  std::string whole(const pb::Chunk& /*all*/, const Ending& ending) override {
    const auto& tokens = ending.finished.context();
    const auto begin = tokens.begin() + std::min(skipped_, tokens.size());
    return fmt::format(R"({{"tokens":[{}],"count":{},"max_model_len":{}}})", fmt::join(begin, tokens.end(), ","),
                       tokens.end() - begin, context_max_);
  }

 private:
  const int skipped_;
  int context_max_ = 0;
};

// The text under the name that each of the two servers has for it.
class TextForm final : public AnswerForm {
 public:
  std::optional<std::string> rendered(const pb::Started& started) override {
    const Json text = started.rendered_prompt();
    text_ = to_text(Json{{"content", text}, {"prompt", text}});
    return std::nullopt;
  }

  std::string whole(const pb::Chunk& /*all*/, const Ending& /*ending*/) override { return std::move(text_); }

 private:
  std::string text_;
};

// What makes an ask one of which the tokens are wanted.
void want_tokens_of(Ask& ask) {
  ask.stream = false;
  ask.render_only = true;
  ask.truncate = false;
  ask.want_tokens = true;
}

}  // namespace

// llama-server's `content` has no special tokens unless it says so, vLLM's `prompt` and `messages` have them.
Result<Request> read_tokenize(Json body) {
  Fields fields(body, "TokenizeRequest");
  if (fields.array("messages") != nullptr) {
    auto chat = read_openai_chat(std::move(body));
    if (!chat) return chat;
    want_tokens_of(chat->ask);
    chat->ask.keep_alive.reset();
    chat->form = std::make_unique<TokensForm>(0);
    return chat;
  }
  Ask ask;
  want_tokens_of(ask);
  PromptAsk& asked = std::get<PromptAsk>(ask.input);
  ask.model = fields.text("model");
  const auto content = fields.optional_text("content");
  const auto prompt = fields.optional_text("prompt");
  if (!content && !prompt) fields.fail("content, prompt or messages is required");
  const auto special = fields.flag(content ? "add_special" : "add_special_tokens");
  if (fields.error()) return *fields.error();
  if (ask.model.empty()) return invalid("model is required");
  asked.raw = true;
  asked.prompt = content ? *content : *prompt;
  // With a token before it a text is one that goes on. A prompt without any token is none.
  const bool plain = !special.value_or(!content) || asked.prompt.empty();
  if (plain) asked.context.push_back(0);
  name_ignored(body, " model user content prompt add_special add_special_tokens parse_special ", ask.warnings);
  return Request{std::move(ask), std::make_unique<TokensForm>(plain ? 1 : 0)};
}

Result<Request> read_detokenize(Json body) {
  Fields fields(body, "DetokenizeRequest");
  Ask ask;
  want_tokens_of(ask);
  PromptAsk& asked = std::get<PromptAsk>(ask.input);
  ask.model = fields.text("model");
  asked.raw = true;
  const Json* tokens = fields.array("tokens");
  if (tokens == nullptr) fields.fail("tokens is required");
  if (fields.error()) return *fields.error();
  for (const Json& token : *tokens) {
    if (!token.is_number_unsigned() || token > std::numeric_limits<std::int32_t>::max()) {
      return invalid("tokens must be a list of numbers");
    }
    asked.context.push_back(token.get<std::uint32_t>());
  }
  if (ask.model.empty()) return invalid("model is required");
  return Request{std::move(ask), std::make_unique<TextForm>()};
}

}  // namespace drover::api
