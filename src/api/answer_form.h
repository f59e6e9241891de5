// What an answer looks like on the wire: one class for each kind of answer that a dialect has, one object a request.
//
// The event loop of an answer (answer.h) calls it on the I/O thread. Functions that take `out` append to it what is to
// be sent; part() is the hot path, so forms append text directly and build no JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/error_status.h"
#include "base/clock.h"
#include "base/result.h"
#include "runner.pb.h"

namespace drover::api {

// Durations of one request as its client sees them.
struct Timing {
  TimePoint arrived;
  Duration load{};   // queue and load: until the request had its slot
  Duration queue{};  // the queue's part of that
};

struct Ending {
  std::string_view reason;  // "stop", "length"; "load", "unload": there was nothing to generate
  const pb::Finished& finished;
  const Timing& timing;
};

class AnswerForm {
 public:
  virtual ~AnswerForm() = default;

  // The request's model is known: one that says nothing of it may hold so many tokens.
  virtual void bound(int /*context_max*/) {}

  // ---- a stream: opening, part…, ending; or failure at any point. A form that is never streamed leaves these out.
  // Whether it is a stream of server-sent events, with headers and heartbeats of its own accord; else of JSON lines.
  virtual bool event_stream() const { return false; }
  // The prompt is prepared. Comes once, and not at all if the request fails before.
  virtual void opening(std::string& /*out*/, std::uint32_t /*prompt_tokens*/) {}
  virtual void part(std::string& /*out*/, const pb::Chunk& /*chunk*/) {}
  // After all parts, that which was held back until the end (finished.last) included.
  virtual void ending(std::string& /*out*/, const Ending& /*ending*/) {}
  virtual void failure(std::string& /*out*/, const Error& /*error*/, int /*status*/) {}
  // Appends keep-alive bytes for proxies; clients ignore them.
  virtual void heartbeat(std::string& /*out*/) {}

  // ---- one JSON object
  virtual std::string whole(const pb::Chunk& all, const Ending& ending) = 0;
  // For a request that wants its prompt and nothing more. Unset: the answer is its end, as any other's.
  virtual std::optional<std::string> rendered(const pb::Started& /*started*/) { return std::nullopt; }
  // For a request of vectors. Error: they are none. Any thread.
  virtual Result<std::string> vectors(const pb::Embedded& /*embedded*/, const Timing& /*timing*/) {
    return internal("vectors came for a request that has none");
  }

  // The status of an error that the request ends with, once it was submitted.
  virtual int failure_status(const Error& error) const { return request_status(error); }
};

}  // namespace drover::api
