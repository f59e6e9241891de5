#include "fleet/ticket.h"

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "fleet/request_table.h"

namespace drover {
namespace {

namespace asio = boost::asio;

// Chunks that wait for a client one by one; beyond that they are put together.
constexpr std::size_t kEventsMax = 1024;

}  // namespace

void append(pb::Chunk& to, const pb::Chunk& chunk) {
  to.mutable_content()->append(chunk.content());
  to.mutable_thinking()->append(chunk.thinking());
  to.mutable_tool_calls()->MergeFrom(chunk.tool_calls());
  to.mutable_logprobs()->MergeFrom(chunk.logprobs());
}

Ticket::Ticket(RequestTable& table, asio::io_context& io, RequestId request)
    : table_(table), request_(request), wake_(io, asio::steady_timer::time_point::max()) {}

Ticket::~Ticket() {
  if (!ended_) table_.leave(request_);
}

void Ticket::cancel() {
  if (ended_) return;
  ended_ = true;
  table_.leave(request_);
  events_.clear();
  events_.push_back(EventFailed{{ErrorCode::kCanceled, "request canceled"}, std::nullopt});
  wake_.cancel();
}

void Ticket::deliver(RequestEvent event) {
  if (ended_) return;
  auto* chunk = std::get_if<pb::Chunk>(&event);
  if (chunk != nullptr) unread_bytes_ += chunk->ByteSizeLong();
  auto* last = events_.empty() ? nullptr : std::get_if<pb::Chunk>(&events_.back());
  if (chunk != nullptr && last != nullptr && events_.size() >= kEventsMax) {
    // The client reads much more slowly than the model writes: what waits for it grows by its text alone.
    append(*last, *chunk);
  } else {
    events_.push_back(std::move(event));
  }
  wake_.cancel();
}

bool Ticket::has_loaded() const {
  return ended_ && !events_.empty() && std::holds_alternative<EventLoaded>(events_.back());
}

asio::awaitable<bool> Ticket::wait(TimePoint deadline) {
  while (events_.empty() && Clock::now() < deadline) {
    wake_.expires_at(deadline);
    boost::system::error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  wake_.expires_at(asio::steady_timer::time_point::max());
  co_return !events_.empty();
}

asio::awaitable<RequestEvent> Ticket::next() {
  while (events_.empty()) {
    boost::system::error_code ignored;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  RequestEvent event = std::move(events_.front());
  events_.pop_front();
  if (const auto* chunk = std::get_if<pb::Chunk>(&event)) {
    // Chunks that were put together are smaller than they were one by one.
    unread_bytes_ = events_.empty() ? 0 : unread_bytes_ - std::min(unread_bytes_, chunk->ByteSizeLong());
  }
  co_return event;
}

}  // namespace drover
