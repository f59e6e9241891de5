// Who a request is and who sent it, from its headers. All faces of the API use these.
#pragma once

#include <string>
#include <string_view>

#include "api/json.h"
#include "fleet/fleet.h"
#include "http/server.h"

namespace drover::api {

inline constexpr std::size_t kRequestIdBytesMax = 128;

// The request's id is its X-Request-Id header if that is sane (printable ASCII without spaces, at most
// kRequestIdBytesMax), else a new one of 16 hexadecimal digits. Whatever answer follows carries it in X-Request-Id. To
// be called first of all, so that refusals carry it too.
RequestIdentity identify(http::Exchange& exchange);

// Who is asked to share with others. A key (Authorization, x-api-key) comes first, then X-Client-Id, then `user`, then
// the address. Who has a key and no X-Client-Id may speak for several users: each is a client of that key. Not to be
// shown to anybody. `user` is what the body says, see user_of(); X-OpenWebUI-User-Id goes before it.
std::string client_of(const http::Exchange& exchange, std::string_view user = {});

// The end user whom a body names: `user` as in OpenAI's API, else `metadata.user_id` as in Anthropic's, less the
// session that Claude Code appends. At most kUserBytesMax; empty: none.
inline constexpr std::size_t kUserBytesMax = 256;
std::string user_of(const Json& body);

// client_of() as logs and lists show it, in printable ASCII: "key:" and eight digits of its hash, with "/" and its user
// if it has one, "id:…", the address.
std::string shown_client(std::string_view client);

// The trace id of a W3C traceparent header; empty if it is none.
std::string_view trace_id_of(std::string_view traceparent);

// Adds X-Queue-Position to the answer if the request has to wait. Before the answer begins.
void tell_position(http::Exchange& exchange, const Fleet& driver, const Ticket& ticket);

}  // namespace drover::api
