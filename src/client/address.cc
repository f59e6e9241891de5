#include "client/address.h"

#include <cstdlib>
#include <string_view>

namespace drover::cli {

// Of all settings a client needs the server's address only; a server's setting that is wrong does not concern it.
Result<HostAddress> server_address() {
  const auto settings = read_settings([](const char* name) -> const char* {
    return std::string_view(name) == "OLLAMA_HOST" ? std::getenv(name) : nullptr;
  });
  if (!settings.ok()) return settings.error();
  return settings->host;
}

Result<std::string> server_url(const std::string& text) {
  if (text.empty()) {
    const auto address = server_address();
    if (!address.ok()) return address.error();
    return client_address(*address).url();
  }
  if (text.find("://") == std::string::npos) {
    const auto address = parse_host(text);
    if (!address.ok()) return address.error();
    return client_address(*address).url();
  }
  std::string url = text;
  while (url.ends_with('/')) url.pop_back();
  if (url.ends_with("/v1")) url.resize(url.size() - 3);
  return url;
}

HostAddress client_address(HostAddress address) {
  if (address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::") address.host = "::1";
  return address;
}

}  // namespace drover::cli
