// HTTP with one registry and with the places that it sends us to, and the rules of how far it is trusted:
//
// - Only http and https are spoken, and nobody leads from https to http.
// - Credentials go to the registry's own origin and, for a token, to a realm on the same host; to nobody else.
// - What is not public may be reached only if the registry itself is in such a place: one on the internet cannot make
//   us talk to this machine, to its network, or to a cloud's metadata. The address that a connection is made to
//   decides, whatever its name said when it was looked up before.
// - Everything that arrives has a limit; who sends less than a trickle is hung up on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "registry/address.h"
#include "registry/challenge.h"
#include "registry/url.h"

namespace drover::registry {

inline constexpr int kRedirectsMax = 10;
inline constexpr int kAuthorizationsMax = 2;  // of one call
inline constexpr std::size_t kAnswerBytesMax = 1u << 20;
inline constexpr std::size_t kErrorBytesMax = 4u << 10;  // what is kept of an answer that reports an error
inline constexpr std::size_t kTokenBytesMax = 32u << 10;
inline constexpr long kConnectionsMax = 16;
inline constexpr long kTrickleBytes = 1024;  // a second; less than that for the whole stall time-out is a stall

struct Account {
  std::string username;  // "" for none
  std::string password;
};

// What is to be sent, read from a file.
struct FileSlice {
  int descriptor = -1;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct Answer {
  int status = 0;
  std::string url;  // whose answer it is, behind all redirects
  std::optional<std::uint64_t> length;
  std::string content_range;
  std::string location;
  std::string challenge;
  std::string body;  // unless it went to a sink
};

struct Call {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string body;                  // to be sent
  std::optional<FileSlice> file;     // to be sent instead
  // Takes the body of a 2xx answer as it comes; `head` has everything but the body. Its error ends the call.
  std::function<Result<void>(const Answer& head, std::string_view bytes)> sink;
  std::size_t answer_bytes_max = kAnswerBytesMax;
  std::optional<std::chrono::seconds> stall_timeout;  // instead of the session's
  std::function<void(std::uint64_t bytes)> on_sent;   // of the body, in this attempt
};

using CallId = std::uint64_t;

struct Outcome {
  CallId id = 0;
  Result<Answer> answer;  // an answer of any status but 401 and redirects
};

// Used by one thread, but for cancel() and wake().
//
// Errors of calls: kUnavailable: worth another try (no connection, or it was cut, or it stalled); kForbidden: against
// the rules above, or not authorized; kTooLarge; kCanceled; kInvalidArgument; and those of the sink.
class Session {
 public:
  Session(Url registry, Account account, std::string user_agent, std::chrono::seconds stall_timeout);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Url& registry() const { return registry_; }

  // Begins a call, which then goes on within wait() and send().
  CallId start(Call call);
  // Ends a call that has no outcome yet, without one.
  void abandon(CallId id);
  // Lets calls go on for up to `time`, and returns those that have ended. Returns early if there are any, or at wake().
  std::vector<Outcome> wait(std::chrono::milliseconds time);
  // One call, waited for. `tick`, if set, is called at least every `kTick`.
  Result<Answer> send(Call call, const std::function<void()>& tick = {});
  // Sleeps, unless it is canceled.
  void pause(std::chrono::milliseconds time);

  // Any thread: ends all that is under way, and all that is begun later, with kCanceled.
  void cancel();
  bool canceled() const { return canceled_; }
  // Any thread: ends a wait().
  void wake();

  static constexpr std::chrono::milliseconds kTick{60};

 private:
  struct Handles;
  struct Transfer;
  using TransferPointer = std::unique_ptr<Transfer>;

  void begin(TransferPointer transfer);
  void pump(std::chrono::milliseconds time);
  // The outcome of a transfer that has ended; nullopt: it goes on elsewhere.
  std::optional<Outcome> settle(TransferPointer transfer);
  std::optional<Error> redirect(Transfer& transfer);
  std::optional<Error> authorize(Transfer& transfer);
  Result<std::string> fetch_token(const Challenge& challenge);
  Error error_of(const Transfer& transfer) const;
  void learn_home(const Transfer& transfer);
  bool is_allowed(AddressKind kind) const;

  const Url registry_;
  const Account account_;
  const std::string user_agent_;
  const std::chrono::seconds stall_timeout_;
  std::atomic<bool> canceled_{false};
  std::unique_ptr<Handles> handles_;
  CallId next_id_ = 1;
  std::map<CallId, TransferPointer> running_;
  std::deque<TransferPointer> ended_;
  std::deque<Outcome> outcomes_;
  std::optional<AddressKind> home_;  // where the registry is, known once it has answered
  std::string token_;
  std::uint64_t authorization_ = 0;  // counts what we know of how to be let in
  bool basic_ = false;               // the registry wants the account itself
};

}  // namespace drover::registry
