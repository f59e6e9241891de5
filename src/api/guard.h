// Who may talk to the server: pages of other origins (CORS, OLLAMA_ORIGINS) and requests for other hosts (DNS
// rebinding) are refused from a request's headers alone, before its body is read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/settings.h"
#include "http/server.h"

namespace drover::api {

// Which origins a browser's pages may have: those of this machine, of desktop applications, and what OLLAMA_ORIGINS
// names, where "*" stands for any text, once per entry.
class OriginList {
 public:
  explicit OriginList(std::vector<std::string> configured);
  bool allows(std::string_view origin) const;

 private:
  std::vector<std::string> patterns_;
};

// Whether a Host header names this machine: an address, localhost, the machine's name, or a name that no public DNS
// server answers for (.localhost, .local, .internal). Without a port or with one.
bool is_host_of_this_machine(std::string_view host_header);

// The server's guard. Refused: 403 with a JSON error. OPTIONS is answered here, 204; other answers get the headers that
// let an allowed origin's page read them. The Host header is checked if the server listens on loopback only.
http::Server::Guard make_guard(const Settings& settings);

}  // namespace drover::api
