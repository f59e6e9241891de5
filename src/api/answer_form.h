// What an answer looks like on the wire: one class for each kind of answer that a dialect has, one object a request.
//
// The generation loop (generate_routes.h) calls it on the I/O thread. Functions that take `out` append to it what is
// to be sent; a part is the hot path of a server, so that forms put it together without a JSON tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "runner.pb.h"

namespace drover::api {

// Durations of one request as its client sees them.
struct Timing {
  TimePoint arrived;
  Duration load{};   // queue and load: until the request had its place
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

  // Whether its stream is one of server-sent events, with headers and heartbeats of its own accord; else of JSON lines.
  virtual bool event_stream() const = 0;

  // ---- a stream: opening, part…, ending; or failure at any point
  // The prompt is prepared. Comes once, and not at all if the request fails before.
  virtual void opening(std::string& /*out*/, std::uint32_t /*prompt_tokens*/) {}
  virtual void part(std::string& out, const pb::Chunk& chunk) = 0;
  // After all parts, that which was held back until the end (finished.last) included.
  virtual void ending(std::string& out, const Ending& ending) = 0;
  virtual void failure(std::string& out, const Error& error, int status) = 0;
  // What a client does not see, but who stands between does: that the connection is alive.
  virtual void heartbeat(std::string& out) = 0;

  // ---- one JSON object
  virtual std::string whole(const pb::Chunk& all, const Ending& ending) = 0;
  // For a request that wants its prompt and nothing more.
  virtual std::string rendered(const pb::Started& started) = 0;
};

}  // namespace drover::api
