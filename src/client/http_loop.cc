#include "client/http_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <new>
#include <optional>
#include <unordered_map>

#include "base/check.h"
#include "base/curl_handles.h"
#include "client/address.h"

namespace drover::cli {
namespace {

constexpr long kConnectSecondsMax = 30;
constexpr long kIdleConnectionsMax = 8192;
constexpr auto kFetchTick = std::chrono::milliseconds(100);

using Easy = std::unique_ptr<CURL, CloseEasy>;
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

class File {
 public:
  explicit File(int file) : file_(file) {
    if (file_ < 0) throw std::bad_alloc();
  }
  ~File() { close(file_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return file_; }

 private:
  int file_;
};

void append(HeaderList& headers, const char* line) {
  curl_slist* longer = curl_slist_append(headers.get(), line);
  if (longer == nullptr) throw std::bad_alloc();
  (void)headers.release();
  headers.reset(longer);
}

template <typename T>
void set(CURL* easy, CURLoption option, T value) {
  DROVER_CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK);
}

int status_of(CURL* easy) {
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

HttpFailure failure_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpFailure::kNone;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return HttpFailure::kConnect;
    case CURLE_OPERATION_TIMEDOUT:
      return HttpFailure::kTimeout;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return HttpFailure::kClosed;
    default:
      return HttpFailure::kOther;
  }
}

// What arrives is stored by libcurl's callback and handed out between two calls of libcurl: no code of ours runs
// inside.
struct Transfer {
  HttpLoop::Receiver* receiver = nullptr;
  Easy easy;
  HeaderList headers;
  std::string body;
  std::string received;
  TimePoint received_at;
  std::vector<Transfer*>* touched = nullptr;  // those with bytes that have not been handed out

  static std::size_t on_received(char* bytes, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (transfer.received.empty()) {
      transfer.received_at = Clock::now();
      transfer.touched->push_back(&transfer);
    }
    transfer.received.append(bytes, size * count);
    return size * count;
  }
};

}  // namespace

struct HttpLoop::State {
  File epoll{epoll_create1(EPOLL_CLOEXEC)};
  File timer{timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
  std::unordered_map<int, std::function<void()>> watched;
  std::optional<TimePoint> wake;  // when libcurl wants to be called
  std::vector<Transfer*> touched;
  std::unordered_map<CURL*, std::unique_ptr<Transfer>> running;
  std::vector<Easy> idle;
  std::unique_ptr<CURLM, CloseMulti> multi;

  State() {
    static const CURLcode kInitialized = curl_global_init(CURL_GLOBAL_DEFAULT);
    DROVER_CHECK(kInitialized == CURLE_OK);
    multi.reset(curl_multi_init());
    if (multi == nullptr) throw std::bad_alloc();
    curl_multi_setopt(multi.get(), CURLMOPT_SOCKETFUNCTION, &State::on_socket);
    curl_multi_setopt(multi.get(), CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi.get(), CURLMOPT_TIMERFUNCTION, &State::on_timer);
    curl_multi_setopt(multi.get(), CURLMOPT_TIMERDATA, this);
    curl_multi_setopt(multi.get(), CURLMOPT_MAXCONNECTS, kIdleConnectionsMax);
    control(EPOLL_CTL_ADD, timer.get(), EPOLLIN);
  }

  ~State() { cancel_all(); }

  void cancel_all() {
    for (const auto& [easy, transfer] : running) curl_multi_remove_handle(multi.get(), easy);
    running.clear();
    touched.clear();
  }

  void control(int operation, int file, std::uint32_t events) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = file;
    epoll_ctl(epoll.get(), operation, file, &event);
  }

  static int on_socket(CURL*, curl_socket_t socket, int what, void* self, void* known) {
    auto& state = *static_cast<State*>(self);
    if (what == CURL_POLL_REMOVE) {
      state.control(EPOLL_CTL_DEL, socket, 0);
      return 0;
    }
    const std::uint32_t events =
        ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0u) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0u);
    state.control(known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, events);
    curl_multi_assign(state.multi.get(), socket, self);  // Any pointer but null says that it is in the set.
    return 0;
  }

  static int on_timer(CURLM*, long milliseconds, void* self) {
    auto& state = *static_cast<State*>(self);
    state.wake.reset();
    if (milliseconds >= 0) state.wake = Clock::now() + std::chrono::milliseconds(milliseconds);
    return 0;
  }

  void act(curl_socket_t socket, int events) {
    int still_running = 0;
    DROVER_CHECK(curl_multi_socket_action(multi.get(), socket, events, &still_running) == CURLM_OK);
    hand_out();
    collect();
  }

  void hand_out() {
    for (Transfer* transfer : touched) {
      const int status = status_of(transfer->easy.get());
      transfer->receiver->on_bytes(status, transfer->received, transfer->received_at);
      transfer->received.clear();
    }
    touched.clear();
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      const auto found = running.find(message->easy_handle);
      DROVER_CHECK(found != running.end());
      const std::unique_ptr<Transfer> transfer = std::move(found->second);
      running.erase(found);
      curl_multi_remove_handle(multi.get(), transfer->easy.get());
      HttpEnd end;
      end.status = status_of(transfer->easy.get());
      end.failure = failure_of(code);
      if (code != CURLE_OK) end.text = curl_easy_strerror(code);
      curl_easy_reset(transfer->easy.get());
      idle.push_back(std::move(transfer->easy));
      transfer->receiver->on_end(end, Clock::now());
    }
  }

  // Sets the timer that ends a wait. False: there is no time to wait.
  bool arm(TimePoint until) const {
    const TimePoint first = wake ? std::min(until, *wake) : until;
    itimerspec when{};
    if (first != kNever) {
      if (first <= Clock::now()) return false;
      // The steady clock is CLOCK_MONOTONIC here.
      const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(first.time_since_epoch()).count();
      when.it_value.tv_sec = since / 1'000'000'000;
      when.it_value.tv_nsec = since % 1'000'000'000;
    }
    timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &when, nullptr);
    return true;
  }

  void handle(const epoll_event& event) {
    const int file = event.data.fd;
    if (file == timer.get()) {
      std::uint64_t expirations = 0;
      (void)!read(file, &expirations, sizeof(expirations));
      return;
    }
    if (const auto found = watched.find(file); found != watched.end()) {
      found->second();
      return;
    }
    int events = 0;
    if ((event.events & EPOLLIN) != 0) events |= CURL_CSELECT_IN;
    if ((event.events & EPOLLOUT) != 0) events |= CURL_CSELECT_OUT;
    if ((event.events & (EPOLLERR | EPOLLHUP)) != 0) events |= CURL_CSELECT_ERR;
    act(file, events);
  }
};

HttpLoop::HttpLoop() : state_(std::make_unique<State>()) {}
HttpLoop::~HttpLoop() = default;

void HttpLoop::start(HttpCall call, Receiver& receiver) {
  State& state = *state_;
  auto transfer = std::make_unique<Transfer>();
  if (state.idle.empty()) {
    transfer->easy.reset(curl_easy_init());
    if (transfer->easy == nullptr) throw std::bad_alloc();
  } else {
    transfer->easy = std::move(state.idle.back());
    state.idle.pop_back();
  }
  transfer->receiver = &receiver;
  transfer->touched = &state.touched;
  transfer->body = std::move(call.body);
  CURL* easy = transfer->easy.get();
  set(easy, CURLOPT_URL, call.url.c_str());
  set(easy, CURLOPT_USERAGENT, "drover");
  set(easy, CURLOPT_NOSIGNAL, 1L);  // Else libcurl changes the process's signals for every piece that arrives.
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_CONNECTTIMEOUT, kConnectSecondsMax);
  set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(call.timeout.count()));
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_received);
  set(easy, CURLOPT_WRITEDATA, transfer.get());
  if (is_loopback_url(call.url)) set(easy, CURLOPT_PROXY, "");  // The environment's proxy is for other machines.
  for (const std::string& header : call.headers) append(transfer->headers, header.c_str());
  if (!transfer->body.empty()) {
    set(easy, CURLOPT_POST, 1L);
    set(easy, CURLOPT_POSTFIELDS, transfer->body.c_str());
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer->body.size()));
    append(transfer->headers, "Content-Type: application/json");
    append(transfer->headers, "Expect:");  // A server that never says "continue" would cost a second.
  }
  set(easy, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  set(easy, CURLOPT_HTTPHEADER, transfer->headers.get());
  DROVER_CHECK(curl_multi_add_handle(state.multi.get(), easy) == CURLM_OK);
  state.running.emplace(easy, std::move(transfer));
}

void HttpLoop::cancel_all() {
  state_->cancel_all();
}

std::size_t HttpLoop::running() const {
  return state_->running.size();
}

void HttpLoop::watch(int file, std::function<void()> on_readable) {
  state_->watched[file] = std::move(on_readable);
  state_->control(EPOLL_CTL_ADD, file, EPOLLIN);
}

void HttpLoop::turn(TimePoint until) {
  State& state = *state_;
  std::array<epoll_event, 128> events;
  const int timeout = state.arm(until) ? -1 : 0;
  const int count = epoll_wait(state.epoll.get(), events.data(), static_cast<int>(events.size()), timeout);
  DROVER_CHECK(count >= 0 || errno == EINTR);
  for (int i = 0; i < count; ++i) state.handle(events[static_cast<std::size_t>(i)]);
  if (state.wake && *state.wake <= Clock::now()) {
    state.wake.reset();
    state.act(CURL_SOCKET_TIMEOUT, 0);
  }
}

Result<HttpAnswer> fetch(HttpLoop& loop, HttpCall call, std::size_t bytes_max, const std::function<bool()>& go_on) {
  struct Whole : HttpLoop::Receiver {
    HttpAnswer answer;
    std::optional<HttpEnd> end;
    void on_bytes(int, std::string_view bytes, TimePoint) override { answer.body += bytes; }
    void on_end(const HttpEnd& reached, TimePoint) override { end = reached; }
  } whole;
  const std::string url = call.url;
  loop.start(std::move(call), whole);
  while (!whole.end) {
    if (!go_on() || whole.answer.body.size() > bytes_max) {
      loop.cancel_all();
      if (whole.answer.body.size() <= bytes_max) return Error{ErrorCode::kCanceled, "canceled"};
      return Error{ErrorCode::kTooLarge, url + ": the answer is too large"};
    }
    loop.turn(Clock::now() + kFetchTick);
  }
  if (whole.end->failure == HttpFailure::kTimeout) return Error{ErrorCode::kTimedOut, url + ": " + whole.end->text};
  if (whole.end->failure != HttpFailure::kNone) return Error{ErrorCode::kUnavailable, url + ": " + whole.end->text};
  whole.answer.status = whole.end->status;
  return std::move(whole.answer);
}

}  // namespace drover::cli
