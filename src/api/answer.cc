#include "api/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

namespace drover::api {
namespace {

// An answer that holds more than one of these is made on the disk's threads: others wait for the I/O thread.
constexpr int kInlineTokensMax = 32'768;
constexpr std::size_t kInlineNumbersMax = 16'384;

bool has_output(const pb::Chunk& chunk) {
  return !chunk.content().empty() || !chunk.thinking().empty() || chunk.tool_calls_size() > 0 ||
         chunk.logprobs_size() > 0;
}

std::string_view reason_of(const pb::Finished& finished) {
  return finished.reason() == pb::Finished::LENGTH ? "length" : "stop";
}

std::size_t numbers_of(const pb::Embedded& embedded) {
  std::size_t numbers = 0;
  for (const std::string& vector : embedded.vectors()) numbers += vector.size() / sizeof(float);
  return numbers;
}

}  // namespace

asio::awaitable<void> Answer::run(Ticket& ticket) {
  exchange_.on_disconnect([&ticket] { ticket.cancel(); });
  const bool beats = kind_.stream && kind_.heartbeat > Duration::zero();
  silent_until_ = timing_.arrived + std::min(kHeadersDelay, kind_.heartbeat);
  bool more = true;
  while (more) {
    if (beats && !ticket.ready()) {
      const bool ready = co_await ticket.wait(silent_until_);
      if (!ready) {
        more = co_await beat();
        continue;
      }
    }
    RequestEvent event = co_await ticket.next();
    more = co_await std::visit([this](auto& one) { return on(one); }, event);
    // What has come in the meantime leaves in one piece.
    if (more && !ticket.ready() && !lines_.empty()) more = co_await flush();
  }
}

// ---- events

asio::awaitable<bool> Answer::on(EventDispatched& dispatched) {
  timing_.load = dispatched.waited;
  timing_.queue = dispatched.queued;
  co_return true;
}

asio::awaitable<bool> Answer::on(pb::Started& started) {
  if (!exchange_.begun()) tell_what_was_dropped(started);
  if (kind_.render_only) {
    std::optional<std::string> text;
    const auto make = [&] { return form_.rendered(started); };
    if (started.rendered_prompt().size() > kInlineBodyBytesMax) {
      text = co_await on_disk(service_, make);
    } else {
      text = make();
    }
    if (!text) co_return true;
    co_await exchange_.send(200, kJsonType, std::move(*text));
    co_return false;
  }
  // A request that is replayed on another runner starts again.
  if (!kind_.stream || std::exchange(opened_, true)) co_return true;
  form_.opening(lines_, started.prompt_tokens());
  if (form_.event_stream()) co_return co_await begin();
  co_return true;
}

asio::awaitable<bool> Answer::on(pb::Chunk& chunk) {
  if (kind_.stream) {
    form_.part(lines_, chunk);
  } else {
    append(whole_, chunk);
  }
  co_return true;
}

asio::awaitable<bool> Answer::on(pb::Finished& finished) {
  const Ending ending{reason_of(finished), finished, timing_};
  if (kind_.stream) {
    if (has_output(finished.last())) form_.part(lines_, finished.last());
    form_.ending(lines_, ending);
    const bool written = co_await flush();
    if (written) co_await exchange_.finish();
    co_return false;
  }
  append(whole_, finished.last());
  co_await send_whole(finished.context_size() > kInlineTokensMax,
                      [&]() -> Result<std::string> { return form_.whole(whole_, ending); });
  co_return false;
}

asio::awaitable<bool> Answer::on(pb::Embedded& embedded) {
  co_await send_whole(numbers_of(embedded) > kInlineNumbersMax, [&] { return form_.vectors(embedded, timing_); });
  co_return false;
}

asio::awaitable<bool> Answer::on(EventLoaded& /*loaded*/) {
  const pb::Finished nothing;
  const Ending ending{"load", nothing, timing_};
  std::string text = form_.whole(whole_, ending);
  co_await exchange_.send(200, kJsonType, std::move(text));
  co_return false;
}

asio::awaitable<bool> Answer::on(EventFailed& failed) {
  if (failed.error.code == ErrorCode::kCanceled && exchange_.disconnected()) co_return false;
  co_await send_failure(std::move(failed.error), failed.retry_after);
  co_return false;
}

// ---- sending

void Answer::tell_what_was_dropped(const pb::Started& started) {
  if (std::exchange(told_dropped_, true) || started.dropped_messages() + started.dropped_tokens() == 0) return;
  exchange_.add_header("X-Prompt-Truncated", started.dropped_messages() > 0
                                                 ? fmt::format("{} messages", started.dropped_messages())
                                                 : fmt::format("{} tokens", started.dropped_tokens()));
}

asio::awaitable<bool> Answer::begin() {
  if (exchange_.begun()) co_return true;
  http::Headers headers;
  std::string_view type = kNdjsonType;
  if (form_.event_stream()) {
    type = kEventStreamType;
    headers.emplace_back("Cache-Control", "no-cache");
    headers.emplace_back("X-Accel-Buffering", "no");  // nginx hands each piece on as it comes
  }
  co_return co_await exchange_.begin(200, type, std::move(headers));
}

asio::awaitable<bool> Answer::flush() {
  const bool begun = co_await begin();
  if (!begun) co_return false;
  const bool written = co_await exchange_.write(lines_);
  lines_.clear();
  if (kind_.heartbeat > Duration::zero()) silent_until_ = Clock::now() + kind_.heartbeat;
  co_return written;
}

// The stream has been silent for long enough: its head says that the request was taken in, a heartbeat that it lives.
asio::awaitable<bool> Answer::beat() {
  if (exchange_.begun()) {
    form_.heartbeat(lines_);
    co_return co_await flush();
  }
  silent_until_ = Clock::now() + kind_.heartbeat;
  co_return co_await begin();
}

template <typename Make>
asio::awaitable<void> Answer::send_whole(bool is_long, Make make) {
  Result<std::string> text = std::string();
  if (is_long) {
    text = co_await on_disk(service_, make);
  } else {
    text = make();
  }
  if (!text) {
    co_await send_failure(std::move(text).error(), std::nullopt);
    co_return;
  }
  co_await exchange_.send(200, kJsonType, std::move(*text));
}

asio::awaitable<void> Answer::send_failure(Error error, std::optional<Duration> retry_after) {
  error.status = form_.failure_status(error);
  if (!exchange_.begun()) {
    co_await send_error(exchange_, error, error_text_, retry_after);
    co_return;
  }
  form_.failure(lines_, shown_error(error), error.status);
  const bool written = co_await flush();
  if (written) co_await exchange_.finish();
}

}  // namespace drover::api
