// The model library's routes: tags, ps, show, blobs, copy, delete; and the server's greeting and version.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>

#include "api/bind.h"
#include "api/error_status.h"
#include "api/service.h"

namespace drover::api {
namespace {

constexpr std::size_t kUploadPieceBytes = 256u << 10;
// The Ollama whose API this is: clients refuse servers that are older than what they need.
constexpr const char* kOllamaVersion = "0.20.0";

Json capabilities_of(const Model& model) {
  Json list = Json::array();
  for (const Capability capability : model.capabilities) list.push_back(std::string(to_string(capability)));
  return list;
}

using ModelPointer = std::shared_ptr<const Model>;

std::string modified_at(const Model& model) {
  return timestamp(std::chrono::duration_cast<std::chrono::nanoseconds>(model.modified_at.time_since_epoch()).count());
}

asio::awaitable<void> send_text(http::Exchange& exchange, std::string text, int status = 200) {
  co_await exchange.send(status, "text/plain; charset=utf-8", std::move(text));
}

asio::awaitable<void> ready(Service& service, http::Exchange& exchange) {
  const std::string reason = service.driver.why_not_ready();
  const int status = reason.empty() ? 200 : 503;
  std::string text = reason.empty() ? "ready" : reason;
  co_await send_text(exchange, std::move(text), status);
}

// ---- lists

asio::awaitable<void> tags(Service& service, http::Exchange& exchange) {
  const auto list_models = [&service] { return service.store.list(); };
  const std::vector<ModelPointer> models = co_await on_disk(service, list_models);
  Json list = Json::array();
  for (const ModelPointer& model : models) {
    Json entry = Json::object();
    entry["name"] = model->name.display_shortest();
    entry["model"] = model->name.display_shortest();
    entry["modified_at"] = modified_at(*model);
    entry["size"] = model->size;
    entry["digest"] = model->digest.hex();
    entry["details"] = model_details(*model);
    entry["capabilities"] = capabilities_of(*model);
    list.push_back(std::move(entry));
  }
  Json body = Json::object();
  body["models"] = std::move(list);
  co_await send_json(exchange, body);
}

const char* state_text(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kLoaded:
      return "loaded";
    case ModelState::kDraining:
      return "draining";
    case ModelState::kStopping:
      return "stopping";
    case ModelState::kBackoff:
      return "backoff";
  }
  return "";
}

std::string expiry_text(TimePoint expires) {
  using std::chrono::system_clock;
  // For ever is shown as Ollama shows it: a time that nobody will see.
  constexpr auto kForEver = std::chrono::hours(24 * 365 * 100);
  const Duration left = expires == kNever ? Duration(kForEver) : std::min<Duration>(expires - Clock::now(), kForEver);
  const auto at = system_clock::now() + std::chrono::duration_cast<system_clock::duration>(left);
  return timestamp(std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count());
}

// A runner for what it computes. One that generates and one that embeds may have the same model.
Json task_entry(const LoadedModelView& view) {
  Json task = Json::object();
  task["task"] = std::string(to_string(view.embedding ? Capability::kEmbedding : Capability::kCompletion));
  task["state"] = state_text(view.state.state);
  task["running"] = view.state.running;
  task["waiting"] = view.state.waiting;
  task["slots"] = view.state.slots;
  task["parallel"] = view.state.slots;  // the name of 0.1, for one minor version more
  return task;
}

std::uint64_t memory_of(const LoadedModelView& view) {
  return view.memory_bytes > 0 ? view.memory_bytes : view.state.memory_bytes;
}

// One row for all runners of a model. What only one of them can have is that of the first: the one that generates, if
// there is one.
Json ps_entry(Service& service, std::span<const LoadedModelView* const> runners) {
  const LoadedModelView& view = *runners.front();
  Json entry = Json::object();
  entry["name"] = view.name;
  entry["model"] = view.name;
  std::uint64_t bytes = 0;
  std::uint64_t device_bytes = 0;
  TimePoint expires{};
  Json tasks = Json::array();
  std::string error;
  for (const LoadedModelView* runner : runners) {
    bytes += memory_of(*runner);
    device_bytes += runner->device_bytes;
    expires = std::max(expires, runner->state.expires);
    if (error.empty()) error = runner->state.last_error;
    tasks.push_back(task_entry(*runner));
  }
  entry["size"] = bytes;
  entry["digest"] = view.manifest_digest;
  if (auto name = ModelName::parse(view.name)) {
    if (auto model = service.store.find(*name)) entry["details"] = model_details(**model);
  }
  entry["expires_at"] = expiry_text(expires);
  entry["size_vram"] = device_bytes;
  entry["context_length"] = view.state.context_length;
  entry["state"] = state_text(view.state.state);
  entry["running"] = view.state.running;
  entry["waiting"] = view.state.waiting;
  entry["slots"] = view.state.slots;
  entry["parallel"] = view.state.slots;  // the name of 0.1, for one minor version more
  entry["tasks"] = std::move(tasks);
  if (view.kv.cells > 0) {
    Json kv = Json::object();
    kv["cells"] = view.kv.cells;
    kv["used"] = view.kv.used;
    kv["shared"] = view.kv.shared;
    kv["kept"] = view.kv.kept;
    entry["kv"] = std::move(kv);
  }
  if (!view.notice.empty()) entry["notice"] = view.notice;
  if (view.state.state == ModelState::kLoading) entry["load_progress"] = view.state.load_fraction;
  if (!error.empty()) entry["error"] = error;
  return entry;
}

asio::awaitable<void> ps(Service& service, http::Exchange& exchange) {
  const std::vector<LoadedModelView> views = service.driver.loaded();
  std::vector<std::vector<const LoadedModelView*>> models;
  std::map<std::string, std::size_t> places;  // in `models`, by the key of the one that generates
  for (const LoadedModelView& view : views) {
    const auto [place, is_new] = places.emplace(generation_key(view.key), models.size());
    if (is_new) models.emplace_back();
    auto& runners = models[place->second];
    runners.insert(view.embedding ? runners.end() : runners.begin(), &view);
  }
  Json list = Json::array();
  for (const auto& runners : models) list.push_back(ps_entry(service, runners));
  Json body = Json::object();
  body["models"] = std::move(list);
  co_await send_json(exchange, body);
}

// ---- show

Json show_answer(const Model& model, const Gguf& gguf, bool verbose) {
  Json body = Json::object();
  std::string licenses;
  for (const std::string& license : model.licenses) licenses += (licenses.empty() ? "" : "\n") + license;
  if (!licenses.empty()) body["license"] = licenses;
  body["modelfile"] = show_modelfile(model);
  if (!model.parameters.empty()) body["parameters"] = show_parameters(model);
  body["template"] = model.template_text ? *model.template_text : gguf.chat_template();
  if (!model.system.empty()) body["system"] = model.system;
  if (!model.config.renderer.empty()) body["renderer"] = model.config.renderer;
  if (!model.config.parser.empty()) body["parser"] = model.config.parser;
  body["details"] = model_details(model);
  if (!model.messages.empty()) body["messages"] = model.messages;
  body["model_info"] = gguf.model_info();
  if (verbose) body["tensors"] = show_tensors(gguf);
  body["capabilities"] = capabilities_of(model);
  body["modified_at"] = modified_at(model);
  return body;
}

asio::awaitable<void> show(Service& service, http::Exchange& exchange) {
  const std::optional<Json> body = co_await read_json(service, exchange);
  if (!body) co_return;
  Fields fields(*body, "ShowRequest");
  const std::string text = model_field(fields);
  const bool verbose = fields.flag("verbose").value_or(false);
  const std::string system = fields.text("system");
  if (fields.error()) {
    co_await send_error(exchange, *fields.error());
    co_return;
  }
  const auto work = [&service, &text, verbose, &system]() -> Result<Json> {
    if (text.empty()) return invalid("model is required");
    const auto name = ModelName::parse(text);
    if (!name) return name.error();
    auto found = service.store.find(*name);
    if (!found && found.error().code == ErrorCode::kNotFound) return model_not_found(text);
    if (!found) return std::move(found).error();
    Model model = **found;
    if (!system.empty()) model.system = system;
    if (!verbose) return show_answer(model, *model.gguf, false);
    auto gguf = read_gguf(model, GgufArrays::kAll);
    if (!gguf) return std::move(gguf).error();
    return show_answer(model, *gguf, true);
  };
  const Result<Json> answer = co_await on_disk(service, work);
  if (answer) {
    co_await send_json(exchange, *answer);
  } else {
    co_await send_error(exchange, answer.error());
  }
}

// ---- blobs

asio::awaitable<void> blob_head(Service& service, http::Exchange& exchange) {
  const auto digest = Digest::parse(exchange.parameter("digest"));
  if (!digest) {
    co_await send_error(exchange, digest.error());
    co_return;
  }
  const auto promise = [&] { return service.store.promise_blob(*digest); };
  const bool there = co_await on_disk(service, promise);
  if (!there) {
    const Error error = not_found(fmt::format("blob \"{}\" not found", exchange.parameter("digest")));
    co_await send_error(exchange, error);
  } else {
    co_await exchange.send(200, "", "");
  }
}

asio::awaitable<Result<void>> receive_blob(Service& service, http::Exchange& exchange, const Digest& digest) {
  // Also while the client sends nothing.
  if (const auto held = exchange.hold(kUploadPieceBytes); !held) co_return held.error();
  if (const auto held = exchange.hold_file(); !held) co_return held.error();
  auto writer = service.store.blobs().create();
  if (!writer) co_return writer.error();
  std::vector<char> piece(kUploadPieceBytes);
  while (true) {
    auto size = co_await exchange.read_some_body(piece);
    if (!size) co_return size.error();
    if (*size == 0) break;
    const auto write = [&] { return writer->write({piece.data(), *size}); };
    auto written = co_await on_disk(service, write);
    if (!written) co_return written;
  }
  const auto finish = [&] { return service.store.finish_upload(*writer, digest); };
  auto finished = co_await on_disk(service, finish);
  co_return finished;
}

asio::awaitable<void> blob_post(Service& service, http::Exchange& exchange) {
  const auto digest = Digest::parse(exchange.parameter("digest"));
  if (!digest) {
    co_await send_error(exchange, digest.error());
    co_return;
  }
  const auto promise = [&] { return service.store.promise_blob(*digest); };
  const bool there = co_await on_disk(service, promise);
  if (there) {
    co_await exchange.send(200, "", "");
    co_return;
  }
  const Result<void> received = co_await receive_blob(service, exchange, *digest);
  if (received) {
    co_await exchange.send(201, "", "");
  } else {
    const Error error = body_error(received.error());
    co_await send_error(exchange, error);
  }
}

// ---- copy and delete

asio::awaitable<void> copy(Service& service, http::Exchange& exchange) {
  const std::optional<Json> body = co_await read_json(service, exchange);
  if (!body) co_return;
  Fields fields(*body, "CopyRequest");
  const std::string source = fields.text("source");
  const std::string destination = fields.text("destination");
  const auto from = ModelName::parse(source);
  const auto to = ModelName::parse(destination);
  std::optional<Error> error = fields.error();
  if (!error && !from) error = invalid(fmt::format("source \"{}\" is invalid", source));
  if (!error && !to) error = invalid(fmt::format("destination \"{}\" is invalid", destination));
  if (!error) {
    const auto work = [&] { return service.store.copy(*from, *to); };
    const Result<void> copied = co_await on_disk(service, work);
    if (!copied) error = copied.error();
    if (error && error->code == ErrorCode::kNotFound) error->message = fmt::format("model \"{}\" not found", source);
  }
  if (error) {
    co_await send_error(exchange, *error);
  } else {
    co_await exchange.send(200, "", "");
  }
}

asio::awaitable<void> remove(Service& service, http::Exchange& exchange) {
  const std::optional<Json> body = co_await read_json(service, exchange);
  if (!body) co_return;
  Fields fields(*body, "DeleteRequest");
  const std::string text = model_field(fields);
  const auto name = ModelName::parse(text);
  std::optional<Error> error = fields.error();
  if (!error && !name) error = invalid(fmt::format("name \"{}\" is invalid", text));
  if (!error) {
    const auto work = [&] { return service.store.remove(*name); };
    const Result<void> removed = co_await on_disk(service, work);
    if (!removed) error = removed.error();
    if (error && error->code == ErrorCode::kNotFound) error = model_not_found(text);
  }
  if (error) {
    co_await send_error(exchange, *error);
  } else {
    co_await exchange.send(200, "", "");
  }
}

}  // namespace

void add_model_routes(http::Router& router, Service& service) {
  const auto add = [&](std::string_view method, std::string_view path, auto handler) {
    router.add(method, path, [&service, handler](http::Exchange& exchange) { return handler(service, exchange); });
  };
  add("GET", "/", [](Service&, http::Exchange& exchange) { return send_text(exchange, "Ollama is running"); });
  add("GET", "/api/version", [](Service&, http::Exchange& exchange) -> asio::awaitable<void> {
    Json body = Json::object();
    body["version"] = kOllamaVersion;
    body["drover"] = DROVER_VERSION;
    co_await send_json(exchange, body);
  });
  // The process lives; and: it can take a request now. Neither touches the disk or a runner.
  add("GET", "/healthz", [](Service&, http::Exchange& exchange) { return send_text(exchange, "ok"); });
  add("GET", "/readyz", ready);
  add("GET", "/api/tags", tags);
  add("GET", "/api/ps", ps);
  add("POST", "/api/show", show);
  add("HEAD", "/api/blobs/:digest", blob_head);
  add("POST", "/api/blobs/:digest", blob_post);
  add("POST", "/api/copy", copy);
  add("DELETE", "/api/delete", remove);
}

}  // namespace drover::api
