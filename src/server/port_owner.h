// Which process listens on a port of this machine.
#pragma once

#include <cstdint>
#include <string>

namespace drover::server {

// As "drover (process 4711)"; "" if none is seen: the processes of other users show their sockets to root alone. Fit
// for a terminal, whatever the process is called.
std::string port_owner(std::uint16_t port);

}  // namespace drover::server
