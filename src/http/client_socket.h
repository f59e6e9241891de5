// A client's connection (TCP or a Unix socket), below HTTP: reads into a bounded buffer, writes with backpressure, and
// notices when the client leaves, also while nobody reads. Costs no buffer while nothing is on its way.
//
// Used on the I/O thread only, by one coroutine (its connection's). Held by shared_ptr, because what it has asked of
// the io_context may complete after the connection is gone.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "base/clock.h"

namespace drover::http {

namespace asio = boost::asio;

using StreamSocket = asio::generic::stream_protocol::socket;

// How much is read ahead of a request that is still being answered.
inline constexpr std::size_t kReadAheadBytesMax = 16 << 10;

// When something that starts now and may take `timeout` is late: never, if that is 0 or less, or out of range.
TimePoint deadline_after(std::chrono::nanoseconds timeout);

class ClientSocket : public std::enable_shared_from_this<ClientSocket> {
 public:
  enum class Fill { kData, kEnd, kTimedOut };
  enum class Cut { kFlush, kReset };

  explicit ClientSocket(StreamSocket socket);

  // ---- reading
  // What was received and is not used yet.
  boost::beast::flat_buffer& input() { return input_; }
  // Waits until something has arrived, and appends up to bytes_max of it to input(). kEnd: the client has closed its
  // end, or the connection is lost; kTimedOut: nothing came by the deadline.
  asio::awaitable<Fill> fill(std::size_t bytes_max, TimePoint deadline);
  // Whether something has arrived that is not in input() yet.
  bool unread() const;

  // ---- writing
  // Sends all of the pieces (which it uses up), in as few system calls as the client's reading allows. False: the
  // connection is lost, or the client has taken nothing for idle_timeout, which ends the connection.
  asio::awaitable<bool> write(std::span<asio::const_buffer> pieces, std::chrono::nanoseconds idle_timeout);

  // ---- the client's leaving
  // Calls back, once, from the io_context, when the client has closed the connection or it is lost, until unwatch(). A
  // client that has only said that it sends no more is still there. Reads ahead into input() to notice it,
  // kReadAheadBytesMax at most.
  void watch(std::function<void()> on_gone);
  void unwatch();
  // What the client is sent, some times, when it is watched and says that it sends no more: one that is gone refuses
  // it. It is something that one who waits for the answer skips. Empty: nothing. The text must outlive the socket.
  void ask_with(std::string_view question) {
    question_ = question;
    times_asked_ = 0;
  }
  // Whether the client is gone, as far as can be told without waiting. May read ahead.
  bool gone();

  // ---- the end
  // Ends the connection at once; what waits on it fails. kFlush lets what was written reach the client, which then sees
  // an end; kReset does not, and the client sees an error.
  void cut(Cut how);
  bool lost() const { return lost_; }                    // nothing can be sent any more
  bool ended() const { return end_of_input_ || lost_; }  // the client sends no more, as far as was noticed
  // Ends the connection so that what was written reaches the client even if it is still sending: says that no more
  // comes, and throws away what the client sends until it closes.
  struct Patience {
    std::size_t bytes_max;
    std::chrono::seconds time_max;
    std::chrono::seconds idle_max;  // without a byte
  };
  // For what is no request, and for an upload: many clients look for the answer only when they have sent all of it.
  static constexpr Patience kRefusal{256 << 10, std::chrono::seconds(1), std::chrono::seconds(1)};
  static constexpr Patience kUpload{std::size_t{4} << 30, std::chrono::seconds(60), std::chrono::seconds(5)};
  asio::awaitable<void> linger(Patience patience);

 private:
  enum class Wait { kReady, kFailed, kTimedOut };

  asio::awaitable<Wait> wait(StreamSocket::wait_type type, TimePoint deadline);
  void receive(std::size_t bytes_max);
  void release_input();
  void read_ahead_later();
  void on_readable(const boost::system::error_code& error);
  void ask_if_gone();
  void ask();
  void ask_again_later();
  void await_loss();
  bool hung_up();
  void notify_later();
  void notify();
  void set_deadline(TimePoint deadline);
  void start_timer();
  void on_timer();

  StreamSocket socket_;
  boost::beast::flat_buffer input_;
  bool end_of_input_ = false;  // the client will send no more
  bool loss_pending_ = false;  // await_loss() waits
  bool lost_ = false;          // nothing can be sent or received any more
  std::string_view question_;  // see ask_with()
  int times_asked_ = 0;        // with it
  bool asks_later_ = false;    // ask_again_ runs
  asio::steady_timer ask_again_;

  std::function<void()> on_gone_;  // set while watching and not yet called
  bool wait_pending_ = false;      // on_readable() is going to be called; there is one such wait at most
  std::size_t burst_bytes_ = 0;    // written without letting others run

  // The deadline moves with every wait, the timer only if it would be late: most waits touch no timer.
  asio::steady_timer timer_;
  TimePoint deadline_ = kNever;
  TimePoint timer_due_ = kNever;
  bool timed_out_ = false;
};

}  // namespace drover::http
