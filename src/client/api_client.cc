#include "client/api_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "client/address.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr auto kTick = std::chrono::milliseconds(50);

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

ErrorCode code_of_status(int status) {
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

Error error_of_answer(int status, const std::string& body) {
  const Json parsed = Json::parse(body, nullptr, false);
  std::string text = error_text(parsed);
  if (text.empty()) text = first_line(body);
  if (text.empty()) text = "something went wrong, please see the server's log for details";
  if (!parsed.is_object()) text = fmt::format("{} (status {})", text, status);
  return {code_of_status(status), text};
}

Error error_of_end(const net::HttpEnd& end, const std::string& url) {
  switch (end.failure) {
    case net::Failure::kConnect:
    case net::Failure::kTimeout:
      return {ErrorCode::kUnavailable,
              fmt::format("could not connect to the server at {}, is it running? Start it with: drover serve", url)};
    case net::Failure::kClosed:
      return {ErrorCode::kUnavailable, fmt::format("the server at {} closed the connection before it was done", url)};
    case net::Failure::kNone:
    case net::Failure::kOther:
      break;
  }
  return internal(fmt::format("{}: {}", url, end.text));
}

Result<void> go_on() {
  return {};
}

}  // namespace

// What has arrived of one answer. Whoever is done with it leaves the loop without calls.
class ApiClient::Received final : public net::HttpLoop::Receiver {
 public:
  explicit Received(net::HttpLoop& loop) : loop_(loop) {}
  ~Received() override {
    if (!end) loop_.cancel_all();
  }
  Received(const Received&) = delete;
  Received& operator=(const Received&) = delete;

  void on_bytes(int its_status, std::string_view bytes, TimePoint) override {
    status = its_status;
    too_large = too_large || body.size() + bytes.size() > kAnswerBytesMax;
    if (!too_large) body += bytes;
  }
  void on_end(const net::HttpEnd& its_end, TimePoint) override {
    status = its_end.status;
    end = its_end;
  }

  int status = 0;
  std::string body;
  bool too_large = false;
  std::optional<net::HttpEnd> end;

 private:
  net::HttpLoop& loop_;
};

ApiClient::ApiClient(const HostAddress& server)
    : url_(client_address(server).url()), socket_path_(server.scheme == "unix" ? server.host : "") {}

net::HttpCall ApiClient::call(const char* method, const std::string& path) const {
  net::HttpCall call;
  call.method = method;
  call.url = (socket_path_.empty() ? url_ : "http://localhost") + path;
  call.unix_socket = socket_path_;
  return call;
}

// Runs a call to its end. `between` is called whenever something may have arrived and on every tick; its error ends it.
// Errors: those, and those of the connection. An answer of whatever status is a success.
Result<void> ApiClient::run(net::HttpCall call, Received& received, const std::function<Result<void>()>& between) {
  loop_.start(std::move(call), received);
  while (!received.end) {
    loop_.turn(Clock::now() + kTick);
    if (received.too_large) {
      return Error{ErrorCode::kTooLarge,
                   fmt::format("the server at {} sent more than {} bytes", url_, kAnswerBytesMax)};
    }
    if (auto result = between(); !result.ok()) return result;
  }
  if (received.end->failure != net::Failure::kNone) return error_of_end(*received.end, url_);
  return {};
}

Result<void> ApiClient::check_reachable() {
  Received received(loop_);
  return run(call("HEAD", "/"), received, go_on);
}

Result<Json> ApiClient::get(const std::string& path) {
  return exchange(call("GET", path));
}

Result<Json> ApiClient::post(const std::string& path, const Json& body) {
  net::HttpCall request = call("POST", path);
  request.body = to_text(body);
  return exchange(std::move(request));
}

Result<Json> ApiClient::remove(const std::string& path, const Json& body) {
  net::HttpCall request = call("DELETE", path);
  request.body = to_text(body);
  return exchange(std::move(request));
}

Result<Json> ApiClient::exchange(net::HttpCall call) {
  Received received(loop_);
  if (auto ended = run(std::move(call), received, go_on); !ended.ok()) return ended.error();
  if (received.status >= 400) return error_of_answer(received.status, received.body);
  if (received.body.empty()) return Json(nullptr);
  Json parsed = Json::parse(received.body, nullptr, false);
  if (parsed.is_discarded()) return internal(fmt::format("the server at {} did not answer in JSON", url_));
  return parsed;
}

Result<void> ApiClient::stream(const std::string& path, const Json& body, const OnObject& on_object,
                               const Tick& on_tick) {
  net::HttpCall request = call("POST", path);
  request.body = to_text(body);
  Received received(loop_);
  std::size_t scanned = 0;  // Bytes of the body that hold no newline, so that a long line is searched once.
  const auto take_line = [&](std::string_view line) -> Result<void> {
    if (line.find_first_not_of(" \r\t") == std::string_view::npos) return {};
    const Json object = Json::parse(line, nullptr, false);
    if (object.is_discarded()) return internal(fmt::format("the server at {} did not answer in JSON", url_));
    if (std::string text = error_text(object); !text.empty()) return Error{ErrorCode::kInternal, std::move(text)};
    on_object(object);
    return {};
  };
  const auto between = [&]() -> Result<void> {
    if (received.status < 400) {
      std::size_t start = 0;
      std::size_t end = 0;
      while ((end = received.body.find('\n', std::max(start, scanned))) != std::string::npos) {
        if (auto taken = take_line(std::string_view(received.body).substr(start, end - start)); !taken.ok())
          return taken;
        start = end + 1;
        scanned = 0;
      }
      received.body.erase(0, start);
      scanned = received.body.size();
    }
    if (on_tick && !on_tick()) return Error{ErrorCode::kCanceled, "canceled"};
    return {};
  };
  if (auto ended = run(std::move(request), received, between); !ended.ok()) return ended;
  if (received.status >= 400) return error_of_answer(received.status, received.body);
  return take_line(received.body);  // The last line may lack its newline.
}

Result<bool> ApiClient::has_blob(const Digest& digest) {
  Received received(loop_);
  if (auto ended = run(call("HEAD", "/api/blobs/" + digest.to_string()), received, go_on); !ended.ok()) {
    return ended.error();
  }
  if (received.status == 404) return false;
  if (received.status >= 400) return error_of_answer(received.status, "");
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
  std::uint64_t sent = 0;
  net::HttpCall request = call("POST", "/api/blobs/" + digest.to_string());
  request.body_bytes = bytes;
  request.source = [&](char* into, std::size_t bytes_max) -> std::optional<std::size_t> {
    const std::size_t count = std::fread(into, 1, bytes_max, stream.get());
    if (count == 0 && std::ferror(stream.get()) != 0) return std::nullopt;
    sent += count;
    return count;
  };
  const auto between = [&]() -> Result<void> {
    on_progress(sent);
    return {};
  };
  Received received(loop_);
  if (auto ended = run(std::move(request), received, between); !ended.ok()) return ended;
  if (received.status >= 400) return error_of_answer(received.status, received.body);
  return {};
}

}  // namespace drover::cli
