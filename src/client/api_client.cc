#include "client/api_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <new>
#include <system_error>

#include "base/check.h"
#include "base/curl_handles.h"
#include "client/address.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr int kTickMilliseconds = 50;
constexpr long kConnectSecondsMax = 30;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

ErrorCode code_of_status(long status) {
  switch (status) {
    case 400:
      return ErrorCode::kInvalidArgument;
    case 403:
      return ErrorCode::kForbidden;
    case 404:
      return ErrorCode::kNotFound;
    case 413:
      return ErrorCode::kTooLarge;
    case 503:
      return ErrorCode::kUnavailable;
    case 507:
      return ErrorCode::kNoSpace;
    default:
      return ErrorCode::kInternal;
  }
}

// The error in an object of the API: a text, or OpenAI's object around one. Empty: it is no error.
std::string error_text(const Json& object) {
  const std::string text = text_field(object, "error");
  return text.empty() ? text_field(object_field(object, "error"), "message") : text;
}

std::string first_line(std::string_view text) {
  text = text.substr(0, text.find_first_of("\r\n"));
  return printable(clip(text, 500));
}

Error error_of_answer(long status, const std::string& body) {
  const Json parsed = Json::parse(body, nullptr, false);
  std::string text = error_text(parsed);
  if (text.empty()) text = first_line(body);
  if (text.empty()) text = "something went wrong, please see the server's log for details";
  if (!parsed.is_object()) text = fmt::format("{} (status {})", text, status);
  return {code_of_status(status), text};
}

Error error_of_transfer(CURLcode code, const std::string& url) {
  switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_OPERATION_TIMEDOUT:
      return {ErrorCode::kUnavailable,
              fmt::format("could not connect to the server at {}, is it running? Start it with: drover serve", url)};
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return {ErrorCode::kUnavailable, fmt::format("the server at {} closed the connection before it was done", url)};
    case CURLE_WRITE_ERROR:
      return {ErrorCode::kTooLarge, fmt::format("the server at {} sent more than {} bytes", url, kAnswerBytesMax)};
    default:
      return {ErrorCode::kInternal, fmt::format("{}: {}", url, curl_easy_strerror(code))};
  }
}

Result<void> go_on() {
  return {};
}

void append_header(std::unique_ptr<curl_slist, FreeList>& headers, const char* line) {
  curl_slist* longer = curl_slist_append(headers.get(), line);
  if (longer == nullptr) throw std::bad_alloc();
  (void)headers.release();
  headers.reset(longer);
}

}  // namespace

struct ApiClient::Handles {
  std::unique_ptr<CURLM, CloseMulti> multi{curl_multi_init()};
};

// One exchange. What arrives is only stored by libcurl's callbacks; it is looked at between two calls of libcurl, so
// that no code of ours runs inside of it (it ignores SIGPIPE meanwhile, which would hide a closed standard output).
class ApiClient::Request {
 public:
  Request(ApiClient& client, const char* method, const std::string& path)
      : multi_(client.handles_->multi.get()), url_(client.url_), easy_(curl_easy_init()) {
    if (easy_ == nullptr) throw std::bad_alloc();
    // Over a Unix socket the host is a formality.
    const std::string full = (client.socket_path_.empty() ? client.url_ : "http://localhost") + path;
    if (!client.socket_path_.empty()) set(CURLOPT_UNIX_SOCKET_PATH, client.socket_path_.c_str());
    set(CURLOPT_URL, full.c_str());
    set(CURLOPT_CUSTOMREQUEST, method);
    set(CURLOPT_USERAGENT, "drover");
    set(CURLOPT_CONNECTTIMEOUT, kConnectSecondsMax);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_WRITEFUNCTION, &Request::on_received);
    set(CURLOPT_WRITEDATA, this);
    if (client.loopback_) set(CURLOPT_PROXY, "");  // The environment's proxy is not for what is on this machine.
    append_header(headers_, "Expect:");            // A server that never says "continue" would cost a second.
  }

  ~Request() {
    if (added_) curl_multi_remove_handle(multi_, easy_.get());
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  void without_body() { set(CURLOPT_NOBODY, 1L); }

  void with_json(const Json& body) {
    sent_ = to_text(body);
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDS, sent_.c_str());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(sent_.size()));
    append_header(headers_, "Content-Type: application/json");
  }

  void with_file(std::FILE* file, std::uint64_t bytes) {
    file_ = file;
    set(CURLOPT_POST, 1L);
    set(CURLOPT_READFUNCTION, &Request::on_send);
    set(CURLOPT_READDATA, this);
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(bytes));
    append_header(headers_, "Content-Type: application/octet-stream");
  }

  std::uint64_t bytes_sent() const { return bytes_sent_; }
  std::string& received() { return received_; }
  long status() const {
    long status = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    return status;
  }

  // Runs it to its end. `between` is called whenever something may have arrived and on every tick; its error ends it.
  // Errors: those, and those of the connection. An answer of whatever status is a success.
  Result<void> run(const std::function<Result<void>()>& between) {
    set(CURLOPT_HTTPHEADER, headers_.get());
    if (curl_multi_add_handle(multi_, easy_.get()) != CURLM_OK) return internal("libcurl refused a request");
    added_ = true;
    int running = 0;
    do {
      if (curl_multi_perform(multi_, &running) != CURLM_OK) return internal("libcurl failed");
      if (auto result = between(); !result.ok()) return result;
      if (running > 0) curl_multi_poll(multi_, nullptr, 0, kTickMilliseconds, nullptr);
    } while (running > 0);
    int left = 0;
    const CURLMsg* message = curl_multi_info_read(multi_, &left);
    DROVER_CHECK(message != nullptr && message->msg == CURLMSG_DONE);
    const CURLcode code = message->data.result;
    // A server may refuse an upload before it has read all of it; then its answer says more than the broken pipe.
    if (code == CURLE_OK || (code == CURLE_SEND_ERROR && status() >= 400)) return {};
    return error_of_transfer(code, url_);
  }

 private:
  template <typename T>
  void set(CURLoption option, T value) {
    DROVER_CHECK(curl_easy_setopt(easy_.get(), option, value) == CURLE_OK);
  }

  static std::size_t on_received(char* bytes, std::size_t size, std::size_t count, void* self) {
    auto& received = static_cast<Request*>(self)->received_;
    if (received.size() + size * count > kAnswerBytesMax) return 0;
    received.append(bytes, size * count);
    return size * count;
  }

  static std::size_t on_send(char* into, std::size_t size, std::size_t count, void* self) {
    auto& request = *static_cast<Request*>(self);
    const std::size_t bytes = std::fread(into, 1, size * count, request.file_);
    if (bytes == 0 && std::ferror(request.file_) != 0) return CURL_READFUNC_ABORT;
    request.bytes_sent_ += bytes;
    return bytes;
  }

  CURLM* multi_;
  std::string url_;
  std::unique_ptr<CURL, CloseEasy> easy_;
  std::unique_ptr<curl_slist, FreeList> headers_;
  std::string sent_;
  std::string received_;
  std::FILE* file_ = nullptr;
  std::uint64_t bytes_sent_ = 0;
  bool added_ = false;
};

ApiClient::ApiClient(const HostAddress& server)
    : url_(client_address(server).url()),
      loopback_(server.scheme == "unix" || is_loopback_url(url_)),
      socket_path_(server.scheme == "unix" ? server.host : "") {
  static const CURLcode kInitialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  DROVER_CHECK(kInitialized == CURLE_OK);
  handles_ = std::make_unique<Handles>();
  if (handles_->multi == nullptr) throw std::bad_alloc();
}

ApiClient::~ApiClient() = default;

Result<void> ApiClient::check_reachable() {
  Request request(*this, "HEAD", "/");
  request.without_body();
  return request.run(go_on);
}

Result<Json> ApiClient::get(const std::string& path) {
  Request request(*this, "GET", path);
  if (auto ended = request.run(go_on); !ended.ok()) return ended.error();
  return answer_of(request);
}

Result<Json> ApiClient::post(const std::string& path, const Json& body) {
  return exchange("POST", path, body);
}

Result<Json> ApiClient::remove(const std::string& path, const Json& body) {
  return exchange("DELETE", path, body);
}

Result<Json> ApiClient::exchange(const char* method, const std::string& path, const Json& body) {
  Request request(*this, method, path);
  request.with_json(body);
  if (auto ended = request.run(go_on); !ended.ok()) return ended.error();
  return answer_of(request);
}

Result<Json> ApiClient::answer_of(Request& request) {
  if (request.status() >= 400) return error_of_answer(request.status(), request.received());
  if (request.received().empty()) return Json(nullptr);
  Json parsed = Json::parse(request.received(), nullptr, false);
  if (parsed.is_discarded()) return internal(fmt::format("the server at {} did not answer in JSON", url_));
  return parsed;
}

Result<void> ApiClient::stream(const std::string& path, const Json& body, const OnObject& on_object,
                               const Tick& on_tick) {
  Request request(*this, "POST", path);
  request.with_json(body);
  std::size_t scanned = 0;  // Bytes of `received` that hold no newline, so that a long line is searched once.
  const auto take_line = [&](std::string_view line) -> Result<void> {
    if (line.find_first_not_of(" \r\t") == std::string_view::npos) return {};
    const Json object = Json::parse(line, nullptr, false);
    if (object.is_discarded()) return internal(fmt::format("the server at {} did not answer in JSON", url_));
    if (std::string text = error_text(object); !text.empty()) return Error{ErrorCode::kInternal, std::move(text)};
    on_object(object);
    return {};
  };
  const auto between = [&]() -> Result<void> {
    std::string& received = request.received();
    if (request.status() < 400) {
      std::size_t start = 0;
      std::size_t end = 0;
      while ((end = received.find('\n', std::max(start, scanned))) != std::string::npos) {
        if (auto taken = take_line(std::string_view(received).substr(start, end - start)); !taken.ok()) return taken;
        start = end + 1;
        scanned = 0;
      }
      received.erase(0, start);
      scanned = received.size();
    }
    if (on_tick && !on_tick()) return Error{ErrorCode::kCanceled, "canceled"};
    return {};
  };
  if (auto ended = request.run(between); !ended.ok()) return ended;
  if (request.status() >= 400) return error_of_answer(request.status(), request.received());
  return take_line(request.received());  // The last line may lack its newline.
}

Result<bool> ApiClient::has_blob(const Digest& digest) {
  Request request(*this, "HEAD", "/api/blobs/" + digest.to_string());
  request.without_body();
  if (auto ended = request.run(go_on); !ended.ok()) return ended.error();
  if (request.status() == 404) return false;
  if (request.status() >= 400) return error_of_answer(request.status(), "");
  return true;
}

Result<void> ApiClient::upload_blob(const Digest& digest, const std::filesystem::path& file,
                                    const std::function<void(std::uint64_t)>& on_progress) {
  std::error_code failure;
  const std::uint64_t bytes = std::filesystem::file_size(file, failure);
  if (failure) return internal(fmt::format("open {}: {}", file.string(), failure.message()));
  const std::unique_ptr<std::FILE, CloseFile> stream(std::fopen(file.c_str(), "rb"));
  if (stream == nullptr) {
    return internal(
        fmt::format("open {}: {}", file.string(), std::error_code(errno, std::generic_category()).message()));
  }
  Request request(*this, "POST", "/api/blobs/" + digest.to_string());
  request.with_file(stream.get(), bytes);
  const auto between = [&]() -> Result<void> {
    on_progress(request.bytes_sent());
    return {};
  };
  if (auto ended = request.run(between); !ended.ok()) return ended;
  if (request.status() >= 400) return error_of_answer(request.status(), request.received());
  return {};
}

}  // namespace drover::cli
