// POST /api/embed, POST /api/embeddings and POST /v1/embeddings: vectors of texts.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "api/error_status.h"
#include "api/generation_request.h"
#include "api/openai_answer.h"
#include "api/request_identity.h"
#include "api/service.h"
#include "fleet/ticket.h"

namespace drover::api {
namespace {

// What the vectors of one request may take in memory; they travel in one frame.
constexpr std::uint64_t kVectorBytesMax = 256u << 20;
// A model that does not say how long its vectors are is taken to have such ones.
constexpr std::uint64_t kDimensionsUnknown = 4096;
// More numbers than this are turned into text off the I/O thread, which others wait for.
constexpr std::size_t kInlineNumbersMax = 16'384;

enum class Face { kEmbed, kEmbeddings, kOpenai };

const char* type_name(Face face) {
  return face == Face::kEmbeddings ? "EmbeddingRequest" : "EmbedRequest";
}

// What a body asks for, less what depends on the model.
struct Ask {
  std::string model;  // as the client wrote it; answers repeat it
  std::int64_t dimensions = 0;
  bool base64 = false;
  std::optional<Duration> keep_alive;
  pb::Embed work;

  int inputs() const { return work.texts_size() + work.token_lists_size(); }
};

// ---- reading

RequestError bad(std::string message, int status = 0) {
  return {invalid(std::move(message)), status};
}

// A list of texts. Error: another element is among them.
std::optional<RequestError> read_texts(const Json& list, pb::Embed& work) {
  for (const Json& text : list) {
    if (!text.is_string()) return bad("invalid input type");
    work.add_texts(text.get<std::string>());
  }
  return std::nullopt;
}

std::optional<RequestError> read_tokens(const Json& list, pb::Embed& work) {
  pb::TokenList& tokens = *work.add_token_lists();
  for (const Json& token : list) {
    if (!token.is_number_unsigned() || token.get<std::uint64_t>() > 0x7fffffffu) return bad("invalid input type");
    tokens.add_tokens(token.get<std::uint32_t>());
  }
  return std::nullopt;
}

// /api/embed: a text or a list of texts; none, or an empty one, loads the model.
std::optional<RequestError> read_native_input(const Json* input, pb::Embed& work) {
  if (input == nullptr) return std::nullopt;
  if (input->is_array()) return read_texts(*input, work);
  if (!input->is_string()) return bad("invalid input type");
  if (*input != "") work.add_texts(input->get<std::string>());
  return std::nullopt;
}

// /v1/embeddings: a text, a list of texts, a list of tokens, or a list of such lists.
std::optional<RequestError> read_openai_input(const Json* input, pb::Embed& work) {
  if (input == nullptr || (input->is_array() && input->empty())) return bad("invalid input");
  if (input->is_string()) {
    work.add_texts(input->get<std::string>());
    return std::nullopt;
  }
  if (!input->is_array()) return bad("invalid input type");
  if (input->front().is_number()) return read_tokens(*input, work);
  if (!input->front().is_array()) return read_texts(*input, work);
  for (const Json& list : *input) {
    if (!list.is_array()) return bad("invalid input type");
    if (auto error = read_tokens(list, work)) return error;
  }
  return std::nullopt;
}

std::optional<RequestError> read_encoding(Fields& fields, Ask& into) {
  const std::string name = fields.text("encoding_format");
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  into.base64 = lower == "base64";
  if (into.base64 || lower.empty() || lower == "float") return std::nullopt;
  return bad(fmt::format("Invalid value for 'encoding_format' = {}. Supported values: ['float', 'base64'].", name));
}

std::optional<RequestError> read_input(Face face, Fields& fields, Ask& into) {
  switch (face) {
    case Face::kEmbed:
      return read_native_input(fields.any("input"), into.work);
    case Face::kOpenai:
      if (auto error = read_encoding(fields, into)) return error;
      return read_openai_input(fields.any("input"), into.work);
    case Face::kEmbeddings:
      if (std::string prompt = fields.text("prompt"); !prompt.empty()) into.work.add_texts(std::move(prompt));
      return std::nullopt;
  }
  return std::nullopt;
}

// Everything that can be wrong with a body before its model is known.
std::optional<RequestError> read_ask(Face face, const Json& body, Ask& into) {
  Fields fields(body, type_name(face));
  into.model = fields.text("model");
  // A request for more numbers than the model gives has all of them, as with Ollama.
  if (face != Face::kEmbeddings) into.dimensions = fields.integer("dimensions").value_or(0);
  into.work.set_truncate(face != Face::kEmbeddings &&
                         (face == Face::kOpenai || fields.flag("truncate").value_or(true)));
  if (fields.error()) return RequestError{*fields.error(), 0};
  if (face != Face::kOpenai) {
    auto keep_alive = read_keep_alive(fields.any("keep_alive"));
    if (!keep_alive) return RequestError{keep_alive.error(), 0};
    into.keep_alive = *keep_alive;
  }
  if (into.model.empty() && face == Face::kEmbeddings) return bad("model is required");
  if (into.model.empty()) return RequestError{model_not_found(""), 0};
  auto error = read_input(face, fields, into);
  if (!error && fields.error()) return RequestError{*fields.error(), 0};
  return error;
}

std::optional<RequestError> check_size(const Ask& ask, const Model& model) {
  const std::uint64_t stated = model.gguf->embedding_length();
  const std::uint64_t dimensions = stated > 0 ? stated : kDimensionsUnknown;
  const std::uint64_t most = std::max<std::uint64_t>(kVectorBytesMax / sizeof(float) / dimensions, 1);
  if (static_cast<std::uint64_t>(ask.inputs()) <= most) return std::nullopt;
  return RequestError{
      {ErrorCode::kTooLarge, fmt::format("{} inputs are too many for one request: at most {}", ask.inputs(), most)}, 0};
}

std::variant<Submission, RequestError> read_submission(Service& service, const http::Exchange& exchange, Face face,
                                                       const Json& body, Ask& ask) {
  if (auto error = read_ask(face, body, ask)) return *error;
  const auto name = ModelName::parse(ask.model);
  if (!name) return RequestError{name.error(), 0};
  const auto model = service.store.find(*name);
  if (!model && model.error().code == ErrorCode::kNotFound) {
    return RequestError{not_found(fmt::format("model \"{}\" not found, try pulling it first", ask.model)), 0};
  }
  if (!model) return RequestError{model.error(), 500};  // what is broken is on our disk, not in the request
  if (auto error = check_size(ask, **model)) return *error;
  Submission submission;
  submission.target = embedding_target_of(*model, (*model)->name.display_shortest(), service.settings);
  const Json no_options = Json::object();
  if (auto error = read_options(face == Face::kOpenai ? no_options : body, **model, submission)) return *error;
  if (auto queueing = read_queueing(exchange, user_of(body), submission); !queueing)
    return RequestError{queueing.error(), 0};
  ask.work.set_context_length(submission.work.context_length());
  submission.keep_alive = ask.keep_alive;
  submission.load_only = ask.inputs() == 0;
  submission.streams = false;
  submission.embed = std::move(ask.work);
  return submission;
}

// ---- answering

struct Timing {
  TimePoint arrived;
  Duration load{};  // queue and load: until the request had its place
};

std::uint64_t nanoseconds(Duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  return count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

// Scales to length 1. False: there are numbers in it that are none.
bool normalize(std::vector<float>& vector) {
  double sum = 0;
  for (const float number : vector) sum += static_cast<double>(number) * number;
  if (!std::isfinite(sum)) return false;
  const double scale = 1 / std::max(std::sqrt(sum), 1e-12);
  for (float& number : vector) number = static_cast<float>(number * scale);
  return true;
}

// The vector that a client gets: normalised, and once more after it was cut to fewer dimensions.
std::optional<std::vector<float>> finished_vector(const std::string& bytes, std::int64_t dimensions) {
  std::vector<float> vector(bytes.size() / sizeof(float));
  std::memcpy(vector.data(), bytes.data(), vector.size() * sizeof(float));
  if (!normalize(vector)) return std::nullopt;
  if (dimensions > 0 && static_cast<std::uint64_t>(dimensions) < vector.size()) {
    vector.resize(static_cast<std::size_t>(dimensions));
    normalize(vector);
  }
  return vector;
}

void append_numbers(std::string& out, const std::vector<float>& vector) {
  out += '[';
  for (std::size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), "{}", vector[i]);
  }
  out += ']';
}

void append_base64(std::string& out, const std::vector<float>& vector) {
  const std::size_t size = vector.size() * sizeof(float);
  std::string text((size + 2) / 3 * 4 + 1, '\0');  // with the terminator that OpenSSL writes
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(vector.data()), static_cast<int>(size));
  out += '"';
  out.append(text, 0, static_cast<std::size_t>(length));
  out += '"';
}

void append_vector(std::string& out, Face face, const Ask& ask, const std::vector<float>& vector, int index) {
  if (index > 0) out += ',';
  if (face == Face::kOpenai) out += R"({"object":"embedding","embedding":)";
  if (ask.base64) {
    append_base64(out, vector);
  } else {
    append_numbers(out, vector);
  }
  if (face == Face::kOpenai) fmt::format_to(std::back_inserter(out), R"(,"index":{}}})", index);
}

// What stands before and behind the vectors.
std::string opening(Face face, const Ask& ask) {
  if (face == Face::kEmbeddings) return R"({"embedding":)";
  if (face == Face::kOpenai) return R"({"object":"list","data":[)";
  std::string out = R"({"model":)";
  append_json_string(out, ask.model);
  return out + R"(,"embeddings":[)";
}

std::string closing(Face face, const Ask& ask, const Timing& timing, const pb::Embedded& embedded) {
  const std::uint32_t tokens = embedded.prompt_tokens();
  if (face == Face::kEmbeddings) return "}";
  if (face == Face::kOpenai) {
    std::string out = R"(],"model":)";
    append_json_string(out, ask.model);
    return out + fmt::format(R"(,"usage":{{"prompt_tokens":{0},"total_tokens":{0}}}}})", tokens);
  }
  return fmt::format(R"(],"total_duration":{},"load_duration":{},"prompt_eval_count":{}}})",
                     nanoseconds(Clock::now() - timing.arrived), nanoseconds(timing.load), tokens);
}

Result<std::string> answer_text(Face face, const Ask& ask, const Timing& timing, const pb::Embedded& embedded) {
  std::string out = opening(face, ask);
  for (int i = 0; i < embedded.vectors_size(); ++i) {
    const auto vector = finished_vector(embedded.vectors(i), ask.dimensions);
    if (!vector) return invalid("embedding contains NaN or Inf values");
    append_vector(out, face, ask, *vector, i);
  }
  out += closing(face, ask, timing, embedded);
  return out;
}

// The answer to a request without input, which has only loaded the model or asked to unload it.
std::string empty_answer(Face face, const Ask& ask) {
  if (face == Face::kEmbeddings) return R"({"embedding":[]})";
  return opening(face, ask) + "]}";
}

ErrorText error_text_of(Face face) {
  return face == Face::kOpenai ? openai_error_text : ollama_error_text;
}

asio::awaitable<void> send_vectors(Service& service, http::Exchange& exchange, Face face, const Ask& ask,
                                   const Timing& timing, const pb::Embedded& embedded) {
  std::size_t numbers = 0;
  for (const std::string& vector : embedded.vectors()) numbers += vector.size() / sizeof(float);
  const auto write = [&] { return answer_text(face, ask, timing, embedded); };
  Result<std::string> text = std::string();
  if (numbers > kInlineNumbersMax) {
    text = co_await on_disk(service, write);
  } else {
    text = write();
  }
  if (!text) {
    co_await send_error(exchange, text.error(), 0, std::nullopt, error_text_of(face));
    co_return;
  }
  co_await exchange.send(200, kJsonType, std::move(*text));
}

asio::awaitable<void> answer(Service& service, http::Exchange& exchange, Face face, const Ask& ask, Ticket& ticket,
                             TimePoint arrived) {
  exchange.on_disconnect([&ticket] { ticket.cancel(); });
  Timing timing{arrived, {}};
  while (true) {
    RequestEvent event = co_await ticket.next();
    if (const auto* dispatched = std::get_if<EventDispatched>(&event)) {
      timing.load = dispatched->waited;
    } else if (const auto* embedded = std::get_if<pb::Embedded>(&event)) {
      co_await send_vectors(service, exchange, face, ask, timing, *embedded);
      co_return;
    } else if (std::holds_alternative<EventLoaded>(event)) {
      std::string text = empty_answer(face, ask);
      co_await exchange.send(200, kJsonType, std::move(text));
      co_return;
    } else if (auto* failed = std::get_if<EventFailed>(&event)) {
      if (failed->error.code == ErrorCode::kCanceled && exchange.disconnected()) co_return;
      const int status = request_status(failed->error.code);
      co_await send_error(exchange, failed->error, status, failed->retry_after, error_text_of(face));
      co_return;
    }
  }
}

asio::awaitable<void> handle(Service& service, http::Exchange& exchange, Face face) {
  const TimePoint arrived = Clock::now();
  RequestIdentity identity = identify(exchange);
  std::optional<Json> body = co_await read_json(service, exchange, error_text_of(face));
  if (!body) {
    service.driver.note_refused(std::move(identity), invalid("unreadable body"));
    co_return;
  }
  Ask ask;
  const auto read = [&] {
    auto submission = read_submission(service, exchange, face, *body, ask);
    body.reset();  // a request that waits should not hold its texts twice
    return submission;
  };
  std::variant<Submission, RequestError> asked;
  if (may_be_long(exchange)) {
    asked = co_await on_disk(service, read);
  } else {
    asked = read();
  }
  if (const auto* error = std::get_if<RequestError>(&asked)) {
    service.driver.note_refused(std::move(identity), error->error);
    co_await send_error(exchange, error->error, error->status, std::nullopt, error_text_of(face));
    co_return;
  }
  Submission& submission = std::get<Submission>(asked);
  const std::string key = submission.target.key;
  if (submission.load_only && submission.keep_alive == Duration::zero()) {
    service.driver.unload(key);
    service.driver.unload(generation_key(key));
    std::string text = empty_answer(face, ask);
    co_await exchange.send(200, kJsonType, std::move(text));
    co_return;
  }
  identity.client = shown_client(submission.client);
  submission.identity = std::move(identity);
  auto ticket = service.driver.submit(std::move(submission));
  if (!ticket) {
    const Duration retry_after = service.driver.retry_after(key);
    const int status = request_status(ticket.error().code);
    co_await send_error(exchange, ticket.error(), status, retry_after, error_text_of(face));
    co_return;
  }
  tell_position(exchange, service.driver, **ticket);
  co_await answer(service, exchange, face, ask, **ticket, arrived);
}

}  // namespace

void add_embed_routes(http::Router& router, Service& service) {
  const auto add = [&](const char* path, Face face) {
    router.add("POST", path, [&service, face](http::Exchange& exchange) { return handle(service, exchange, face); });
  };
  add("/api/embed", Face::kEmbed);
  add("/api/embeddings", Face::kEmbeddings);
  add("/v1/embeddings", Face::kOpenai);
}

}  // namespace drover::api
