#include "fleet/request_table.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <utility>

#include "fleet/request_log.h"
#include "fleet/server_log.h"

namespace drover {
namespace {

// Output that waits for a client which does not read: a million tokens of text, or some thousands with top_logprobs.
constexpr std::size_t kUnreadBytesMax = 4u << 20;
// An answer that is not streamed.
constexpr std::size_t kWholeBytesMax = 64u << 20;

Outcome outcome_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCanceled:
      return Outcome::kCanceled;
    case ErrorCode::kQueueFull:
      return Outcome::kQueueFull;
    case ErrorCode::kTimedOut:
      return Outcome::kTimedOut;
    case ErrorCode::kUnavailable:
      return Outcome::kUnavailable;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kTooLarge:
    case ErrorCode::kForbidden:
    case ErrorCode::kPromptTooLong:
    case ErrorCode::kNotKept:
      return Outcome::kInvalid;
    case ErrorCode::kNoSpace:
      return Outcome::kNoSpace;
    case ErrorCode::kInternal:
      return Outcome::kFailed;
  }
  return Outcome::kFailed;
}

// What the operator allows one generation at most.
void limit_generation(pb::Generate& work, const Settings& settings) {
  if (const int most = settings.output_tokens_max; most > 0 && (work.predict_max() < 0 || work.predict_max() > most)) {
    work.set_predict_max(most);
  }
  using std::chrono::milliseconds;
  work.set_generation_ms_max(
      static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(settings.generation_max).count()));
}

// Tells clients apart in a runner, which reads what strangers write: it must not learn their keys.
std::uint64_t client_number(const std::string& client) {
  static const std::string salt = std::to_string(std::random_device()()) + std::to_string(std::random_device()());
  return std::hash<std::string>()(salt + client);
}

// By the runner's figures: a part of the answer, or all of it, may have been held back.
EndedService ended_service(Duration whole, const ServiceLimits& limits, const pb::Finished& finished) {
  EndedService service;
  service.output = std::min<Duration>(std::chrono::nanoseconds(finished.output_ns()), whole);
  service.until_output = whole - service.output;
  service.tokens = finished.output_tokens();
  if (finished.reason() != pb::Finished::LENGTH) return service;
  const bool below = !limits.tokens || service.tokens < *limits.tokens;
  service.end = below && limits.time ? ServiceEnd::kTimeLimit : ServiceEnd::kTokenLimit;
  return service;
}

}  // namespace

ServiceLimits limits_of(const pb::ToRunner& frame) {
  ServiceLimits limits;
  if (!frame.has_generate()) return limits;
  const pb::Generate& work = frame.generate();
  if (work.predict_max() >= 0) limits.tokens = work.predict_max();
  if (work.generation_ms_max() > 0) limits.time = std::chrono::milliseconds(work.generation_ms_max());
  return limits;
}

RequestTable::RequestTable(boost::asio::io_context& io, const Settings& settings, std::function<void(RequestId)> left)
    : io_(io), settings_(settings), left_(std::move(left)), log_(named_logger(kRequestLogger)) {}

RequestTable::~RequestTable() = default;

// ---- its beginning

std::unique_ptr<RequestTable::Entry> RequestTable::make(RequestId request, Submission submission, ServedModel& model,
                                                        TimePoint now) {
  auto entry = std::make_unique<Entry>();
  entry->request = request;
  entry->model = &model;
  entry->metrics = &metrics_.of(submission.target.name);
  RequestRecord& record = entry->record;
  record.identity = std::move(submission.identity);
  if (record.identity.id.empty()) record.identity.id = fmt::format("{:016x}", request.value);
  record.model = submission.target.name;
  record.priority = submission.priority;
  record.arrived = now;
  if (submission.target.embedding) {
    *entry->frame.mutable_embed() = std::move(submission.embed);
    entry->frame.mutable_embed()->set_request(request.value);
    entry->frame.mutable_embed()->set_client(client_number(submission.client));
  } else {
    *entry->frame.mutable_generate() = std::move(submission.work);
    limit_generation(*entry->frame.mutable_generate(), settings_);
    entry->frame.mutable_generate()->set_request(request.value);
    entry->frame.mutable_generate()->set_client(client_number(submission.client));
  }
  if (!submission.streams) entry->whole.emplace();
  return entry;
}

void RequestTable::refuse(Entry& entry, const Error& error, TimePoint now) {
  note_end(entry, EventFailed{error, std::nullopt}, now);
}

std::unique_ptr<Ticket> RequestTable::add(std::unique_ptr<Entry> entry) {
  std::unique_ptr<Ticket> ticket(new Ticket(*this, io_, entry->request));
  entry->ticket = ticket.get();
  const RequestId request = entry->request;
  entries_.emplace(request, std::move(entry));
  return ticket;
}

void RequestTable::note_refused(RequestIdentity identity, const Error& error) {
  RequestRecord record;
  record.identity = std::move(identity);
  record.arrived = Clock::now();
  note_end(record, outcome_of(error.code), error.message, record.arrived);
}

// ---- what happens to it

const pb::ToRunner& RequestTable::give_slot(RequestId request, RunnerId runner, const Load& load, TimePoint now) {
  Entry& entry = *entries_.at(request);
  RequestRecord& record = entry.record;
  entry.runner = runner;
  entry.slot_since = now;
  if (record.dispatched == TimePoint{}) {
    record.dispatched = now;
    record.load = std::max(load.loaded - std::max(load.started, record.arrived), Duration::zero());
    entry.metrics->on_dispatched(record);
  } else {  // a replay begins anew
    record.first_output = {};
    record.output_tokens = 0;
    record.tokens_noted = 0;
    if (entry.whole) entry.whole->Clear();
    entry.whole_bytes = 0;
  }
  const Duration waited = now - record.arrived;
  deliver(request, EventDispatched{waited, std::max(waited - record.load, Duration::zero())});
  return entry.frame;
}

void RequestTable::start(pb::Started started) {
  const RequestId request{started.request()};
  const auto found = entries_.find(request);
  if (found == entries_.end()) return;
  found->second->record.prompt_tokens = started.prompt_tokens();
  deliver(request, std::move(started));
}

bool RequestTable::take(pb::Chunk chunk, TimePoint now) {
  const auto found = entries_.find(RequestId{chunk.request()});
  if (found == entries_.end()) return false;
  Entry& entry = *found->second;
  entry.metrics->on_output(entry.record, now);
  if (entry.ticket == nullptr) return false;
  if (entry.whole) {
    entry.whole_bytes += chunk.ByteSizeLong();
    append(*entry.whole, chunk);
    if (entry.whole_bytes > kWholeBytesMax) {
      give_up(entry, {ErrorCode::kTooLarge, "the response exceeds 64 MiB; set \"stream\": true"});
    }
    return false;
  }
  const bool first = !std::exchange(entry.sent, true);
  entry.ticket->deliver(std::move(chunk));
  if (entry.ticket->unread_bytes_ > kUnreadBytesMax) {
    give_up(entry, {ErrorCode::kCanceled, "the client does not read its answer"});
  }
  return first;
}

void RequestTable::finish(pb::Finished finished) {
  const RequestId request{finished.request()};
  if (const auto found = entries_.find(request); found != entries_.end() && found->second->whole) {
    deliver(request, std::move(*found->second->whole));
  }
  end(request, std::move(finished));
}

void RequestTable::finish(pb::Embedded embedded) {
  const RequestId request{embedded.request()};
  end(request, std::move(embedded));
}

void RequestTable::finish_load(RequestId request) {
  end(request, EventLoaded{});
}

void RequestTable::fail(RequestId request, Error error, std::optional<Duration> retry_after) {
  end(request, EventFailed{std::move(error), retry_after});
}

void RequestTable::fail_all(const Error& error) {
  std::vector<RequestId> requests;
  for (const auto& [request, entry] : entries_) requests.push_back(request);
  for (const RequestId request : requests) fail(request, error, std::nullopt);
}

void RequestTable::release(RunnerId runner) {
  std::vector<RequestId> abandoned;
  for (const auto& [request, entry] : entries_) {
    if (entry->runner != runner) continue;
    entry->runner = {};
    if (entry->ticket == nullptr) abandoned.push_back(request);
  }
  for (const RequestId request : abandoned) {
    Entry& entry = *entries_.at(request);
    note_end(entry.record, entry.leaving, {}, Clock::now());
    entries_.erase(request);
  }
}

std::size_t RequestTable::cancel(std::string_view identity) {
  std::vector<RequestId> meant;
  for (const auto& [request, entry] : entries_) {
    if (entry->ticket != nullptr && entry->record.identity.id == identity) meant.push_back(request);
  }
  std::size_t canceled = 0;
  for (const RequestId request : meant) {
    const auto found = entries_.find(request);  // to cancel one may end others
    if (found == entries_.end() || found->second->ticket == nullptr) continue;
    found->second->leaving = Outcome::kCanceled;
    found->second->ticket->cancel();
    ++canceled;
  }
  return canceled;
}

void RequestTable::leave(RequestId request) {
  const auto found = entries_.find(request);
  if (found == entries_.end()) return;
  Entry& entry = *found->second;
  entry.ticket = nullptr;
  // A waiting request is forgotten at once; a running one when its runner has let go of it.
  if (entry.runner == RunnerId{}) {
    note_end(entry.record, entry.leaving, {}, Clock::now());
    entries_.erase(found);
  }
  left_(request);
}

void RequestTable::deliver(RequestId request, RequestEvent event) {
  const auto found = entries_.find(request);
  if (found != entries_.end() && found->second->ticket != nullptr) found->second->ticket->deliver(std::move(event));
}

// The request's last event: after it, nobody refers to it any more.
void RequestTable::end(RequestId request, RequestEvent event) {
  const auto found = entries_.find(request);
  if (found == entries_.end()) return;
  note_end(*found->second, event, Clock::now());
  Ticket* ticket = found->second->ticket;
  entries_.erase(found);
  if (ticket == nullptr) return;
  ticket->deliver(std::move(event));
  ticket->ended_ = true;
}

// Ends a request whose answer would take more memory than it may. What was delivered stays, and `error` follows it.
void RequestTable::give_up(Entry& entry, Error error) {
  spdlog::warn("ending request {}: {}", entry.record.identity.id, error.message);
  entry.ticket->deliver(EventFailed{std::move(error), std::nullopt});
  entry.ticket->ended_ = true;
  entry.leaving = Outcome::kCanceled;
  leave(entry.request);
}

// ---- the record of its end

void RequestTable::note_end(Entry& entry, const RequestEvent& event, TimePoint now) {
  RequestRecord& record = entry.record;
  const auto* finished = std::get_if<pb::Finished>(&event);
  if (finished != nullptr) {
    // An answer that was held back as a whole comes with its end.
    if (finished->output_tokens() > 0 && record.first_output == TimePoint{}) entry.metrics->on_output(record, now);
    record.prompt_tokens = finished->prompt_tokens();
    record.cached_tokens = finished->cached_tokens();
    record.output_tokens = finished->output_tokens();
    record.preempted = finished->preempted();
  }
  // Whoever only wants to see the prompt goes once it has come.
  if (finished != nullptr && entry.frame.generate().render_only()) return note_end(record, Outcome::kStop, {}, now);
  if (entry.ticket == nullptr && entry.runner != RunnerId{}) return note_end(record, entry.leaving, {}, now);
  if (finished != nullptr) {
    const bool at_limit = finished->reason() == pb::Finished::LENGTH;
    entry.model->services.add(ended_service(now - entry.slot_since, limits_of(entry.frame), *finished));
    return note_end(record, at_limit ? Outcome::kLength : Outcome::kStop, {}, now);
  }
  const auto* failed = std::get_if<EventFailed>(&event);
  if (failed != nullptr) return note_end(record, outcome_of(failed->error.code), failed->error.message, now);
  if (const auto* embedded = std::get_if<pb::Embedded>(&event)) {
    record.prompt_tokens = embedded->prompt_tokens();
    entry.model->services.add({now - entry.slot_since, {}, 0, ServiceEnd::kByItself});
    return note_end(record, Outcome::kStop, {}, now);
  }
  note_end(record, Outcome::kLoaded, {}, now);
}

void RequestTable::note_end(RequestRecord& record, Outcome outcome, std::string error, TimePoint now) {
  record.ended = now;
  record.outcome = outcome;
  record.error = std::move(error);
  metrics_.of(record.model).on_ended(record);
  log_->info(request_line(record, settings_.log_format));
}

// ---- views

const RequestTable::Entry* RequestTable::find(RequestId request) const {
  const auto found = entries_.find(request);
  return found == entries_.end() ? nullptr : found->second.get();
}

}  // namespace drover
