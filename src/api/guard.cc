#include "api/guard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <cctype>
#include <memory>
#include <utility>

#include "api/service.h"
#include "base/text.h"

namespace drover::api {
namespace {

// What a page may be told to send in a preflight; more is no list of header names.
constexpr std::size_t kRequestedHeadersMax = 4096;
constexpr const char* kMethods = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";
constexpr const char* kDefaultHeaders = "Authorization, Content-Type, User-Agent, Accept, X-Requested-With";
constexpr const char* kExposedHeaders = "X-Request-Id, X-Queue-Position, Retry-After, X-Drover-Warning";
constexpr const char* kPreflightSeconds = "43200";

bool matches(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  const std::string_view before = pattern.substr(0, star);
  const std::string_view after = pattern.substr(star + 1);
  return text.size() >= before.size() + after.size() && text.starts_with(before) && text.ends_with(after);
}

// "host:port", "[v6]:port", "host", "[v6]", "v6" without the port and brackets.
std::string_view without_port(std::string_view host) {
  if (const auto close = host.find(']'); host.starts_with('[') && close != std::string_view::npos) {
    return host.substr(1, close - 1);
  }
  const auto colon = host.find(':');
  return colon == host.rfind(':') ? host.substr(0, colon) : host;
}

bool is_address(std::string_view host) {
  boost::system::error_code error;
  asio::ip::make_address(std::string(host), error);
  return !error;
}

std::string machine_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? lower_case(name.data()) : std::string();
}

bool listens_on_loopback_only(const HostAddress& host) {
  if (host.scheme == "unix" || host.host == "localhost") return true;
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host.host, error);
  return !error && address.is_loopback();
}

bool is_list_of_names(std::string_view text) {
  return text.size() <= kRequestedHeadersMax && std::all_of(text.begin(), text.end(), [](unsigned char letter) {
           return std::isalnum(letter) != 0 || letter == '-' || letter == '_' || letter == ',' || letter == ' ';
         });
}

// A page that the server itself has served.
bool is_own_origin(std::string_view origin, std::string_view host) {
  return !host.empty() && (origin == fmt::format("http://{}", host) || origin == fmt::format("https://{}", host));
}

asio::awaitable<bool> refuse(http::Exchange& exchange, std::string message) {
  const Error error{ErrorCode::kForbidden, std::move(message)};
  co_await send_error(exchange, error);
  co_return false;
}

asio::awaitable<bool> check(const OriginList& origins, bool check_host, http::Exchange& exchange) {
  exchange.add_header("X-Content-Type-Options", "nosniff");
  const std::string_view host = exchange.header("Host");
  if (check_host && !is_host_of_this_machine(host)) {
    std::string message = fmt::format("host \"{}\" is not allowed: this server is for this machine only", host);
    co_return co_await refuse(exchange, std::move(message));
  }
  const std::string origin(exchange.header("Origin"));
  const bool is_foreign = !origin.empty() && !is_own_origin(origin, host);
  // Pages of other origins have what CORS gives to them; others' answers are no image or script of theirs.
  const bool shared = is_foreign && origins.allows(origin);
  exchange.add_header("Cross-Origin-Resource-Policy", shared ? "cross-origin" : "same-origin");
  if (is_foreign && !shared) {
    std::string message = fmt::format("origin \"{}\" is not allowed: see OLLAMA_ORIGINS", origin);
    co_return co_await refuse(exchange, std::move(message));
  }
  if (is_foreign) {
    exchange.add_header("Access-Control-Allow-Origin", origin);
    exchange.add_header("Access-Control-Expose-Headers", kExposedHeaders);
    exchange.add_header("Vary", "Origin");
  }
  if (exchange.method() != "OPTIONS") co_return true;
  if (is_foreign) {
    // An origin that is allowed may send what its client library likes to; the official ones have headers of their own.
    const std::string_view wanted = exchange.header("Access-Control-Request-Headers");
    const bool given = !wanted.empty() && is_list_of_names(wanted);
    exchange.add_header("Access-Control-Allow-Methods", kMethods);
    exchange.add_header("Access-Control-Allow-Headers", given ? std::string(wanted) : std::string(kDefaultHeaders));
    exchange.add_header("Access-Control-Max-Age", kPreflightSeconds);
  }
  std::string nothing;
  co_await exchange.send(204, "", std::move(nothing));
  co_return false;
}

}  // namespace

OriginList::OriginList(std::vector<std::string> configured) {
  for (const std::string& pattern : configured) patterns_.push_back(lower_case(pattern));
  for (const char* host : {"localhost", "127.0.0.1", "0.0.0.0"}) {
    for (const char* scheme : {"http", "https"}) {
      patterns_.push_back(fmt::format("{}://{}", scheme, host));
      patterns_.push_back(fmt::format("{}://{}:*", scheme, host));
    }
  }
  for (const char* pattern : {"app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*"}) {
    patterns_.push_back(pattern);
  }
}

bool OriginList::allows(std::string_view origin) const {
  const std::string text = lower_case(origin);
  return std::any_of(patterns_.begin(), patterns_.end(),
                     [&](const std::string& pattern) { return matches(pattern, text); });
}

bool is_host_of_this_machine(std::string_view host_header) {
  const std::string host = lower_case(without_port(host_header));
  // A page cannot make its own name resolve to what an address says, so addresses are no way in.
  if (host.empty() || host == "localhost" || is_address(host)) return true;
  for (const std::string_view domain : {".localhost", ".local", ".internal"}) {
    if (host.ends_with(domain)) return true;
  }
  return host == machine_name();
}

http::Server::Guard make_guard(const Settings& settings) {
  auto origins = std::make_shared<OriginList>(settings.origins);
  const bool check_host = listens_on_loopback_only(settings.host);
  return [origins, check_host](http::Exchange& exchange) { return check(*origins, check_host, exchange); };
}

}  // namespace drover::api
