// The answer to a request that was submitted: its events, one after the other, in the form of its dialect. I/O thread.
#pragma once

#include <string>

#include "api/answer_form.h"
#include "api/service.h"
#include "fleet/ticket.h"

namespace drover::api {

// A stream with heartbeats begins once its request has waited for so long, or earlier with its prompt. What goes wrong
// before has its HTTP status; what goes wrong later can only be told in the stream.
inline constexpr Duration kHeadersDelay = std::chrono::seconds(1);

class Answer {
 public:
  struct Kind {
    bool stream = false;
    bool render_only = false;
    Duration heartbeat{};  // silence after which a stream gets one; zero: never
  };

  Answer(Service& service, http::Exchange& exchange, AnswerForm& form, ErrorText error_text, Kind kind,
         TimePoint arrived)
      : service_(service),
        exchange_(exchange),
        form_(form),
        error_text_(error_text),
        kind_(kind),
        timing_{arrived, {}, {}} {}

  // From the ticket to the last byte. A client that leaves cancels the request.
  asio::awaitable<void> run(Ticket& ticket);

 private:
  // What to do with an event. False: it was the last one.
  asio::awaitable<bool> on(EventDispatched& dispatched);
  asio::awaitable<bool> on(pb::Started& started);
  asio::awaitable<bool> on(pb::Chunk& chunk);
  asio::awaitable<bool> on(pb::Finished& finished);
  asio::awaitable<bool> on(pb::Embedded& embedded);
  asio::awaitable<bool> on(EventLoaded& loaded);
  asio::awaitable<bool> on(EventFailed& failed);

  void tell_what_was_dropped(const pb::Started& started);
  asio::awaitable<bool> begin();
  asio::awaitable<bool> flush();
  asio::awaitable<bool> beat();
  template <typename Make>
  asio::awaitable<void> send_whole(bool is_long, Make make);
  asio::awaitable<void> send_failure(Error error, std::optional<Duration> retry_after);

  Service& service_;
  http::Exchange& exchange_;
  AnswerForm& form_;
  const ErrorText error_text_;
  const Kind kind_;
  Timing timing_;
  bool opened_ = false;
  bool told_dropped_ = false;
  TimePoint silent_until_{};  // with heartbeats: when the next one is due
  pb::Chunk whole_;           // not streaming: all so far
  std::string lines_;         // streaming: not yet written
};

}  // namespace drover::api
