#include "api/service.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "api/error_status.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

constexpr std::size_t kCodingBytesShown = 100;

// What is wrong with a request holds the client's own words, which may look like paths.
bool tells_words_of_client(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kPromptTooLong:
    case ErrorCode::kNotKept:
    case ErrorCode::kForbidden:
    case ErrorCode::kNotFound:
    case ErrorCode::kTooLarge:
      return true;
    case ErrorCode::kQueueFull:
    case ErrorCode::kTimedOut:
    case ErrorCode::kCanceled:
    case ErrorCode::kUnavailable:
    case ErrorCode::kNoSpace:
    case ErrorCode::kInternal:
      return false;
  }
  return false;
}

bool begins_path(std::string_view text, std::size_t at) {
  return text[at] == '/' && (at == 0 || std::string_view(" '\"(`").find(text[at - 1]) != std::string_view::npos);
}

}  // namespace

std::string without_paths(std::string_view text) {
  std::string shown;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find_first_of(" '\"`)(,;:\n", at), text.size());
    const auto last = begins_path(text, at) ? text.rfind('/', end - 1) : at;
    if (last > at && last + 1 < end) at = last + 1;  // only the file's own name
    shown.append(text.substr(at, std::max(end, at + 1) - at));
    at = std::max(end, at + 1);
  }
  return shown;
}

Error shown_error(const Error& error) {
  // Our own errors show no paths (shown_name()); those of the engine and of the system do.
  if (tells_words_of_client(error.code)) return error;
  Error shown = error;
  shown.message = without_paths(error.message);
  if (shown.message != error.message) spdlog::warn("{}", error.message);
  return shown;
}

std::string ollama_error_text(const Error& error, int /*status*/) {
  Json body = Json::object();
  body["error"] = error.message;
  return to_text(body);
}

Result<http::ContentCoding> content_coding_of(http::Exchange& exchange) {
  const std::string_view header = exchange.header("Content-Encoding");
  const auto coding = http::parse_content_coding(header);
  if (coding) return *coding;
  exchange.add_header("Accept-Encoding", http::kContentCodings);
  Error error = invalid(fmt::format("the Content-Encoding \"{}\" is not supported: a body may be {}, or not compressed",
                                    header.substr(0, kCodingBytesShown), http::kContentCodings));
  error.status = 415;
  return error;
}

Error body_error(Error error) {
  if (error.code == ErrorCode::kTimedOut) error.status = 408;
  return error;
}

bool may_be_long(const http::Exchange& exchange) {
  if (!exchange.header("Content-Encoding").empty()) return true;
  const std::string_view text = exchange.header("Content-Length");
  const char* const text_end = text.data() + text.size();
  std::size_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text_end, length);
  return error != std::errc() || end != text_end || length > kInlineBodyBytesMax;
}

asio::awaitable<std::optional<Json>> read_json(Service& service, http::Exchange& exchange, ErrorText error_text) {
  Result<Json> json = co_await read_body_as(service, exchange, [](Json body) { return Result<Json>(std::move(body)); });
  if (!json) {
    co_await send_error(exchange, json.error(), error_text);
    co_return std::nullopt;
  }
  co_return std::move(*json);
}

asio::awaitable<bool> send_json(http::Exchange& exchange, const Json& json, int status) {
  std::string text = to_text(json);
  co_return co_await exchange.send(status, kJsonType, std::move(text));
}

asio::awaitable<bool> send_error(http::Exchange& exchange, const Error& error, ErrorText error_text,
                                 std::optional<Duration> retry_after) {
  const int status = http_status(error);
  http::Headers headers;
  if (status == 503) headers.emplace_back("Retry-After", Fleet::retry_after_seconds(retry_after));
  std::string text = error_text(shown_error(error), status);
  co_return co_await exchange.send(status, kJsonType, std::move(text), std::move(headers));
}

std::string model_field(Fields& fields) {
  std::string name = fields.text("model");
  return name.empty() ? fields.text("name") : name;
}

int context_of(const Service& service, const Model& model) {
  int context = integer_option(model.parameters, "num_ctx", 0);
  if (context <= 0) context = context_default(service.settings);
  const std::uint64_t trained = model.gguf->context_length();
  if (trained > 0 && trained < static_cast<std::uint64_t>(context)) context = static_cast<int>(trained);
  return context;
}

Json model_details(const Model& model) {
  Json families = model.config.families.empty() ? Json(nullptr) : Json(model.config.families);
  Json details = Json::object();
  details["parent_model"] = model.parent_model;
  details["format"] = model.config.format;
  details["family"] = model.config.family;
  details["families"] = std::move(families);
  details["parameter_size"] = model.config.parameter_size;
  details["quantization_level"] = model.config.quantization;
  if (model.gguf->context_length() > 0) details["context_length"] = model.gguf->context_length();
  if (model.gguf->embedding_length() > 0) details["embedding_length"] = model.gguf->embedding_length();
  return details;
}

}  // namespace drover::api
