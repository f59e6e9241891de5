#include "api/request_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <random>

#include "fleet/ticket.h"
#include "store/digest.h"

namespace drover::api {
namespace {

constexpr std::size_t kClientIdBytesMax = 256;
constexpr std::size_t kHashDigitsShown = 8;
constexpr std::string_view kKeyPrefix = "key ";
constexpr std::string_view kIdPrefix = "id ";
constexpr char kUserSeparator = '\n';  // of a key and its user: no header holds one

bool is_printable(char c) {
  return c > ' ' && c < '\x7f';
}

bool is_hexadecimal(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

// Different for each request of this server, and for each server in all likelihood. I/O thread only.
std::string new_id() {
  static std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return fmt::format("{:016x}", generator());
}

}  // namespace

RequestIdentity identify(http::Exchange& exchange) {
  RequestIdentity identity;
  const std::string_view given = exchange.header("X-Request-Id");
  const bool sane =
      !given.empty() && given.size() <= kRequestIdBytesMax && std::all_of(given.begin(), given.end(), is_printable);
  identity.id = sane ? std::string(given) : new_id();
  identity.client = shown_client(client_of(exchange));
  identity.route = std::string(exchange.path());
  identity.trace = std::string(trace_id_of(exchange.header("traceparent")));
  exchange.add_header("X-Request-Id", identity.id);
  return identity;
}

std::string client_of(const http::Exchange& exchange, std::string_view user) {
  constexpr std::string_view kBearer = "Bearer ";
  std::string_view key = exchange.header("Authorization");
  if (key.starts_with(kBearer)) key.remove_prefix(kBearer.size());
  if (key.empty()) key = exchange.header("x-api-key");
  const std::string_view id = exchange.header("X-Client-Id");
  if (const std::string_view named = exchange.header("X-OpenWebUI-User-Id"); !named.empty()) user = named;
  if (!id.empty()) user = {};
  user = user.substr(0, kUserBytesMax);
  if (!key.empty()) {
    std::string client = std::string(kKeyPrefix) + std::string(key);
    if (!user.empty()) client.append(1, kUserSeparator).append(user);
    return client;
  }
  if (!id.empty()) return std::string(kIdPrefix) + std::string(id.substr(0, kClientIdBytesMax));
  if (!user.empty()) return std::string(kIdPrefix) + std::string(user);
  return std::string(exchange.remote_address());
}

namespace {

// Claude Code writes {"device_id":…,"account_uuid":…,"session_id":…}: all sessions of one device are one user.
std::string user_of_object(std::string_view text) {
  constexpr std::size_t kBytesMax = 4096;
  Json object;
  if (text.size() > kBytesMax || JsonReader(kBodyBounds).read(text, object) || !object.is_object()) {
    return std::string(text);
  }
  object.erase("session_id");
  return to_text(object);
}

}  // namespace

std::string user_of(const Json& body) {
  const auto text = [](const Json& object, const char* name) -> std::string_view {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get_ref<const std::string&>() : std::string_view();
  };
  std::string_view user = text(body, "user");
  const auto metadata = body.find("metadata");
  if (user.empty() && metadata != body.end() && metadata->is_object()) {
    user = text(*metadata, "user_id");
    user = user.substr(0, user.find("_session_"));
    if (user.starts_with('{')) return user_of_object(user).substr(0, kUserBytesMax);
  }
  return std::string(user.substr(0, kUserBytesMax));
}

std::string shown_client(std::string_view client) {
  const bool named = client.starts_with(kIdPrefix);
  std::string shown(named ? "id:" : "");
  std::string_view rest = client.substr(named ? kIdPrefix.size() : 0);
  if (client.starts_with(kKeyPrefix)) {
    const auto end = std::min(client.find(kUserSeparator), client.size());
    const std::string_view key = client.substr(kKeyPrefix.size(), end - kKeyPrefix.size());
    shown = "key:" + Digest::of(key).hex().substr(0, kHashDigitsShown) + (end < client.size() ? "/" : "");
    rest = client.substr(std::min(end + 1, client.size()));
  }
  for (const char c : rest) shown += is_printable(c) ? c : '?';
  return shown;
}

// "00-<32 digits>-<16 digits>-<2 digits>", and what later versions may append.
std::string_view trace_id_of(std::string_view traceparent) {
  constexpr std::size_t kIdAt = 3;
  constexpr std::size_t kIdSize = 32;
  constexpr std::size_t kParentAt = kIdAt + kIdSize + 1;
  constexpr std::size_t kFlagsAt = kParentAt + 16 + 1;
  constexpr std::size_t kSize = kFlagsAt + 2;
  if (traceparent.size() < kSize) return {};
  for (std::size_t i = 0; i < kSize; ++i) {
    const bool dash = i == kIdAt - 1 || i == kParentAt - 1 || i == kFlagsAt - 1;
    if (dash ? traceparent[i] != '-' : !is_hexadecimal(traceparent[i])) return {};
  }
  const std::string_view version = traceparent.substr(0, 2);
  const std::string_view rest = traceparent.substr(kSize);
  if (version == "ff" || (version == "00" ? !rest.empty() : !rest.empty() && rest.front() != '-')) return {};
  const std::string_view id = traceparent.substr(kIdAt, kIdSize);
  return id.find_first_not_of('0') == std::string_view::npos ? std::string_view() : id;
}

void tell_position(http::Exchange& exchange, const Fleet& driver, const Ticket& ticket) {
  const std::size_t position = driver.position(ticket.request());
  if (position > 0) exchange.add_header("X-Queue-Position", std::to_string(position));
}

}  // namespace drover::api
