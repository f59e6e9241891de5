// The one way of a request to a model through the front, for every dialect, for text and for vectors: identify it, read
// it, bind it to its model, submit it or refuse it, and answer. I/O thread.
#pragma once

#include <functional>
#include <string_view>

#include "api/request.h"
#include "api/service.h"

namespace drover::api {

// A stream that has been silent for so long gets a heartbeat, unless the request says otherwise.
inline constexpr Duration kHeartbeatInterval = std::chrono::seconds(15);

struct Dialect {
  // Takes the body of a request, which is an object. Any thread. Error: kInvalidArgument.
  Result<Request> (*read)(Json body);
  ErrorText error_text;
  // In the place of `read`, for one that needs more than the body. I/O thread.
  std::function<asio::awaitable<Result<Request>>(http::Exchange& exchange)> read_exchange{};
};

// A POST route whose requests are served so, from the body to the last byte.
void add_request_route(http::Router& router, Service& service, std::string_view path, Dialect dialect);

}  // namespace drover::api
