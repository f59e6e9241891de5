#include "net/http_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <new>
#include <optional>
#include <unordered_map>

#include "base/check.h"
#include "base/descriptor.h"
#include "net/curl.h"

namespace drover::net {
namespace {

constexpr long kIdleConnectionsMax = 8192;
constexpr auto kFetchTick = std::chrono::milliseconds(100);

Descriptor checked(int file) {
  if (file < 0) throw std::bad_alloc();
  return Descriptor(file);
}

// What arrives is stored by libcurl's callback and handed out between two calls of libcurl: no code of ours runs
// inside.
struct Transfer {
  Transfer(Easy its_easy, HttpCall its_call, HttpLoop::Receiver& its_receiver, std::vector<Transfer*>& all_touched)
      : easy(std::move(its_easy)), call(std::move(its_call)), receiver(its_receiver), touched(all_touched) {}

  Easy easy;
  HttpCall call;
  HttpLoop::Receiver& receiver;
  std::vector<Transfer*>& touched;  // those with bytes that have not been handed out
  std::string received;
  TimePoint received_at;

  static std::size_t on_received(char* bytes, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (transfer.received.empty()) {
      transfer.received_at = Clock::now();
      transfer.touched.push_back(&transfer);
    }
    transfer.received.append(bytes, size * count);
    return size * count;
  }

  static std::size_t on_send(char* into, std::size_t size, std::size_t count, void* self) {
    return static_cast<Transfer*>(self)->call.source(into, size * count).value_or(CURL_READFUNC_ABORT);
  }
};

}  // namespace

struct HttpLoop::State {
  Descriptor epoll = checked(epoll_create1(EPOLL_CLOEXEC));
  Descriptor timer = checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  std::unordered_map<int, std::function<void()>> watched;
  std::optional<TimePoint> wake;  // when libcurl wants to be called
  std::vector<Transfer*> touched;
  std::unordered_map<CURL*, std::unique_ptr<Transfer>> running;
  std::vector<Easy> idle;
  Multi multi;

  State() {
    multi.set(CURLMOPT_SOCKETFUNCTION, &State::on_socket);
    multi.set(CURLMOPT_SOCKETDATA, this);
    multi.set(CURLMOPT_TIMERFUNCTION, &State::on_timer);
    multi.set(CURLMOPT_TIMERDATA, this);
    multi.set(CURLMOPT_MAXCONNECTS, kIdleConnectionsMax);
    control(EPOLL_CTL_ADD, timer.value(), EPOLLIN);
  }

  ~State() { cancel_all(); }

  // One that was used before, if there is one.
  Easy take_easy() {
    if (idle.empty()) return Easy();
    Easy easy = std::move(idle.back());
    idle.pop_back();
    return easy;
  }

  void cancel_all() {
    for (const auto& [easy, transfer] : running) curl_multi_remove_handle(multi.get(), easy);
    running.clear();
    touched.clear();
  }

  void control(int operation, int file, std::uint32_t events) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = file;
    epoll_ctl(epoll.value(), operation, file, &event);
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
      transfer->receiver.on_bytes(transfer->easy.status(), transfer->received, transfer->received_at);
      transfer->received.clear();
    }
    touched.clear();
  }

  void collect() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURLcode code = message->data.result;
      const auto found = running.find(message->easy_handle);
      DROVER_CHECK(found != running.end());
      const std::unique_ptr<Transfer> transfer = std::move(found->second);
      running.erase(found);
      curl_multi_remove_handle(multi.get(), transfer->easy.get());
      HttpEnd end;
      end.status = transfer->easy.status();
      // A server may refuse a body before it has read all of it; then its answer says more than the broken pipe.
      if (code == CURLE_SEND_ERROR && end.status >= 400) code = CURLE_OK;
      end.failure = failure_of(code);
      if (code != CURLE_OK) end.text = curl_easy_strerror(code);
      transfer->easy.reset();
      idle.push_back(std::move(transfer->easy));
      transfer->receiver.on_end(end, Clock::now());
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
    timerfd_settime(timer.value(), TFD_TIMER_ABSTIME, &when, nullptr);
    return true;
  }

  void handle(const epoll_event& event) {
    const int file = event.data.fd;
    if (file == timer.value()) {
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
  auto transfer = std::make_unique<Transfer>(state.take_easy(), std::move(call), receiver, state.touched);
  const HttpCall& own = transfer->call;
  Easy& easy = transfer->easy;
  easy.set(CURLOPT_URL, own.url.c_str());
  easy.set(CURLOPT_USERAGENT, "drover");
  easy.set(CURLOPT_TIMEOUT_MS, static_cast<long>(own.timeout.count()));
  easy.set(CURLOPT_WRITEFUNCTION, &Transfer::on_received);
  easy.set(CURLOPT_WRITEDATA, transfer.get());
  if (!own.unix_socket.empty()) easy.set(CURLOPT_UNIX_SOCKET_PATH, own.unix_socket.c_str());
  if (is_loopback_url(own.url)) easy.set(CURLOPT_PROXY, "");  // The environment's proxy is for other machines.
  for (const std::string& header : own.headers) easy.add_header(header);
  if (own.source) {
    easy.set(CURLOPT_POST, 1L);
    easy.set(CURLOPT_READFUNCTION, &Transfer::on_send);
    easy.set(CURLOPT_READDATA, transfer.get());
    easy.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(own.body_bytes));
    easy.add_header("Content-Type: application/octet-stream");
  } else if (!own.body.empty()) {
    easy.set(CURLOPT_POST, 1L);
    easy.set(CURLOPT_POSTFIELDS, own.body.c_str());
    easy.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(own.body.size()));
    easy.add_header("Content-Type: application/json");
  }
  easy.add_header("Expect:");  // A server that never says "continue" would cost a second.
  if (own.method == "HEAD") easy.set(CURLOPT_NOBODY, 1L);
  easy.set(CURLOPT_CUSTOMREQUEST, own.method.c_str());
  easy.use_headers();
  DROVER_CHECK(curl_multi_add_handle(state.multi.get(), easy.get()) == CURLM_OK);
  state.running.emplace(easy.get(), std::move(transfer));
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
  const int count = epoll_wait(state.epoll.value(), events.data(), static_cast<int>(events.size()), timeout);
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
  if (whole.end->failure == Failure::kTimeout) return Error{ErrorCode::kTimedOut, url + ": " + whole.end->text};
  if (whole.end->failure != Failure::kNone) return Error{ErrorCode::kUnavailable, url + ": " + whole.end->text};
  whole.answer.status = whole.end->status;
  return std::move(whole.answer);
}

bool is_loopback_url(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  const std::string_view authority = url.substr(0, url.find_first_of("/?#"));
  if (authority.starts_with("[::1]")) return true;
  const std::string_view host = authority.substr(0, authority.rfind(':'));
  return host == "localhost" || host.starts_with("127.");
}

}  // namespace drover::net
