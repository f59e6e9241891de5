#include "api/create_routes.h"

#include <fmt/format.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <utility>

#include "template/template.h"

namespace drover::api {
namespace {

constexpr int kQuantizationsMax = 8;  // running or waiting for their turn; one more is refused

// ---- what is asked for

using FileList = std::vector<std::pair<std::string, std::string>>;

FileList read_files(Fields& fields, const char* field) {
  FileList files;
  const Json* object = fields.object(field);
  if (object == nullptr) return files;
  for (const auto& [name, digest] : object->items()) {
    if (!digest.is_string()) {
      fields.fail(
          fmt::format("json: cannot unmarshal a digest into Go struct field CreateRequest.{} of type string", field));
      return {};
    }
    files.emplace_back(name, digest.get<std::string>());
  }
  return files;
}

Result<CreateSpec> read_create(const Json& body) {
  Fields fields(body, "CreateRequest");
  const std::string text = model_field(fields);
  auto name = ModelName::parse(text);
  if (fields.error()) return *fields.error();
  if (!name) return name.error();
  CreateSpec spec(*name);
  if (const std::string from = fields.text("from"); !from.empty()) {
    auto parsed = ModelName::parse(from);
    if (!parsed) return parsed.error();
    spec.from = *parsed;
  }
  spec.files = read_files(fields, "files");
  spec.adapters = read_files(fields, "adapters");
  spec.template_text = fields.optional_text("template");
  spec.system = fields.optional_text("system");
  if (const Json* parameters = fields.object("parameters")) spec.parameters = *parameters;
  if (const Json* messages = fields.array("messages")) spec.messages = *messages;
  spec.licenses = fields.text_or_texts("license");
  spec.renderer = fields.text("renderer");
  spec.parser = fields.text("parser");
  spec.requires_version = fields.text("requires");
  spec.quantize = fields.text("quantize");
  if (spec.quantize.empty()) spec.quantize = fields.text("quantization");
  if (fields.error()) return *fields.error();
  if (spec.template_text) {
    if (auto parsed = go_template::Template::parse(*spec.template_text); !parsed) {
      return invalid("template error: " + parsed.error().message);
    }
  }
  return spec;
}

// ---- how it goes

// Of a running create: posted by other threads, read on the I/O thread.
struct CreateProgress {
  explicit CreateProgress(asio::any_io_executor executor) : wake(executor, asio::steady_timer::time_point::max()) {}

  // Of a measured step only the latest state is kept, so a client that reads slowly makes nothing grow.
  void add(CreateStatus status) {
    const bool again = !status.digest.empty() && !unsent.empty() && unsent.back().digest == status.digest;
    if (again) unsent.pop_back();
    unsent.push_back(std::move(status));
    wake.cancel();
  }

  asio::steady_timer wake;  // never expires; canceled when something has happened
  std::deque<CreateStatus> unsent;
  std::optional<Result<void>> result;
  std::atomic<bool> canceled{false};  // the client has gone
};
using ProgressPointer = std::shared_ptr<CreateProgress>;

std::string line_of(const CreateStatus& status) {
  Json json = Json::object();
  json["status"] = status.status;
  if (!status.digest.empty()) {
    json["digest"] = status.digest;
    json["total"] = status.total;
    if (status.completed > 0) json["completed"] = status.completed;
  }
  return to_text(json) + "\n";
}

asio::awaitable<void> wait(CreateProgress& progress) {
  boost::system::error_code ignored;
  co_await progress.wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

// Sends what is reported until there is a result. False: the client has gone.
asio::awaitable<bool> follow(http::Exchange& exchange, CreateProgress& progress, bool stream) {
  while (!progress.canceled) {
    while (!progress.unsent.empty()) {
      const CreateStatus status = std::move(progress.unsent.front());
      progress.unsent.pop_front();
      if (!stream) continue;
      if (!exchange.begun()) {
        const bool begun = co_await exchange.begin(200, kNdjsonType);
        if (!begun) co_return false;
      }
      const bool written = co_await exchange.write(line_of(status));
      if (!written) co_return false;
    }
    if (progress.result) co_return true;
    co_await wait(progress);
  }
  co_return false;
}

asio::awaitable<void> send_failure(http::Exchange& exchange, const Error& error) {
  if (!exchange.begun()) {
    co_await send_error(exchange, error);
    co_return;
  }
  const std::string line = ollama_error_text(shown_error(error), 0) + "\n";
  co_await exchange.write(line);
  co_await exchange.finish();
}

// ---- the steps

// Fetches the model that another one is to be made from.
asio::awaitable<bool> pull_base(CreateTools& tools, http::Exchange& exchange, const ModelName& name, bool insecure,
                                bool stream, ProgressPointer progress) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  registry::JobCallbacks callbacks;
  callbacks.on_progress = [executor, progress](const registry::Progress& told) {
    if (told.status == "success") return;  // there is more to come
    CreateStatus status{told.status, told.digest, told.total, told.completed};
    asio::post(executor, [progress, status = std::move(status)] { progress->add(status); });
  };
  callbacks.on_end = [executor, progress](Result<void> result) {
    asio::post(executor, [progress, result = std::move(result)]() mutable {
      progress->result = std::move(result);
      progress->wake.cancel();
    });
  };
  registry::TransferRequest request{name, insecure, {}};
  // The pull ends with its handle.
  const Result<registry::Registry::Handle> job = tools.registry.pull(std::move(request), std::move(callbacks));
  if (!job) progress->result = job.error();
  const bool followed = co_await follow(exchange, *progress, stream);
  if (!followed) co_return false;
  if (*progress->result) {
    progress->result.reset();
    co_return true;
  }
  co_await send_failure(exchange, progress->result->error());
  co_return false;
}

// Has the store make the model, on one of the disk's threads, or where models are quantized.
void begin_create(Service& service, CreateTools& tools, std::shared_ptr<const CreateSpec> spec,
                  ProgressPointer progress, asio::any_io_executor executor, std::shared_ptr<void> turn) {
  asio::thread_pool& pool = spec->quantize.empty() ? service.disk : tools.quantize_thread;
  asio::post(pool, [&service, &tools, spec, progress, executor, turn = std::move(turn)]() mutable {
    const auto report = [&](const CreateStatus& status) {
      asio::post(executor, [progress, status] { progress->add(status); });
    };
    const Quantizer quantizer = [&](const QuantizeWork& work, const std::function<void(double)>& told) {
      return tools.quantizer.run(work.sources, work.target, work.file_type, told, progress->canceled);
    };
    Result<void> result = Error{ErrorCode::kCanceled, "canceled"};
    if (!progress->canceled) result = service.store.create(*spec, report, quantizer);
    if (!result && result.error().code == ErrorCode::kNotFound && spec->from) {
      result = model_not_found(spec->from->display_shortest());
    }
    asio::post(executor, [progress, turn = std::move(turn), result = std::move(result)]() mutable {
      progress->result = std::move(result);
      progress->wake.cancel();
    });
  });
}

// A place among those that quantize, given back on the I/O thread with the last copy; null: there is none.
std::shared_ptr<void> take_turn() {
  static int taken = 0;  // I/O thread only
  if (taken >= kQuantizationsMax) return nullptr;
  ++taken;
  return {&taken, [](void*) { --taken; }};
}

asio::awaitable<void> create(Service& service, CreateTools& tools, http::Exchange& exchange) {
  const std::optional<Json> body = co_await read_json(service, exchange);
  if (!body) co_return;
  auto read = read_create(*body);
  Fields fields(*body, "CreateRequest");
  const bool stream = fields.flag("stream").value_or(true);
  const bool insecure = fields.flag("insecure").value_or(false);
  if (!read || fields.error()) {
    const Error error = read ? *fields.error() : read.error();
    co_await send_error(exchange, error);
    co_return;
  }
  const auto spec = std::make_shared<const CreateSpec>(std::move(*read));
  std::shared_ptr<void> turn;
  if (!spec->quantize.empty()) {
    turn = take_turn();
    if (turn == nullptr) {
      const Error error{ErrorCode::kQueueFull, fmt::format("{} models are being quantized already", kQuantizationsMax)};
      co_await send_error(exchange, error);
      co_return;
    }
  }
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto progress = std::make_shared<CreateProgress>(executor);
  exchange.on_disconnect([progress] {
    progress->canceled = true;
    progress->wake.cancel();
  });
  const auto lacks_base = [&service, spec] { return spec->from && !service.store.exists(*spec->from); };
  const bool is_missing = co_await on_disk(service, lacks_base);
  if (is_missing) {
    const bool pulled = co_await pull_base(tools, exchange, *spec->from, insecure, stream, progress);
    if (!pulled) co_return;
  }
  begin_create(service, tools, spec, progress, executor, std::move(turn));
  const bool followed = co_await follow(exchange, *progress, stream);
  if (!followed) co_return;
  if (!*progress->result) {
    co_await send_failure(exchange, progress->result->error());
    co_return;
  }
  if (stream) {
    co_await exchange.finish();
    co_return;
  }
  Json answer = Json::object();
  answer["status"] = "success";
  co_await send_json(exchange, answer);
}

}  // namespace

void add_create_routes(http::Router& router, Service& service, CreateTools& tools) {
  router.add("POST", "/api/create", [&](http::Exchange& exchange) { return create(service, tools, exchange); });
}

}  // namespace drover::api
