#include "api/service.h"

#include <fmt/format.h>

#include "api/error_status.h"

namespace drover::api {
namespace {

constexpr std::size_t kCodingBytesShown = 100;

}  // namespace

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
  return invalid(fmt::format("the Content-Encoding \"{}\" is not supported: a body may be {}, or not compressed",
                             header.substr(0, kCodingBytesShown), http::kContentCodings));
}

int unread_status(const http::Exchange& exchange) {
  return http::parse_content_coding(exchange.header("Content-Encoding")) ? 0 : 415;
}

asio::awaitable<std::optional<Json>> read_json(Service& service, http::Exchange& exchange, ErrorText error_text) {
  Result<Json> json = co_await read_body_as(service, exchange, [](Json body) { return Result<Json>(std::move(body)); });
  if (!json) {
    co_await send_error(exchange, json.error(), unread_status(exchange), std::nullopt, error_text);
    co_return std::nullopt;
  }
  co_return std::move(*json);
}

asio::awaitable<bool> send_json(http::Exchange& exchange, const Json& json, int status) {
  std::string text = to_text(json);
  co_return co_await exchange.send(status, kJsonType, std::move(text));
}

asio::awaitable<bool> send_error(http::Exchange& exchange, const Error& error, int status,
                                 std::optional<Duration> retry_after, ErrorText error_text) {
  const int code = status != 0 ? status : http_status(error.code);
  http::Headers headers;
  if (code == 503) headers.emplace_back("Retry-After", DispatchDriver::retry_after_seconds(retry_after));
  std::string text = error_text(error, code);
  co_return co_await exchange.send(code, kJsonType, std::move(text), std::move(headers));
}

std::string model_field(Fields& fields) {
  std::string name = fields.text("model");
  return name.empty() ? fields.text("name") : name;
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
