// The one way of a generation through the front, for every dialect: read and translate the request, check it against
// its model, submit it, and send its events in the dialect's form. I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "api/answer_form.h"
#include "api/generation_request.h"
#include "api/service.h"
#include "api/warnings.h"

namespace drover::api {

// A stream that has been silent for so long gets a heartbeat, unless the request says otherwise.
inline constexpr Duration kHeartbeatInterval = std::chrono::seconds(15);
// A stream with heartbeats begins once its request has waited for so long, or earlier with its prompt. What goes wrong
// before has its HTTP status; what goes wrong later can only be told in the stream.
inline constexpr Duration kHeadersDelay = std::chrono::seconds(1);

// A request as the native one that means the same, and the form that its answer takes.
struct Translated {
  Json body;
  std::unique_ptr<AnswerForm> form;
  ThinkRule think_rule = ThinkRule::kRefuse;
  Warnings warnings{};  // those of the translation
  std::string user{};   // whom the body names as its end user
};

struct Dialect {
  Endpoint endpoint;
  // Takes the body of a request, which is an object; less its user. Any thread. Error: kInvalidArgument.
  Result<Translated> (*translate)(Json body);
  ErrorText error_text;
  // In the place of `translate`, for one that needs more than the body. I/O thread.
  std::function<asio::awaitable<Result<Translated>>(http::Exchange& exchange)> read{};
};

// A POST route whose requests are handled so, from the body to the last byte.
void add_generation_route(http::Router& router, Service& service, std::string_view path, Dialect dialect);

}  // namespace drover::api
