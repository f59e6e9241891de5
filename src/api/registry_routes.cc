#include "api/registry_routes.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <string>
#include <utility>

namespace drover::api {
namespace {

using registry::Progress;
using registry::Registry;
using registry::TransferRequest;
using Begin = Result<Registry::Handle> (Registry::*)(TransferRequest, registry::JobCallbacks);

// What a job has reported and its client has not been sent: posted by the job's thread, read on the I/O thread.
struct Watch {
  explicit Watch(asio::any_io_executor executor) : wake(executor, asio::steady_timer::time_point::max()) {}

  // Of a layer only the latest state is kept, so a client that reads slowly makes nothing grow.
  void add(Progress progress) {
    for (Progress& waiting : unsent) {
      if (progress.digest.empty() || waiting.digest != progress.digest) continue;
      waiting = std::move(progress);
      return;
    }
    unsent.push_back(std::move(progress));
  }

  asio::steady_timer wake;  // never expires; canceled when something has happened
  std::deque<Progress> unsent;
  std::optional<Result<void>> result;
  bool left = false;  // the client has
};

struct Wish {
  TransferRequest transfer;
  bool stream = true;
};

bool starts_with_http(std::string_view text) {
  constexpr std::string_view kHttp = "http://";
  if (text.size() < kHttp.size()) return false;
  for (std::size_t i = 0; i < kHttp.size(); ++i) {
    if ((text[i] | 0x20) != (kHttp[i] | 0x20)) return false;
  }
  return true;
}

Result<Wish> read_wish(const Json& body, const char* type, const char* unnamed) {
  Fields fields(body, type);
  std::string text = fields.text("model");
  if (text.empty()) text = fields.text("name");
  const bool insecure = fields.flag("insecure").value_or(false);
  registry::Account account{fields.text("username"), fields.text("password")};
  const bool stream = fields.flag("stream").value_or(true);
  if (fields.error()) return *fields.error();
  if (text.empty()) return invalid(unnamed);
  auto name = ModelName::parse(text);
  if (!name) return name.error();
  // A failure of the transfer, not of the request: Ollama answers 500 to this one.
  if (starts_with_http(text) && !insecure) return internal("insecure protocol http");
  return Wish{{std::move(*name), insecure, std::move(account)}, stream};
}

std::string line_of(const Progress& progress) {
  Json json = Json::object();
  json["status"] = progress.status;
  if (!progress.digest.empty()) {
    json["digest"] = progress.digest;
    json["total"] = progress.total;
    if (progress.completed > 0) json["completed"] = progress.completed;
  }
  return json.dump() + "\n";
}

// The registry's words may be no UTF-8.
std::string line_of(const Error& error) {
  Json json = Json::object();
  json["error"] = shown_error(error).message;
  return to_text(json) + "\n";
}

int status_of(const Error& error) {
  if (error.code == ErrorCode::kNoSpace) return 507;
  return error.code == ErrorCode::kQueueFull ? 503 : 500;
}

asio::awaitable<void> wait(Watch& watch) {
  boost::system::error_code ignored;
  co_await watch.wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

asio::awaitable<void> stream_progress(http::Exchange& exchange, Watch& watch) {
  const bool begun = co_await exchange.begin(200, kNdjsonType);
  if (!begun) co_return;
  while (!watch.left) {
    while (!watch.unsent.empty()) {
      const std::string line = line_of(watch.unsent.front());
      watch.unsent.pop_front();
      const bool written = co_await exchange.write(line);
      if (!written) co_return;
    }
    if (watch.result) break;
    co_await wait(watch);
  }
  if (watch.left) co_return;
  if (!*watch.result) {
    const std::string line = line_of(watch.result->error());
    co_await exchange.write(line);
  }
  co_await exchange.finish();
}

asio::awaitable<void> send_result(http::Exchange& exchange, Watch& watch) {
  while (!watch.result && !watch.left) {
    watch.unsent.clear();
    co_await wait(watch);
  }
  if (watch.left) co_return;
  if (!*watch.result) {
    Error error = watch.result->error();
    error.status = status_of(error);
    co_await send_error(exchange, error);
    co_return;
  }
  Json answer = Json::object();
  answer["status"] = "success";
  co_await send_json(exchange, answer);
}

asio::awaitable<void> transfer(Registry& registry, Begin begin, Wish wish, http::Exchange& exchange) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto watch = std::make_shared<Watch>(executor);
  registry::JobCallbacks callbacks;
  callbacks.on_progress = [executor, watch](const Progress& progress) {
    asio::post(executor, [watch, progress]() mutable {
      watch->add(std::move(progress));
      watch->wake.cancel();
    });
  };
  callbacks.on_end = [executor, watch](Result<void> result) {
    asio::post(executor, [watch, result = std::move(result)]() mutable {
      watch->result = std::move(result);
      watch->wake.cancel();
    });
  };
  // The job ends with its handle: when the client leaves, or when this coroutine does.
  const bool stream = wish.stream;
  const Result<Registry::Handle> job = (registry.*begin)(std::move(wish.transfer), std::move(callbacks));
  if (!job) {
    co_await send_error(exchange, job.error());
    co_return;
  }
  exchange.on_disconnect([watch] {
    watch->left = true;
    watch->wake.cancel();
  });
  if (stream) {
    co_await stream_progress(exchange, *watch);
  } else {
    co_await send_result(exchange, *watch);
  }
}

// Ollama's own registry lets in only who signs with the key of an account.
bool wants_a_signature(const ModelName& name) {
  return name.host() == kDefaultHost;
}

asio::awaitable<void> pull(Service& service, Registry& registry, http::Exchange& exchange) {
  const std::optional<Json> body = co_await read_json(service, exchange);
  if (!body) co_return;
  Result<Wish> wish = read_wish(*body, "PullRequest", "invalid model name");
  if (!wish) {
    co_await send_error(exchange, wish.error());
    co_return;
  }
  co_await transfer(registry, &Registry::pull, std::move(*wish), exchange);
}

asio::awaitable<void> push(Service& service, Registry& registry, http::Exchange& exchange) {
  const std::optional<Json> body = co_await read_json(service, exchange);
  if (!body) co_return;
  Result<Wish> wish = read_wish(*body, "PushRequest", "model is required");
  if (wish.ok() && wants_a_signature(wish->transfer.name)) {
    wish = Error{ErrorCode::kForbidden,
                 "pushing to ollama.com needs the key of an Ollama account, which Drover does not have; to push to a "
                 "registry of your own, copy the model to a name with its host: host/namespace/model"};
  }
  if (!wish) {
    co_await send_error(exchange, wish.error());
    co_return;
  }
  co_await transfer(registry, &Registry::push, std::move(*wish), exchange);
}

}  // namespace

void add_registry_routes(http::Router& router, Service& service, Registry& registry) {
  router.add("POST", "/api/pull", [&](http::Exchange& exchange) { return pull(service, registry, exchange); });
  router.add("POST", "/api/push", [&](http::Exchange& exchange) { return push(service, registry, exchange); });
}

}  // namespace drover::api
