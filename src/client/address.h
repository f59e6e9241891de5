// Where the server is that a command talks to: what OLLAMA_HOST or a user says, as an address and as a URL.
#pragma once

#include <string>

#include "base/result.h"
#include "base/settings.h"

namespace drover::cli {

// The server that OLLAMA_HOST names. Error: kInvalidArgument.
Result<HostAddress> server_address();

// The address of a server as a user writes it: "host:port" as in OLLAMA_HOST, or a URL, of which "/v1" and slashes at
// the end are left out. Empty: server_address(). Error: kInvalidArgument.
Result<std::string> server_url(const std::string& text);

// The address a client uses to reach a server that listens on `address`: 0.0.0.0 and :: are not places to talk to.
HostAddress client_address(HostAddress address);

}  // namespace drover::cli
