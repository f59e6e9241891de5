// GET /api/queue: what waits and runs; DELETE /api/requests/:id: ends it; GET /api/history: how things were in the last
// ten minutes. docs/operations.md describes them.
#include <fmt/format.h>

#include "api/service.h"
#include "base/machine.h"
#include "fleet/observer.h"

namespace drover::api {
namespace {

// A longer list is cut, and says so: an answer is made in one piece, and the I/O thread does nothing else meanwhile.
constexpr std::size_t kListedMax = 2000;

const char* phase_text(RequestStatus::Phase phase) {
  switch (phase) {
    case RequestStatus::Phase::kQueued:
      return "queued";
    case RequestStatus::Phase::kLoading:
      return "loading";
    case RequestStatus::Phase::kPrefill:
      return "prefill";
    case RequestStatus::Phase::kGenerating:
      return "generating";
    case RequestStatus::Phase::kCanceling:
      return "canceling";
  }
  return "";
}

const char* priority_text(Priority priority) {
  switch (priority) {
    case Priority::kHigh:
      return "high";
    case Priority::kNormal:
      return "normal";
    case Priority::kLow:
      return "low";
  }
  return "";
}

std::int64_t milliseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

Json entry_of(const RequestStatus& status) {
  const RequestRecord& record = *status.record;
  Json entry = Json::object();
  entry["id"] = record.identity.id;
  entry["model"] = record.model;
  entry["client"] = record.identity.client;
  entry["route"] = record.identity.route;
  entry["phase"] = phase_text(status.phase);
  entry["priority"] = priority_text(record.priority);
  entry["position"] = status.position;
  entry["age_ms"] = milliseconds(status.age);
  entry["prompt_tokens"] = record.prompt_tokens;
  entry["output_tokens"] = record.output_tokens;
  entry["estimated_wait_ms"] = status.wait ? Json(milliseconds(*status.wait)) : Json(nullptr);
  return entry;
}

asio::awaitable<void> queue(Service& service, http::Exchange& exchange) {
  const std::vector<RequestStatus> all = service.driver.requests();
  Json list = Json::array();
  std::size_t waiting = 0;
  for (const RequestStatus& status : all) {
    waiting += status.position > 0 ? 1 : 0;
    if (list.size() < kListedMax) list.push_back(entry_of(status));
  }
  Json body = Json::object();
  body["running"] = all.size() - waiting;
  body["waiting"] = waiting;
  body["waiting_max"] = service.settings.queue_max;
  body["truncated"] = all.size() > kListedMax;
  if (const auto& advice = service.driver.advice()) {
    Json entry = Json::object();
    entry["setting"] = advice->setting;
    entry["text"] = advice->text;
    body["advice"] = std::move(entry);
  }
  body["requests"] = std::move(list);
  co_await send_json(exchange, body);
}

Json latency_entry(const std::optional<HistorySample::Latency>& latency) {
  if (!latency) return nullptr;
  constexpr double kMilliseconds = 1000;
  Json entry = Json::object();
  entry["median"] = latency->median * kMilliseconds;
  entry["p95"] = latency->p95 * kMilliseconds;
  return entry;
}

Json entry_of(const HistorySample& sample, std::chrono::milliseconds now) {
  Json entry = Json::object();
  entry["age_ms"] = (now - sample.at).count();
  entry["waiting"] = sample.waiting;
  entry["running"] = sample.running;
  entry["slots"] = sample.slots;
  entry["places"] = sample.slots;  // the name of 0.1, for one minor version more
  entry["tokens_per_second"] = sample.tokens_per_second ? Json(*sample.tokens_per_second) : Json(nullptr);
  entry["first_token_ms"] = latency_entry(sample.first_token);
  entry["inter_token_ms"] = latency_entry(sample.inter_token);
  entry["kv_used"] = sample.kv ? Json(sample.kv->used) : Json(nullptr);
  entry["kv_kept"] = sample.kv ? Json(sample.kv->kept) : Json(nullptr);
  return entry;
}

asio::awaitable<void> history(Service& service, http::Exchange& exchange) {
  const std::chrono::milliseconds now = boot_time();
  Json samples = Json::array();
  for (const HistorySample& sample : service.driver.history().samples()) samples.push_back(entry_of(sample, now));
  Json body = Json::object();
  body["interval_ms"] = std::chrono::milliseconds(kHistoryInterval).count();
  body["samples"] = std::move(samples);
  co_await send_json(exchange, body);
}

asio::awaitable<void> cancel(Service& service, http::Exchange& exchange) {
  const std::size_t canceled = service.driver.cancel(exchange.parameter("id"));
  if (canceled == 0) {
    const Error error = not_found("no such request");
    co_await send_error(exchange, error);
    co_return;
  }
  Json body = Json::object();
  body["canceled"] = canceled;
  co_await send_json(exchange, body);
}

}  // namespace

void add_queue_routes(http::Router& router, Service& service) {
  router.add("GET", "/api/queue", [&service](http::Exchange& exchange) { return queue(service, exchange); });
  router.add("GET", "/api/history", [&service](http::Exchange& exchange) { return history(service, exchange); });
  router.add("DELETE", "/api/requests/:id", [&service](http::Exchange& exchange) { return cancel(service, exchange); });
}

}  // namespace drover::api
