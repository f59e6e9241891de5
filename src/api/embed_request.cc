#include "api/embed_request.h"

#include <fmt/format.h>

#include <utility>

#include "api/ask_reader.h"
#include "api/embed_answer.h"
#include "api/ollama_request.h"
#include "api/service.h"
#include "base/text.h"

namespace drover::api {
namespace {

constexpr std::uint64_t kTokenMax = 0x7fffffff;

Error wrong_input() {
  return invalid("invalid input type");
}

Result<void> read_texts(const Json& list, pb::Embed& embed) {
  for (const Json& text : list) {
    if (!text.is_string()) return wrong_input();
    embed.add_texts(text.get<std::string>());
  }
  return {};
}

Result<void> read_tokens(const Json& list, pb::Embed& embed) {
  pb::TokenList& tokens = *embed.add_token_lists();
  for (const Json& token : list) {
    if (!token.is_number_unsigned() || token.get<std::uint64_t>() > kTokenMax) return wrong_input();
    tokens.add_tokens(token.get<std::uint32_t>());
  }
  return {};
}

// /api/embed: a text or a list of texts; none, or an empty one, loads the model.
Result<void> read_input(const Json* input, pb::Embed& embed) {
  if (input == nullptr) return {};
  if (input->is_array()) return read_texts(*input, embed);
  if (!input->is_string()) return wrong_input();
  if (*input != "") embed.add_texts(input->get<std::string>());
  return {};
}

// /v1/embeddings: a text, a list of texts, a list of tokens, or a list of such lists.
Result<void> read_openai_input(const Json* input, pb::Embed& embed) {
  if (input == nullptr || (input->is_array() && input->empty())) return invalid("invalid input");
  if (input->is_string()) {
    embed.add_texts(input->get<std::string>());
    return {};
  }
  if (!input->is_array()) return wrong_input();
  if (input->front().is_number()) return read_tokens(*input, embed);
  if (!input->front().is_array()) return read_texts(*input, embed);
  for (const Json& list : *input) {
    if (!list.is_array()) return wrong_input();
    if (auto read = read_tokens(list, embed); !read) return read;
  }
  return {};
}

// Whether the vectors are to be base64.
Result<bool> read_encoding(Fields& fields) {
  const std::string name = fields.text("encoding_format");
  if (fields.error()) return *fields.error();
  const std::string folded = lower_case(name);
  if (folded == "base64") return true;
  if (folded.empty() || folded == "float") return false;
  return invalid(fmt::format("Invalid value for 'encoding_format' = {}. Supported values: ['float', 'base64'].", name));
}

// The last two fields of Ollama's requests, which OpenAI's do not have.
Result<void> read_residence(Fields& fields, const Json& body, Ask& ask) {
  auto keep_alive = read_keep_alive(fields.any("keep_alive"));
  if (!keep_alive) return std::move(keep_alive).error();
  ask.keep_alive = *keep_alive;
  AskReader reader(ask);
  return read_ollama_options(body, reader);
}

Request finished(Ask ask, EmbedAnswer answer) {
  const pb::Embed& embed = std::get<pb::Embed>(ask.input);
  ask.load_only = embed.texts_size() + embed.token_lists_size() == 0;
  ask.stream = false;
  answer.model = ask.model;
  return {std::move(ask), make_embed_form(std::move(answer))};
}

}  // namespace

Result<Request> read_embed(Json body) {
  Fields fields(body, "EmbedRequest");
  Ask ask;
  pb::Embed& embed = ask.input.emplace<pb::Embed>();
  EmbedAnswer answer{EmbedFace::kEmbed, {}};
  ask.model = fields.text("model");
  answer.dimensions = fields.integer("dimensions").value_or(0);
  embed.set_truncate(fields.flag("truncate").value_or(true));
  if (fields.error()) return *fields.error();
  if (ask.model.empty()) return model_not_found("");
  if (auto read = read_input(fields.any("input"), embed); !read) return read.error();
  if (auto read = read_residence(fields, body, ask); !read) return read.error();
  return finished(std::move(ask), std::move(answer));
}

Result<Request> read_embeddings(Json body) {
  Fields fields(body, "EmbeddingRequest");
  Ask ask;
  pb::Embed& embed = ask.input.emplace<pb::Embed>();
  ask.model = fields.text("model");
  std::string prompt = fields.text("prompt");
  if (fields.error()) return *fields.error();
  if (ask.model.empty()) return invalid("model is required");
  if (!prompt.empty()) embed.add_texts(std::move(prompt));
  if (auto read = read_residence(fields, body, ask); !read) return read.error();
  return finished(std::move(ask), {EmbedFace::kEmbeddings, {}});
}

Result<Request> read_openai_embeddings(Json body) {
  Fields fields(body, "EmbedRequest");
  Ask ask;
  pb::Embed& embed = ask.input.emplace<pb::Embed>();
  EmbedAnswer answer{EmbedFace::kOpenai, {}};
  ask.model = fields.text("model");
  answer.dimensions = fields.integer("dimensions").value_or(0);
  embed.set_truncate(true);
  if (fields.error()) return *fields.error();
  if (ask.model.empty()) return model_not_found("");
  const auto base64 = read_encoding(fields);
  if (!base64) return base64.error();
  answer.base64 = *base64;
  if (auto read = read_openai_input(fields.any("input"), embed); !read) return read.error();
  return finished(std::move(ask), std::move(answer));
}

}  // namespace drover::api
