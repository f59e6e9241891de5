// Who a request is and who sent it, from its headers. All faces of the API use these.
#pragma once

#include <string>
#include <string_view>

#include "dispatch/driver.h"
#include "http/server.h"

namespace drover::api {

inline constexpr std::size_t kRequestIdBytesMax = 128;

// The request's id is its X-Request-Id header if that is sane (printable ASCII without spaces, at most
// kRequestIdBytesMax), else a new one of 16 hexadecimal digits. Whatever answer follows carries it in X-Request-Id. To
// be called first of all, so that refusals carry it too.
RequestIdentity identify(http::Exchange& exchange);

// Who is asked to share with others: "key …" with what Authorization or x-api-key says, else "id …" with X-Client-Id,
// else the address. Not to be shown to anybody.
std::string client_of(const http::Exchange& exchange);

// client_of() as logs and lists show it, in printable ASCII: "key:" and eight digits of its hash, "id:…", the address.
std::string shown_client(std::string_view client);

// The trace id of a W3C traceparent header; empty if it is none.
std::string_view trace_id_of(std::string_view traceparent);

// Adds X-Queue-Position to the answer if the request has to wait. Before the answer begins.
void tell_position(http::Exchange& exchange, const DispatchDriver& driver, const Ticket& ticket);

}  // namespace drover::api
