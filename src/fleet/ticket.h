// The client's end of a request: its events, one after the other.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <deque>
#include <optional>
#include <variant>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "runner.pb.h"

namespace drover {

// ---- what happens to a request: Dispatched, Started, Chunks…, then one of Finished, Embedded, Loaded, Failed

struct EventDispatched {
  Duration waited;
  Duration queued;  // the part of it that was no load
};
struct EventLoaded {};
struct EventFailed {
  Error error;
  std::optional<Duration> retry_after;
};
using RequestEvent =
    std::variant<EventDispatched, EventLoaded, EventFailed, pb::Started, pb::Chunk, pb::Finished, pb::Embedded>;

class RequestTable;

// A request that was admitted. Destroying it cancels the request if it has not ended. I/O thread only.
class Ticket {
 public:
  ~Ticket();
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // The next event. While nothing has happened it suspends; after cancel() it returns EventFailed kCanceled.
  boost::asio::awaitable<RequestEvent> next();
  // Waits for the next event, but not beyond `deadline`. True: next() returns at once.
  boost::asio::awaitable<bool> wait(TimePoint deadline);
  // Whether next() would return at once.
  bool ready() const { return !events_.empty(); }
  // The client is gone. Wakes next().
  void cancel();
  RequestId request() const { return request_; }
  // Nothing more happens to it: what is ready is all.
  bool has_ended() const { return ended_; }
  // It has ended with the model in memory.
  bool has_loaded() const;

 private:
  friend class RequestTable;
  Ticket(RequestTable& table, boost::asio::io_context& io, RequestId request);
  // The table ends one whose client lets too much of its answer wait: see unread_bytes_.
  void deliver(RequestEvent event);

  RequestTable& table_;
  RequestId request_;
  std::deque<RequestEvent> events_;
  std::size_t unread_bytes_ = 0;    // of the chunks in events_
  boost::asio::steady_timer wake_;  // expires only for wait(); canceled to wake both
  bool ended_ = false;
};

// Adds what `chunk` holds to the end of `to`: text to text, calls to calls. `to` keeps its request.
void append(pb::Chunk& to, const pb::Chunk& chunk);

}  // namespace drover
