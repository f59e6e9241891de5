// The requests that have not ended: what each of them is, who waits for it and what has come for it. It knows of
// runners only their numbers. I/O thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/settings.h"
#include "fleet/metrics.h"
#include "fleet/model_table.h"
#include "fleet/request_record.h"
#include "fleet/submission.h"
#include "fleet/ticket.h"

namespace spdlog {
class logger;
}

namespace drover {

class RequestTable {
 public:
  struct Entry {
    RequestId request;
    Ticket* ticket = nullptr;        // null once the client is gone
    pb::ToRunner frame;              // holds the Generate or the Embed, kept for a replay
    std::optional<pb::Chunk> whole;  // of an answer that is not streamed: what has come of it
    ServedModel* model = nullptr;
    RunnerId runner;
    TimePoint slot_since;  // when it got the slot that it has; record.dispatched is the first time
    RequestRecord record;
    ModelMetrics* metrics = nullptr;
    std::size_t whole_bytes = 0;               // of what has come of it
    bool sent = false;                         // something of its answer has gone to its client
    Outcome leaving = Outcome::kDisconnected;  // why, once the ticket is gone
  };
  // When a runner was started and when it had loaded.
  struct Load {
    TimePoint started;
    TimePoint loaded;
  };

  // `left` is told of each request whose client has gone or has been given up; one that runs stays in the table until
  // its runner has let go of it.
  RequestTable(boost::asio::io_context& io, const Settings& settings, std::function<void(RequestId)> left);
  ~RequestTable();

  // ---- its beginning

  // One that is to be admitted. It is in the table from add() on.
  std::unique_ptr<Entry> make(RequestId request, Submission submission, ServedModel& model, TimePoint now);
  void refuse(Entry& entry, const Error& error, TimePoint now);
  std::unique_ptr<Ticket> add(std::unique_ptr<Entry> entry);
  // A request that never came to be submitted: for the log and the metrics.
  void note_refused(RequestIdentity identity, const Error& error);

  // ---- what happens to it; requests that are unknown, because they have ended, are passed over

  // It has a slot, once more if it is replayed. What its runner is to be sent.
  const pb::ToRunner& give_slot(RequestId request, RunnerId runner, const Load& load, TimePoint now);
  void start(pb::Started started);
  // True: the first piece of its answer is on its way to its client.
  bool take(pb::Chunk chunk, TimePoint now);
  void finish(pb::Finished finished);
  void finish(pb::Embedded embedded);
  void finish_load(RequestId request);
  void fail(RequestId request, Error error, std::optional<Duration> retry_after);
  void fail_all(const Error& error);
  // A runner that ends has no more requests: those whose client has left are forgotten, the others are the policy's to
  // replay or to fail.
  void release(RunnerId runner);
  // Ends those that carry this identity, with kCanceled for their clients. How many there were.
  std::size_t cancel(std::string_view identity);

  // ---- views

  const Entry* find(RequestId request) const;
  std::size_t size() const { return entries_.size(); }
  const Metrics& metrics() const { return metrics_; }
  Metrics& metrics() { return metrics_; }

 private:
  friend class Ticket;
  // Its ticket has been canceled, or is destroyed.
  void leave(RequestId request);
  void deliver(RequestId request, RequestEvent event);
  void end(RequestId request, RequestEvent event);
  void give_up(Entry& entry, Error error);
  void note_end(Entry& entry, const RequestEvent& event, TimePoint now);
  void note_end(RequestRecord& record, Outcome outcome, std::string error, TimePoint now);

  boost::asio::io_context& io_;
  const Settings& settings_;
  const std::function<void(RequestId)> left_;
  std::unordered_map<RequestId, std::unique_ptr<Entry>> entries_;
  Metrics metrics_;
  const std::shared_ptr<spdlog::logger> log_;
};

// What ends the service of a request at the latest, as it is sent to its runner.
ServiceLimits limits_of(const pb::ToRunner& frame);

}  // namespace drover
