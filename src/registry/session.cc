#include "registry/session.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/text.h"
#include "net/curl.h"

namespace drover::registry {
namespace {

constexpr std::size_t kHeaderValueBytesMax = kUrlBytesMax;
constexpr long kBufferBytes = 256 << 10;

// The one realm on another host that is known to belong to a registry.
constexpr std::string_view kOllamaRegistry = "registry.ollama.ai";
constexpr std::string_view kOllamaSite = "ollama.com";

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool is_success(int status) {
  return status >= 200 && status < 300;
}

bool is_on_this_machine(const std::string& host) {
  return host == "localhost" || kind_of_text(host) == AddressKind::kLoopback;
}

Error denied() {
  return {ErrorCode::kForbidden, "unauthorized: access denied"};
}

Error canceled_error() {
  return {ErrorCode::kCanceled, "canceled"};
}

// A token goes into a header as it is, so nothing may be in it that could end the header.
bool is_token(std::string_view text) {
  return !text.empty() && text.size() <= kTokenBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

struct Session::Handles {
  net::Multi multi;
};

// One request under way, and what has come of it. libcurl calls back into it on the session's thread.
struct Session::Transfer {
  Transfer(Session& its_session, CallId its_id, Call its_call, Url its_url)
      : session(its_session), id(its_id), call(std::move(its_call)), url(std::move(its_url)) {}
  ~Transfer() { detach(); }

  void detach() {
    if (attached) curl_multi_remove_handle(session.handles_->multi.get(), easy.get());
    attached = false;
  }

  bool to_registry() const { return url.origin() == session.registry_.origin(); }
  std::uint64_t body_bytes() const { return call.file ? call.file->end - call.file->begin : call.body.size(); }

  std::size_t take_header(std::string_view line);
  std::size_t take_body(std::string_view bytes);
  std::size_t give_body(char* into, std::size_t bytes_max);
  int open_socket(const curl_sockaddr& address);

  Session& session;
  const CallId id;
  Call call;
  Url url;
  net::Easy easy;
  bool attached = false;
  std::array<char, CURL_ERROR_SIZE> error_text{};
  CURLcode result = CURLE_OK;
  Answer answer;
  std::optional<Error> failure;  // our own reason to end it
  bool heard_enough = false;     // of the body of an error
  std::uint64_t sent = 0;
  int redirects = 0;
  int authorizations = 0;
  std::uint64_t authorization = 0;  // the session's when it was begun
};

std::size_t Session::Transfer::take_header(std::string_view line) {
  if (line.starts_with("HTTP/")) {  // after a "100 Continue" all begins anew
    answer = Answer{};
    return line.size();
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || line.size() > kHeaderValueBytesMax) return line.size();
  const std::string name = lower_case(line.substr(0, colon));
  const std::string value(trimmed(line.substr(colon + 1)));
  if (name == "location") answer.location = value;
  if (name == "content-range") answer.content_range = value;
  // Of several challenges the one for a token is taken.
  if (name == "www-authenticate" && !lower_case(answer.challenge).starts_with("bearer")) answer.challenge = value;
  return line.size();
}

std::size_t Session::Transfer::take_body(std::string_view bytes) {
  if (answer.status == 0) {
    answer.status = easy.status();
    answer.url = url.text();
    answer.length = easy.length();
  }
  if (!is_success(answer.status)) {
    answer.body.append(bytes.substr(0, kErrorBytesMax - std::min(kErrorBytesMax, answer.body.size())));
    heard_enough = answer.body.size() >= kErrorBytesMax;
    return heard_enough ? 0 : bytes.size();
  }
  if (call.sink) {
    Result<void> taken = call.sink(answer, bytes);
    if (taken) return bytes.size();
    failure = std::move(taken).error();
    return 0;
  }
  if (answer.body.size() + bytes.size() > call.answer_bytes_max) {
    failure = Error{ErrorCode::kTooLarge,
                    fmt::format("{} answered with more than {} bytes", url.shown(), call.answer_bytes_max)};
    return 0;
  }
  answer.body.append(bytes);
  return bytes.size();
}

std::size_t Session::Transfer::give_body(char* into, std::size_t bytes_max) {
  const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(bytes_max, body_bytes() - sent));
  if (want == 0) return 0;
  std::size_t count = want;
  if (call.file) {
    const ssize_t got = ::pread(call.file->descriptor, into, want, static_cast<off_t>(call.file->begin + sent));
    if (got <= 0) {
      failure = internal("cannot read the blob to be sent");
      return CURL_READFUNC_ABORT;
    }
    count = static_cast<std::size_t>(got);
  } else {
    call.body.copy(into, want, sent);
  }
  sent += count;
  if (call.on_sent) call.on_sent(sent);
  return count;
}

int Session::Transfer::open_socket(const curl_sockaddr& address) {
  const AddressKind kind = kind_of(address.addr);
  if (!session.is_allowed(kind)) {
    failure =
        Error{ErrorCode::kForbidden, fmt::format("refused to connect from the registry {} to the {} address of {}",
                                                 session.registry_.authority(), to_string(kind), url.host())};
    return CURL_SOCKET_BAD;
  }
  return ::socket(address.family, address.socktype | SOCK_CLOEXEC, address.protocol);
}

// ---- the session

Session::Session(Url registry, Account account, std::string user_agent, std::chrono::seconds stall_timeout)
    : registry_(std::move(registry)),
      account_(std::move(account)),
      user_agent_(std::move(user_agent)),
      stall_timeout_(stall_timeout) {
  handles_ = std::make_unique<Handles>();
  handles_->multi.set(CURLMOPT_MAX_TOTAL_CONNECTIONS, kConnectionsMax);
  handles_->multi.set(CURLMOPT_MAXCONNECTS, kConnectionsMax);
}

Session::~Session() {
  running_.clear();
  ended_.clear();
}

void Session::cancel() {
  canceled_ = true;
  wake();
}

void Session::wake() {
  curl_multi_wakeup(handles_->multi.get());
}

bool Session::is_allowed(AddressKind kind) const {
  // Until the registry has answered nobody but the user has said where to go.
  return !home_ || kind == AddressKind::kPublic || kind == *home_;
}

void Session::learn_home(const Transfer& transfer) {
  if (home_ || !transfer.to_registry() || transfer.result != CURLE_OK) return;
  char* address = nullptr;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_PRIMARY_IP, &address);
  if (address != nullptr) home_ = kind_of_text(address);
}

CallId Session::start(Call call) {
  const CallId id = next_id_++;
  Result<Url> url = Url::parse(call.url);
  if (!url) {
    outcomes_.push_back({id, std::move(url).error()});
    return id;
  }
  begin(std::make_unique<Transfer>(*this, id, std::move(call), std::move(*url)));
  return id;
}

void Session::begin(TransferPointer transfer) {
  Transfer& t = *transfer;
  t.detach();
  t.easy = net::Easy();
  t.answer = Answer{};
  t.failure.reset();
  t.heard_enough = false;
  t.sent = 0;
  t.authorization = authorization_;

  t.easy.set(CURLOPT_PRIVATE, transfer.get());
  t.easy.set(CURLOPT_URL, t.url.text().c_str());
  t.easy.set(CURLOPT_FOLLOWLOCATION, 0L);  // settle() follows, by its own rules
  t.easy.set(CURLOPT_USERAGENT, user_agent_.c_str());
  t.easy.set(CURLOPT_ERRORBUFFER, t.error_text.data());
  t.easy.set(CURLOPT_BUFFERSIZE, kBufferBytes);
  t.easy.set(CURLOPT_UPLOAD_BUFFERSIZE, kBufferBytes);
  t.easy.set(CURLOPT_LOW_SPEED_LIMIT, kTrickleBytes);
  t.easy.set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(t.call.stall_timeout.value_or(stall_timeout_).count()));
  if (is_on_this_machine(t.url.host())) t.easy.set(CURLOPT_PROXY, "");
  t.easy.set(CURLOPT_OPENSOCKETDATA, transfer.get());
  t.easy.set(
      CURLOPT_OPENSOCKETFUNCTION, +[](void* self, curlsocktype, curl_sockaddr* address) -> curl_socket_t {
        return static_cast<Transfer*>(self)->open_socket(*address);
      });
  t.easy.set(CURLOPT_HEADERDATA, transfer.get());
  t.easy.set(
      CURLOPT_HEADERFUNCTION, +[](char* bytes, std::size_t size, std::size_t count, void* self) {
        return static_cast<Transfer*>(self)->take_header({bytes, size * count});
      });
  t.easy.set(CURLOPT_WRITEDATA, transfer.get());
  t.easy.set(
      CURLOPT_WRITEFUNCTION, +[](char* bytes, std::size_t size, std::size_t count, void* self) {
        return static_cast<Transfer*>(self)->take_body({bytes, size * count});
      });
  if (t.call.method == "HEAD") {
    t.easy.set(CURLOPT_NOBODY, 1L);
  } else if (t.call.method != "GET") {
    t.easy.set(CURLOPT_CUSTOMREQUEST, t.call.method.c_str());
    t.easy.set(CURLOPT_POST, 1L);
    t.easy.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t.body_bytes()));
    t.easy.set(CURLOPT_READDATA, transfer.get());
    t.easy.set(
        CURLOPT_READFUNCTION, +[](char* into, std::size_t size, std::size_t count, void* self) {
          return static_cast<Transfer*>(self)->give_body(into, size * count);
        });
    t.easy.set(CURLOPT_SEEKDATA, transfer.get());
    t.easy.set(
        CURLOPT_SEEKFUNCTION, +[](void* self, curl_off_t offset, int origin) {
          if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
          static_cast<Transfer*>(self)->sent = static_cast<std::uint64_t>(offset);
          return CURL_SEEKFUNC_OK;
        });
    t.easy.add_header("Expect:");  // a registry that never says "continue" would cost a second
  }
  for (const std::string& line : t.call.headers) t.easy.add_header(line);
  if (t.to_registry()) {
    if (!token_.empty()) {
      t.easy.add_header("Authorization: Bearer " + token_);
    } else if (basic_) {
      t.easy.set(CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
      t.easy.set(CURLOPT_USERNAME, account_.username.c_str());
      t.easy.set(CURLOPT_PASSWORD, account_.password.c_str());
    }
  }
  t.easy.use_headers();
  DROVER_CHECK(curl_multi_add_handle(handles_->multi.get(), t.easy.get()) == CURLM_OK);
  t.attached = true;
  running_.emplace(t.id, std::move(transfer));
}

void Session::abandon(CallId id) {
  running_.erase(id);
  std::erase_if(ended_, [id](const TransferPointer& transfer) { return transfer->id == id; });
  std::erase_if(outcomes_, [id](const Outcome& outcome) { return outcome.id == id; });
}

// Lets libcurl work, and moves what has ended from running_ to ended_.
void Session::pump(std::chrono::milliseconds time) {
  CURLM* multi = handles_->multi.get();
  const auto collect = [&] {
    int running = 0;
    curl_multi_perform(multi, &running);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      transfer->result = message->data.result;
      transfer->detach();
      ended_.push_back(std::move(running_.extract(transfer->id).mapped()));
    }
  };
  collect();
  if (!ended_.empty() || canceled_) return;
  curl_multi_poll(multi, nullptr, 0, static_cast<int>(time.count()), nullptr);
  collect();
}

std::vector<Outcome> Session::wait(std::chrono::milliseconds time) {
  if (outcomes_.empty() && !canceled_) pump(time);
  while (!ended_.empty() && !canceled_) {
    TransferPointer transfer = std::move(ended_.front());
    ended_.pop_front();
    if (std::optional<Outcome> outcome = settle(std::move(transfer))) outcomes_.push_back(std::move(*outcome));
  }
  std::vector<Outcome> outcomes(std::make_move_iterator(outcomes_.begin()), std::make_move_iterator(outcomes_.end()));
  outcomes_.clear();
  return outcomes;
}

Result<Answer> Session::send(Call call, const std::function<void()>& tick) {
  const CallId id = start(std::move(call));
  std::optional<Result<Answer>> answer;
  while (!answer) {
    if (canceled_) return canceled_error();
    std::deque<Outcome> others;
    for (Outcome& outcome : wait(kTick)) {
      if (outcome.id == id) {
        answer = std::move(outcome.answer);
      } else {
        others.push_back(std::move(outcome));
      }
    }
    outcomes_.insert(outcomes_.end(), std::make_move_iterator(others.begin()), std::make_move_iterator(others.end()));
    if (tick) tick();
  }
  return *std::move(answer);
}

void Session::pause(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!canceled_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    pump(std::min(left, kTick));
  }
}

std::optional<Outcome> Session::settle(TransferPointer transfer) {
  Transfer& t = *transfer;
  learn_home(t);
  if (t.result != CURLE_OK && !t.heard_enough) return Outcome{t.id, error_of(t)};
  t.answer.status = t.easy.status();
  t.answer.url = t.url.text();
  t.answer.length = t.easy.length();

  std::optional<Error> error;
  if (is_redirect(t.answer.status)) {
    error = redirect(t);
  } else if (t.answer.status == 401) {
    error = authorize(t);
  } else {
    return Outcome{t.id, std::move(t.answer)};
  }
  if (error) return Outcome{t.id, std::move(*error)};
  begin(std::move(transfer));
  return std::nullopt;
}

std::optional<Error> Session::redirect(Transfer& transfer) {
  if (transfer.call.method != "GET" && transfer.call.method != "HEAD") {
    return Error{ErrorCode::kForbidden, fmt::format("{} answered {} with a redirect, which is not followed",
                                                    transfer.url.shown(), transfer.call.method)};
  }
  if (++transfer.redirects > kRedirectsMax) {
    return Error{ErrorCode::kForbidden, fmt::format("stopped after {} redirects", kRedirectsMax)};
  }
  Result<Url> next = transfer.url.resolve(transfer.answer.location);
  if (!next) {
    return Error{ErrorCode::kForbidden, fmt::format("{} redirects to an address that is refused: {}",
                                                    transfer.url.shown(), next.error().message)};
  }
  // What is written as an address is refused without a try; the rest when a connection is made.
  if (const auto kind = kind_of_text(next->host()); kind && !is_allowed(*kind)) {
    return Error{ErrorCode::kForbidden, fmt::format("refused to connect from the registry {} to the {} address of {}",
                                                    registry_.authority(), to_string(*kind), next->host())};
  }
  transfer.url = std::move(*next);
  return std::nullopt;
}

std::optional<Error> Session::authorize(Transfer& transfer) {
  if (!transfer.to_registry() || ++transfer.authorizations > kAuthorizationsMax) return denied();
  // Another call has learned how to be let in while this one was under way.
  if (transfer.authorization != authorization_) return std::nullopt;
  const Result<Challenge> challenge = parse_challenge(transfer.answer.challenge);
  if (!challenge) return challenge.error();
  if (challenge->scheme == Challenge::Scheme::kBasic) {
    if (account_.username.empty() || basic_) return denied();
    basic_ = true;
  } else {
    Result<std::string> token = fetch_token(*challenge);
    if (!token) return std::move(token).error();
    token_ = std::move(*token);
  }
  ++authorization_;
  return std::nullopt;
}

Result<std::string> Session::fetch_token(const Challenge& challenge) {
  Result<Url> realm = Url::parse(challenge.realm);
  if (!realm) return Error{ErrorCode::kForbidden, fmt::format("realm {}", realm.error().message)};
  if (realm->scheme() != registry_.scheme() && realm->scheme() != "https") {
    return Error{ErrorCode::kForbidden, fmt::format("realm {} is not encrypted", realm->shown())};
  }
  const bool same_site = realm->authority() == registry_.authority() ||
                         (registry_.authority() == kOllamaRegistry && realm->authority() == kOllamaSite);
  if (!same_site) {
    return Error{ErrorCode::kForbidden, fmt::format("realm host \"{}\" does not match original host \"{}\"",
                                                    realm->authority(), registry_.authority())};
  }
  if (!challenge.service.empty()) {
    realm = realm->with_query("service", challenge.service);
    if (!realm) return std::move(realm).error();
  }
  for (std::string_view rest = challenge.scope; !rest.empty();) {
    const std::string_view scope = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(scope.size() + 1, rest.size()));
    if (scope.empty()) continue;
    realm = realm->with_query("scope", scope);
    if (!realm) return std::move(realm).error();
  }
  Call call;
  call.url = realm->text();
  call.answer_bytes_max = 2 * kTokenBytesMax;
  auto transfer = std::make_unique<Transfer>(*this, next_id_++, std::move(call), std::move(*realm));
  const CallId id = transfer->id;
  token_.clear();  // an old one must not be what asks for the new one
  const bool was_basic = std::exchange(basic_, !account_.username.empty());
  begin(std::move(transfer));
  basic_ = was_basic;
  auto found = ended_.end();
  while (found == ended_.end()) {
    if (canceled_) return canceled_error();
    // pump() returns at once while others have ended, so those are put aside.
    std::deque<TransferPointer> others = std::exchange(ended_, {});
    pump(kTick);
    ended_.insert(ended_.begin(), std::make_move_iterator(others.begin()), std::make_move_iterator(others.end()));
    found = std::find_if(ended_.begin(), ended_.end(), [id](const auto& ended) { return ended->id == id; });
  }
  const TransferPointer ended = std::move(*found);
  ended_.erase(found);
  if (ended->result != CURLE_OK && !ended->heard_enough) return error_of(*ended);
  const int status = ended->easy.status();
  if (status == 401 || status == 403) return denied();
  if (status != 200) return Error{ErrorCode::kForbidden, fmt::format("{}: no token was given", status)};
  const auto json = nlohmann::json::parse(ended->answer.body, nullptr, false);
  for (const char* name : {"token", "access_token"}) {
    if (!json.is_object() || !json.contains(name) || !json[name].is_string()) continue;
    std::string token = json[name].get<std::string>();
    if (is_token(token)) return token;
  }
  return Error{ErrorCode::kForbidden, fmt::format("{} answered without a token", ended->url.shown())};
}

Error Session::error_of(const Transfer& transfer) const {
  if (transfer.failure) return *transfer.failure;
  const std::string method = transfer.call.method.substr(0, 1) + lower_case(transfer.call.method.substr(1));
  const std::string_view detail = transfer.error_text[0] != '\0' ? std::string_view(transfer.error_text.data())
                                                                 : curl_easy_strerror(transfer.result);
  Error error{ErrorCode::kInternal, fmt::format("{} \"{}\": {}", method, transfer.url.shown(), detail)};
  const bool cut_off = net::failure_of(transfer.result) != net::Failure::kOther;
  if (cut_off || transfer.result == CURLE_SSL_CONNECT_ERROR) error.code = ErrorCode::kUnavailable;
  return error;
}

}  // namespace drover::registry
