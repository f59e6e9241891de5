// One HTTP/1 request and its answer over a ClientSocket: the Exchange that handlers see.
//
// Used on the I/O thread, by the connection's coroutine; lives from the request's first byte to the answer's last.
#pragma once

#include <array>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/client_budget.h"
#include "http/client_socket.h"
#include "http/server.h"

namespace drover::http {

// How much of a body that no handler read is read and thrown away, so that the connection can go on.
inline constexpr std::size_t kDrainBytesMax = 256 << 10;

class HttpExchange final : public Exchange {
 public:
  // All must outlive the exchange. `stopping`: the server wants its connections to end.
  HttpExchange(ClientSocket& socket, const ServerLimits& limits, ClientBudget& budget, const bool& stopping,
               const std::string& remote_address);

  ~HttpExchange() override;

  // ---- for the connection
  // Reads the request's line and headers. False: there is no request. Either the client ended or was too slow, or what
  // it sent is not acceptable, which this has then answered.
  asio::awaitable<bool> read_head();
  void set_parameters(std::vector<std::pair<std::string, std::string>> parameters);
  // The path and query as the client wrote them, less the slash that the path ends with; empty if it ends with none.
  std::string target_without_slash() const;
  // After the handler: true if the connection can take another request.
  asio::awaitable<bool> end();
  bool finished() const { return answer_ == Answer::kFinished; }
  bool body_done() const { return parser_.is_done(); }
  bool body_timed_out() const { return body_error_ && body_error_->code == ErrorCode::kTimedOut; }

  // ---- for handlers
  std::string_view method() const override;
  std::string_view path() const override { return path_; }
  std::string_view query(std::string_view name) const override;
  std::string_view header(std::string_view name) const override;
  std::string_view parameter(std::string_view name) const override;
  std::string_view remote_address() const override { return remote_address_; }
  asio::awaitable<Result<std::string>> read_body(std::size_t bytes_max) override;
  asio::awaitable<Result<std::size_t>> read_some_body(std::span<char> into) override;
  Result<void> hold(std::size_t bytes) override;
  Result<void> hold_file() override;
  void add_header(std::string name, std::string value) override;
  asio::awaitable<bool> send(int status, std::string_view content_type, std::string body, Headers headers) override;
  asio::awaitable<bool> begin(int status, std::string_view content_type, Headers headers) override;
  asio::awaitable<bool> write(std::string_view piece) override;
  asio::awaitable<bool> finish() override;
  void abort() override;
  bool begun() const override { return answer_ != Answer::kNone; }
  void on_disconnect(std::function<void()> callback) override;
  bool disconnected() const override;

 private:
  enum class Answer { kNone, kBegun, kFinished, kAborted };
  enum class Framing { kLength, kChunked, kUntilClose, kNoBody };
  struct Refusal {
    int status;
    std::string_view reason;
  };

  bool hold(ClientBudget::Resource resource, std::size_t amount);
  std::size_t& held(ClientBudget::Resource resource) { return held_[static_cast<std::size_t>(resource)]; }
  bool hold_head();
  std::optional<Refusal> parse_head();
  std::optional<Refusal> check_head();
  bool has_too_many_fields() const;
  asio::awaitable<bool> refuse(Refusal refusal);
  bool parse_body(std::span<char> into, std::size_t& got);
  asio::awaitable<void> send_continue();
  asio::awaitable<ClientSocket::Fill> fill_body();
  Error fail_body(ErrorCode code, std::string message);
  asio::awaitable<bool> drain();

  std::chrono::nanoseconds patience_with(std::size_t answer_bytes);
  Framing framing_of(int status, bool streaming) const;
  bool can_keep_alive() const;
  std::string head(int status, std::string_view content_type, std::size_t length, const Headers& headers);

  ClientSocket& socket_;
  const ServerLimits& limits_;
  ClientBudget& budget_;
  const bool& stopping_;
  const std::string& remote_address_;

  boost::beast::http::request_parser<boost::beast::http::buffer_body> parser_;
  std::size_t head_bytes_ = 0;
  std::size_t head_lines_ = 0;
  std::string path_;
  std::vector<std::pair<std::string, std::string>> query_;
  std::vector<std::pair<std::string, std::string>> parameters_;
  bool expects_continue_ = false;  // the client waits for a word before it sends the body
  std::optional<Error> body_error_;
  std::array<std::size_t, ClientBudget::kResources> held_{};  // of the budget
  std::chrono::nanoseconds body_waited_{};                    // for the client to send the body
  std::size_t body_bytes_ = 0;                                // that came in that time

  Headers added_headers_;
  Answer answer_ = Answer::kNone;
  Framing framing_ = Framing::kLength;
  std::string_view question_;            // between two pieces, to learn whether the client is gone; empty: none
  bool keep_alive_ = false;              // as the answer's head said
  std::function<void()> on_disconnect_;  // until the body is read; then the socket has it
};

}  // namespace drover::http
