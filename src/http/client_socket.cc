#include "http/client_socket.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string_view>
#include <utility>

namespace drover::http {
namespace {

using boost::system::error_code;

constexpr std::size_t kReadAheadPart = 4 << 10;
// A handler that has much to send to a client that takes it as fast does not keep the thread for more than this.
constexpr std::size_t kBurstBytesMax = 256 << 10;

constexpr std::size_t kLingerPart = 64 << 10;

// A program in between (a container's proxy, ssh) passes the first question on, fails to pass the second one on and
// leaves, and so the third one is refused. There are clients that take no more than five such answers.
constexpr int kQuestionsMax = 3;
constexpr std::chrono::seconds kAskAgainAfter{1};

bool must_wait(const error_code& error) {
  return error == asio::error::would_block || error == asio::error::try_again || error == asio::error::interrupted;
}

// Takes what was sent off the front of the pieces.
std::span<asio::const_buffer> consume(std::span<asio::const_buffer> pieces, std::size_t sent) {
  while (!pieces.empty() && sent >= pieces.front().size()) {
    sent -= pieces.front().size();
    pieces = pieces.subspan(1);
  }
  if (!pieces.empty()) pieces.front() += sent;
  return pieces;
}

}  // namespace

TimePoint deadline_after(std::chrono::nanoseconds timeout) {
  if (timeout <= std::chrono::nanoseconds(0)) return kNever;
  const TimePoint now = Clock::now();
  return timeout < kNever - now ? now + timeout : kNever;
}

ClientSocket::ClientSocket(StreamSocket socket)
    : socket_(std::move(socket)), ask_again_(socket_.get_executor()), timer_(socket_.get_executor()) {
  error_code error;
  socket_.non_blocking(true, error);
  if (error) lost_ = true;
}

asio::awaitable<ClientSocket::Fill> ClientSocket::fill(std::size_t bytes_max, TimePoint deadline) {
  const std::size_t before = input_.size();
  while (!ended()) {
    release_input();
    const Wait waited = co_await wait(StreamSocket::wait_read, deadline);
    if (waited == Wait::kTimedOut) co_return Fill::kTimedOut;
    if (waited == Wait::kReady) receive(bytes_max);
    if (input_.size() > before) co_return Fill::kData;
  }
  co_return Fill::kEnd;
}

// Gives the memory of an empty input back: a wait may be long, and there may be thousands.
void ClientSocket::release_input() {
  if (input_.size() == 0) input_.shrink_to_fit();
}

bool ClientSocket::unread() const {
  error_code error;
  return socket_.available(error) > 0;
}

asio::awaitable<bool> ClientSocket::write(std::span<asio::const_buffer> pieces, std::chrono::nanoseconds idle_timeout) {
  pieces = consume(pieces, 0);
  while (!pieces.empty() && !lost_) {
    error_code error;
    const std::size_t sent = socket_.write_some(pieces, error);
    pieces = consume(pieces, sent);
    burst_bytes_ += sent;
    if (must_wait(error)) {
      burst_bytes_ = 0;
      const Wait waited = co_await wait(StreamSocket::wait_write, deadline_after(idle_timeout));
      if (waited == Wait::kTimedOut) cut(Cut::kReset);
    } else if (error) {
      lost_ = true;
      notify_later();
    } else if (burst_bytes_ >= kBurstBytesMax) {
      burst_bytes_ = 0;
      co_await asio::post(socket_.get_executor(), asio::use_awaitable);
    }
  }
  co_return !lost_;
}

void ClientSocket::watch(std::function<void()> on_gone) {
  on_gone_ = std::move(on_gone);
  release_input();
  if (end_of_input_) ask_if_gone();
  if (lost_) {
    notify_later();
  } else {
    read_ahead_later();
  }
}

void ClientSocket::unwatch() {
  on_gone_ = nullptr;
}

bool ClientSocket::gone() {
  while (!ended() && input_.size() < kReadAheadBytesMax) {
    const std::size_t before = input_.size();
    receive(std::min(kReadAheadPart, kReadAheadBytesMax - before));
    if (input_.size() == before) break;
  }
  release_input();
  if (end_of_input_) ask_if_gone();
  if (lost_) notify_later();
  return lost_;
}

// The client has said that it sends no more, as one does that is gone, and as one may that waits for its answer. Only
// the first one refuses what it is sent (RFC 9293, 3.10.7.4). At a Unix socket's other end the kernel tells them apart.
void ClientSocket::ask_if_gone() {
  if (lost_) return;
  if (!hung_up() && !question_.empty() && times_asked_ < kQuestionsMax && !asks_later_) ask();
  if (hung_up()) lost_ = true;
  await_loss();
}

void ClientSocket::ask() {
  ++times_asked_;
  error_code error;
  const std::size_t sent = socket_.write_some(asio::const_buffer(question_.data(), question_.size()), error);
  // Where only a part of it found room, the answer would not be understood any more.
  lost_ = (error && !must_wait(error)) || (sent > 0 && sent < question_.size());
  if (!lost_ && times_asked_ < kQuestionsMax) ask_again_later();
}

void ClientSocket::ask_again_later() {
  asks_later_ = true;
  ask_again_.expires_after(kAskAgainAfter);
  ask_again_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (!self) return;
    self->asks_later_ = false;
    if (error || !self->on_gone_) return;
    self->ask_if_gone();
    if (self->lost_) self->notify();
  });
}

// What completes the wait is a reset that comes after the end of the input.
void ClientSocket::await_loss() {
  if (loss_pending_ || !on_gone_ || lost_) return;
  loss_pending_ = true;
  socket_.async_wait(StreamSocket::wait_error, [weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (!self) return;
    self->loss_pending_ = false;
    if (self->lost_ || self->hung_up()) {
      self->lost_ = true;
      self->notify();
    } else if (error) {
      self->await_loss();  // a deadline's end cancels all waits
    }
    // Anything else is urgent data, and would be there again at once: the next write tells.
  });
}

// Whether neither side can send any more.
bool ClientSocket::hung_up() {
  pollfd state{socket_.native_handle(), 0, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

void ClientSocket::cut(Cut how) {
  if (!socket_.is_open()) return;
  lost_ = true;
  timer_.cancel();
  ask_again_.cancel();
  error_code ignored;
  if (how == Cut::kReset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
  notify_later();
}

asio::awaitable<void> ClientSocket::linger(Patience patience) {
  const TimePoint deadline = deadline_after(patience.time_max);
  error_code ignored;
  socket_.shutdown(StreamSocket::shutdown_send, ignored);
  std::size_t thrown_away = input_.size();
  while (thrown_away < patience.bytes_max) {
    input_.consume(input_.size());
    const Fill filled = co_await fill(kLingerPart, std::min(deadline, deadline_after(patience.idle_max)));
    if (filled != Fill::kData) break;
    thrown_away += input_.size();
  }
  // Somebody who sends and sends is made to wait, which lets it notice our answer; closing would destroy that.
  if (thrown_away >= patience.bytes_max && !ended()) {
    co_await wait(StreamSocket::wait_error, std::min(deadline, deadline_after(patience.idle_max)));
  }
  cut(Cut::kFlush);
}

// Waits for the socket to become ready; says so for a lost connection.
asio::awaitable<ClientSocket::Wait> ClientSocket::wait(StreamSocket::wait_type type, TimePoint deadline) {
  set_deadline(deadline);
  error_code error;
  co_await socket_.async_wait(type, asio::redirect_error(asio::use_awaitable, error));
  deadline_ = kNever;
  if (!error) co_return Wait::kReady;
  if (timed_out_) co_return Wait::kTimedOut;
  lost_ = true;
  co_return Wait::kFailed;
}

// Appends what has arrived to the input, without waiting.
void ClientSocket::receive(std::size_t bytes_max) {
  error_code error;
  input_.commit(socket_.read_some(input_.prepare(bytes_max), error));
  if (!error || must_wait(error)) return;
  if (error == asio::error::eof) {
    end_of_input_ = true;
  } else {
    lost_ = true;
  }
}

void ClientSocket::read_ahead_later() {
  if (wait_pending_ || !on_gone_ || ended() || input_.size() >= kReadAheadBytesMax) return;
  wait_pending_ = true;
  socket_.async_wait(StreamSocket::wait_read, [weak = weak_from_this()](const error_code& error) {
    if (const auto self = weak.lock()) self->on_readable(error);
  });
}

// A wait is not taken back when watching ends, because it takes no bytes: it just finds nothing to do here.
void ClientSocket::on_readable(const error_code& error) {
  wait_pending_ = false;
  if (!on_gone_ || lost_) return;
  const std::size_t room = kReadAheadBytesMax - std::min(kReadAheadBytesMax, input_.size());
  if (!error && room > 0) receive(std::min(kReadAheadPart, room));
  if (end_of_input_) ask_if_gone();
  if (lost_) {
    notify();
  } else {
    read_ahead_later();
  }
}

void ClientSocket::notify_later() {
  if (!on_gone_) return;
  asio::post(socket_.get_executor(), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->notify();
  });
}

void ClientSocket::notify() {
  if (on_gone_) std::exchange(on_gone_, nullptr)();
}

void ClientSocket::set_deadline(TimePoint deadline) {
  deadline_ = deadline;
  timed_out_ = false;
  if (deadline_ < timer_due_) start_timer();
}

void ClientSocket::start_timer() {
  timer_due_ = deadline_;
  timer_.expires_at(timer_due_);
  timer_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (self && !error) self->on_timer();
  });
}

void ClientSocket::on_timer() {
  timer_due_ = kNever;
  if (deadline_ == kNever || lost_) return;
  if (Clock::now() < deadline_) return start_timer();
  timed_out_ = true;
  error_code ignored;
  socket_.cancel(ignored);
}

}  // namespace drover::http
