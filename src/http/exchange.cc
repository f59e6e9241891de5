#include "http/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>
#include <charconv>
#include <ctime>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "http/request_target.h"

namespace drover::http {
namespace {

namespace beast = boost::beast;
using boost::system::error_code;
using Resource = ClientBudget::Resource;

constexpr std::size_t kHeadPart = 4 << 10;
constexpr std::size_t kHeadPartMax = 32 << 10;
constexpr std::size_t kBodyPart = 64 << 10;
// Room is made for as much as has come, and at first for this: a body that does not come takes no more.
constexpr std::size_t kBodyFirstPart = 4 << 10;
// A chunk's line with its extensions, or the trailer: what the parser needs in one piece.
constexpr std::size_t kChunkLineBytesMax = 16 << 10;
// Each field of a head costs some 80 bytes beside its text: as many as fit would be 20 times the head.
constexpr std::ptrdiff_t kFieldsMax = 256;
// The request's own line, and the blank one at the end.
constexpr std::size_t kHeadLinesMax = kFieldsMax + 2;
// The end of the chunk before, the last chunk's line, and the blank one.
constexpr std::size_t kTrailerLinesMax = kFieldsMax + 3;
// A head up to here is not counted as memory: nearly all of them end before.
constexpr std::size_t kHeadBytesFree = 8 << 10;
// A body's announced length is believed up to here; beyond, memory is taken as the bytes come.
constexpr std::size_t kBodyReserveMax = 64 << 10;

constexpr std::string_view kPlainText = "text/plain; charset=utf-8";
constexpr std::string_view kNoMemory = "request bodies take too much memory at present: try again later";
constexpr std::string_view kNoFile = "too many uploads at present: try again later";
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";
constexpr std::string_view kLineEnd = "\r\n";

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

beast::string_view beast_view(std::string_view text) {
  return {text.data(), text.size()};
}

asio::const_buffer buffer(std::string_view text) {
  return {text.data(), text.size()};
}

std::string_view find_value(const std::vector<std::pair<std::string, std::string>>& pairs, std::string_view name) {
  const auto it = std::find_if(pairs.begin(), pairs.end(), [&](const auto& pair) { return pair.first == name; });
  return it == pairs.end() ? std::string_view() : std::string_view(it->second);
}

// A line break in a value would let it forge headers, so control characters become spaces.
void append_header(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ");
  for (const char c : value) head += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  head += kLineEnd;
}

// The Date header's value, made once a second.
const std::string& http_date() {
  static constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  thread_local std::time_t second = -1;
  thread_local std::string date;
  const std::time_t now = std::time(nullptr);
  if (now == second) return date;
  std::tm utc{};
  gmtime_r(&now, &utc);
  date = fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday,
                     kMonths[static_cast<std::size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                     utc.tm_sec);
  second = now;
  return date;
}

std::string_view reason_phrase(int status) {
  if (status == 499) return "Request Canceled";  // no standard's, but the usual number for it
  return view(beast::http::obsolete_reason(static_cast<beast::http::status>(status)));
}

Error too_large() {
  return {ErrorCode::kTooLarge, "request body too large"};
}

// Up to so many lines, each with its end.
std::string_view first_lines(std::string_view text, std::size_t count) {
  std::size_t end = 0;
  for (; count > 0; --count) {
    const std::size_t at = text.find('\n', end);
    if (at == std::string_view::npos) return text;
    end = at + 1;
  }
  return text.substr(0, end);
}

bool is_line_end(char c) {
  return c == '\r' || c == '\n';
}

// A header that goes on in a next line: obsolete (RFC 9112, 5.2), and other servers on the way may see another one.
bool has_folded_line(std::string_view head) {
  return head.find("\n ") != std::string_view::npos || head.find("\n\t") != std::string_view::npos;
}

// A chunk that readers of such a stream skip where it stands between two pieces: a comment, or a blank line.
std::string_view chunk_without_meaning(std::string_view content_type) {
  if (content_type == "text/event-stream") return "3\r\n:\n\n\r\n";
  if (content_type == "application/x-ndjson") return "1\r\n\n\r\n";
  return {};
}

bool status_has_body(int status) {
  return status >= 200 && status != 204 && status != 304;
}

}  // namespace

HttpExchange::HttpExchange(ClientSocket& socket, const ServerLimits& limits, ClientBudget& budget, const bool& stopping,
                           const std::string& remote_address)
    : socket_(socket), limits_(limits), budget_(budget), stopping_(stopping), remote_address_(remote_address) {
  parser_.header_limit(static_cast<std::uint32_t>(limits_.header_bytes_max));
  parser_.body_limit(boost::none);  // each handler has its own
}

HttpExchange::~HttpExchange() {
  socket_.unwatch();
  socket_.ask_with({});
  for (const Resource resource : {Resource::kBodies, Resource::kAnswers, Resource::kFiles}) {
    budget_.give_back(remote_address_, resource, held(resource));
  }
}

bool HttpExchange::hold(Resource resource, std::size_t amount) {
  if (!budget_.take(remote_address_, resource, amount)) return false;
  held(resource) += amount;
  return true;
}

// ---- the head

asio::awaitable<bool> HttpExchange::read_head() {
  const TimePoint deadline = deadline_after(limits_.header_timeout);
  while (true) {
    std::optional<Refusal> refusal = parse_head();
    if (!refusal && parser_.is_header_done()) refusal = check_head();
    if (refusal) {
      co_await refuse(*refusal);
      co_return false;
    }
    if (parser_.is_header_done()) co_return true;
    if (!hold_head()) {
      const Refusal no_memory{503, kNoMemory};
      co_await refuse(no_memory);
      co_return false;
    }
    // Each part as large as all before: what has come is looked through again with each.
    const std::size_t part = std::clamp(socket_.input().size(), kHeadPart, kHeadPartMax);
    const ClientSocket::Fill filled = co_await socket_.fill(part, deadline);
    if (filled != ClientSocket::Fill::kData) co_return false;
  }
}

// Counts what has arrived of a long head. False: there is no memory for it.
bool HttpExchange::hold_head() {
  const std::size_t bytes = head_bytes_ + socket_.input().size();
  const std::size_t counted = held(Resource::kBodies);
  return bytes <= std::max(kHeadBytesFree, counted) || hold(Resource::kBodies, bytes - counted);
}

// Parses what of the head has arrived.
std::optional<HttpExchange::Refusal> HttpExchange::parse_head() {
  auto& input = socket_.input();
  const auto take = [&](std::size_t bytes) {
    input.consume(bytes);
    head_bytes_ += bytes;
  };
  while (!parser_.got_some() && input.size() > 0 && is_line_end(*static_cast<const char*>(input.cdata().data()))) {
    take(1);  // blank lines before a request are allowed
  }
  error_code error = beast::http::error::need_more;
  if (input.size() > 0) {
    const std::string_view all(static_cast<const char*>(input.cdata().data()), input.size());
    // Storing a field takes far longer than finding its end, so the parser is given no more lines than are allowed.
    const std::string_view some = first_lines(all, kHeadLinesMax - head_lines_);
    const bool all_fit = some.size() == all.size();
    const std::size_t parsed = parser_.put(buffer(some), error);
    const std::string_view done = some.substr(0, parsed);
    head_lines_ += static_cast<std::size_t>(std::count(done.begin(), done.end(), '\n'));
    const bool folded = has_folded_line(done);
    take(parsed);
    if (folded) return Refusal{400, "folded header"};
    if (!all_fit && error == beast::http::error::need_more) return Refusal{431, "request header fields too large"};
  }
  const bool more = error == beast::http::error::need_more;
  if (error == beast::http::error::header_limit || head_bytes_ + (more ? input.size() : 0) > limits_.header_bytes_max) {
    return Refusal{431, "request header fields too large"};
  }
  if (error && !more) return Refusal{400, "malformed request"};
  return std::nullopt;
}

// What the parser lets pass and must not: whatever another server on the way could read differently.
std::optional<HttpExchange::Refusal> HttpExchange::check_head() {
  const auto& head = parser_.get();
  const bool http_1_1 = head.version() >= 11;
  if (const auto codings = head.count(beast::http::field::transfer_encoding); codings > 0) {
    const std::string_view coding = header("Transfer-Encoding");
    if (codings > 1 || !http_1_1 || !beast::iequals(beast_view(coding), "chunked")) {
      return Refusal{400, "unsupported transfer encoding"};
    }
  }
  const auto hosts = head.count(beast::http::field::host);
  if (hosts > 1) return Refusal{400, "more than one Host header"};
  if (hosts == 0 && http_1_1) return Refusal{400, "missing required Host header"};
  const std::string_view expect = header("Expect");
  if (http_1_1 && !expect.empty()) {
    if (!beast::iequals(beast_view(expect), "100-continue")) return Refusal{417, "unknown expectation"};
    expects_continue_ = !parser_.is_done();
  }
  auto target = parse_request_target(view(head.target()));
  if (!target) return Refusal{400, "malformed request target"};
  path_ = std::move(target->path);
  query_ = std::move(target->query);
  // Every client of HTTP/1.1 skips this answer; not all of them skip others of its class.
  if (http_1_1) socket_.ask_with(kContinue);
  return std::nullopt;
}

bool HttpExchange::has_too_many_fields() const {
  const auto& fields = parser_.get();
  return std::distance(fields.begin(), fields.end()) > kFieldsMax;
}

asio::awaitable<bool> HttpExchange::refuse(Refusal refusal) {
  answer_ = Answer::kFinished;
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                  refusal.status, view(beast::http::obsolete_reason(static_cast<beast::http::status>(refusal.status))),
                  http_date(), kPlainText, refusal.reason.size(), refusal.reason);
  std::array<asio::const_buffer, 1> pieces{buffer(text)};
  co_return co_await socket_.write(pieces, limits_.write_idle_timeout);
}

void HttpExchange::set_parameters(std::vector<std::pair<std::string, std::string>> parameters) {
  parameters_ = std::move(parameters);
}

std::string HttpExchange::target_without_slash() const {
  const std::string_view target = without_host(view(parser_.get().target()));
  const auto end = std::min(target.find('?'), target.size());
  if (end < 2 || target[end - 1] != '/') return {};
  return fmt::format("{}{}", target.substr(0, end - 1), target.substr(end));
}

// ---- the request

std::string_view HttpExchange::method() const {
  return view(parser_.get().method_string());
}

std::string_view HttpExchange::query(std::string_view name) const {
  return find_value(query_, name);
}

std::string_view HttpExchange::header(std::string_view name) const {
  return view(parser_.get()[beast_view(name)]);
}

std::string_view HttpExchange::parameter(std::string_view name) const {
  return find_value(parameters_, name);
}

asio::awaitable<Result<std::string>> HttpExchange::read_body(std::size_t bytes_max) {
  const auto length = parser_.content_length();
  if (length && *length > bytes_max) co_return too_large();
  std::string body;
  body.reserve(std::min<std::size_t>(length.value_or(0), kBodyReserveMax));
  while (!parser_.is_done()) {
    const std::size_t used = body.size();
    // Room for one byte more than is allowed: if it comes, the body is too long.
    std::size_t room = std::min(std::clamp(used, kBodyFirstPart, kBodyPart), bytes_max - used) + 1;
    if (length) room = std::min<std::size_t>(room, *length - used);
    body.resize(used + room);
    const std::span<char> into(body.data() + used, room);
    const Result<std::size_t> got = co_await read_some_body(into);
    if (!got) co_return got.error();
    body.resize(used + *got);
    if (const auto held = hold(*got); !held) co_return fail_body(held.error().code, held.error().message);
    if (body.size() > bytes_max) co_return too_large();
  }
  co_return body;
}

asio::awaitable<Result<std::size_t>> HttpExchange::read_some_body(std::span<char> into) {
  DROVER_CHECK(!into.empty());
  if (body_error_) co_return *body_error_;
  std::size_t got = 0;
  while (!parser_.is_done()) {
    const bool well_formed = parse_body(into, got);
    if (parser_.is_done() && has_too_many_fields()) {  // a trailer's are added to the head's
      co_return fail_body(ErrorCode::kInvalidArgument, "too many trailer fields");
    }
    if (parser_.is_done() && on_disconnect_) socket_.watch(std::exchange(on_disconnect_, nullptr));
    if (got > 0 || parser_.is_done()) break;
    if (!well_formed) co_return fail_body(ErrorCode::kInvalidArgument, "malformed request body");
    if (expects_continue_) co_await send_continue();
    const ClientSocket::Fill filled = co_await fill_body();
    if (filled == ClientSocket::Fill::kTimedOut) {
      co_return fail_body(ErrorCode::kTimedOut, "timed out reading the request body");
    }
    if (filled == ClientSocket::Fill::kEnd) co_return fail_body(ErrorCode::kCanceled, "the client went away");
  }
  co_return got;
}

// Waits for more of the body, until the client is too slow.
asio::awaitable<ClientSocket::Fill> HttpExchange::fill_body() {
  const auto left = body_time_left(limits_, body_waited_, body_bytes_);
  if (left <= std::chrono::nanoseconds(0)) co_return ClientSocket::Fill::kTimedOut;
  const TimePoint before = Clock::now();
  const TimePoint deadline = std::min(deadline_after(limits_.body_idle_timeout), deadline_after(left));
  const std::size_t had = socket_.input().size();
  const ClientSocket::Fill filled = co_await socket_.fill(kBodyPart, deadline);
  body_waited_ += Clock::now() - before;
  if (filled == ClientSocket::Fill::kData) body_bytes_ += socket_.input().size() - had;
  co_return filled;
}

Result<void> HttpExchange::hold(std::size_t bytes) {
  if (!hold(Resource::kBodies, bytes)) return Error{ErrorCode::kUnavailable, std::string(kNoMemory)};
  return {};
}

Result<void> HttpExchange::hold_file() {
  if (!hold(Resource::kFiles, 1)) return Error{ErrorCode::kUnavailable, std::string(kNoFile)};
  return {};
}

// Moves what has arrived of the body into `into`. False: what follows is malformed, or a trailer of too many fields,
// which is not to be stored either: see parse_head().
bool HttpExchange::parse_body(std::span<char> into, std::size_t& got) {
  auto& input = socket_.input();
  bool all_fit = true;
  auto& body = parser_.get().body();
  body.data = into.data();
  body.size = into.size();
  error_code error;
  while (!error && input.size() > 0 && body.size > 0 && !parser_.is_done()) {
    const std::string_view all(static_cast<const char*>(input.cdata().data()), input.size());
    const std::string_view some = parser_.chunked() ? first_lines(all, kTrailerLinesMax) : all;
    all_fit = some.size() == all.size();
    input.consume(parser_.put(buffer(some), error));
    if (error == beast::http::error::need_buffer) error = {};
  }
  got = into.size() - body.size;
  body.data = nullptr;
  body.size = 0;
  if (error == beast::http::error::need_more) return all_fit && input.size() <= kChunkLineBytesMax;
  return !error;
}

asio::awaitable<void> HttpExchange::send_continue() {
  expects_continue_ = false;
  if (answer_ != Answer::kNone) co_return;
  std::array<asio::const_buffer, 1> pieces{buffer(kContinue)};
  co_await socket_.write(pieces, limits_.write_idle_timeout);
}

Error HttpExchange::fail_body(ErrorCode code, std::string message) {
  body_error_ = Error{code, std::move(message)};
  return *body_error_;
}

// ---- the answer

void HttpExchange::add_header(std::string name, std::string value) {
  DROVER_CHECK(answer_ == Answer::kNone);
  added_headers_.emplace_back(std::move(name), std::move(value));
}

// How long the client may take nothing of an answer that is held meanwhile. Where there is no memory for it, the client
// is to read at once: the answer is made, so refusing it would save nothing.
std::chrono::nanoseconds HttpExchange::patience_with(std::size_t answer_bytes) {
  const std::chrono::nanoseconds usual = limits_.write_idle_timeout;
  if (hold(Resource::kAnswers, answer_bytes)) return usual;
  return usual > std::chrono::nanoseconds(0) ? std::min(usual, limits_.unread_timeout) : limits_.unread_timeout;
}

HttpExchange::Framing HttpExchange::framing_of(int status, bool streaming) const {
  if (!status_has_body(status)) return Framing::kNoBody;
  if (!streaming) return Framing::kLength;
  return parser_.get().version() >= 11 ? Framing::kChunked : Framing::kUntilClose;
}

bool HttpExchange::can_keep_alive() const {
  if (!parser_.keep_alive() || stopping_ || body_error_ || framing_ == Framing::kUntilClose) return false;
  // A client that was never told to go on may send its body or not: what comes next could be read either way.
  if (!parser_.is_done() && expects_continue_) return false;
  return parser_.content_length_remaining().value_or(0) <= kDrainBytesMax;
}

std::string HttpExchange::head(int status, std::string_view content_type, std::size_t length, const Headers& headers) {
  const bool http_1_1 = parser_.get().version() >= 11;
  socket_.ask_with({});  // from here on, all that is sent belongs to the answer
  keep_alive_ = can_keep_alive();
  std::string head;
  head.reserve(256);
  fmt::format_to(std::back_inserter(head), "HTTP/1.{} {} {}\r\nDate: {}\r\n", http_1_1 ? 1 : 0, status,
                 reason_phrase(status), http_date());
  if (!content_type.empty()) append_header(head, "Content-Type", content_type);
  if (framing_ == Framing::kLength) fmt::format_to(std::back_inserter(head), "Content-Length: {}\r\n", length);
  if (framing_ == Framing::kChunked) head += "Transfer-Encoding: chunked\r\n";
  if (http_1_1 && !keep_alive_) head += "Connection: close\r\n";
  if (!http_1_1 && keep_alive_) head += "Connection: keep-alive\r\n";
  for (const auto& [name, value] : added_headers_) append_header(head, name, value);
  for (const auto& [name, value] : headers) append_header(head, name, value);
  head += kLineEnd;
  return head;
}

asio::awaitable<bool> HttpExchange::send(int status, std::string_view content_type, std::string body, Headers headers) {
  DROVER_CHECK(answer_ == Answer::kNone);
  answer_ = Answer::kFinished;
  framing_ = framing_of(status, false);
  const std::string text = head(status, content_type, body.size(), headers);
  const bool bodiless = framing_ == Framing::kNoBody || method() == "HEAD";
  std::array<asio::const_buffer, 2> pieces{buffer(text), buffer(bodiless ? std::string_view() : body)};
  const bool sent = co_await socket_.write(pieces, patience_with(text.size() + body.size()));
  co_return sent;
}

asio::awaitable<bool> HttpExchange::begin(int status, std::string_view content_type, Headers headers) {
  DROVER_CHECK(answer_ == Answer::kNone);
  answer_ = Answer::kBegun;
  framing_ = framing_of(status, true);
  const std::string text = head(status, content_type, 0, headers);
  if (method() == "HEAD") framing_ = Framing::kNoBody;
  std::array<asio::const_buffer, 1> pieces{buffer(text)};
  const bool sent = co_await socket_.write(pieces, limits_.write_idle_timeout);
  if (framing_ == Framing::kChunked) question_ = chunk_without_meaning(content_type);
  socket_.ask_with(question_);
  co_return sent;
}

asio::awaitable<bool> HttpExchange::write(std::string_view piece) {
  DROVER_CHECK(answer_ == Answer::kBegun || answer_ == Answer::kAborted);
  // An empty chunk would end the answer.
  if (piece.empty() || framing_ == Framing::kNoBody) co_return !socket_.lost();
  std::array<char, 18> size;
  std::array<asio::const_buffer, 3> pieces{asio::const_buffer(), buffer(piece), asio::const_buffer()};
  if (framing_ == Framing::kChunked) {
    char* end = std::to_chars(size.data(), size.data() + 16, piece.size(), 16).ptr;
    *end++ = '\r';
    *end++ = '\n';
    pieces[0] = asio::const_buffer(size.data(), static_cast<std::size_t>(end - size.data()));
    pieces[2] = buffer(kLineEnd);
  }
  socket_.ask_with({});  // not within a piece
  const bool sent = co_await socket_.write(pieces, limits_.write_idle_timeout);
  socket_.ask_with(question_);
  co_return sent;
}

asio::awaitable<bool> HttpExchange::finish() {
  DROVER_CHECK(answer_ == Answer::kBegun || answer_ == Answer::kAborted);
  if (answer_ == Answer::kAborted) co_return false;
  answer_ = Answer::kFinished;
  socket_.ask_with({});
  if (framing_ != Framing::kChunked) co_return !socket_.lost();
  std::array<asio::const_buffer, 1> pieces{buffer(kLastChunk)};
  const bool sent = co_await socket_.write(pieces, limits_.write_idle_timeout);
  co_return sent;
}

void HttpExchange::abort() {
  answer_ = Answer::kAborted;
  // Without chunks, the end of the connection is the end of the body: only an error can tell the client.
  socket_.cut(framing_ == Framing::kUntilClose ? ClientSocket::Cut::kReset : ClientSocket::Cut::kFlush);
}

// ---- the end

void HttpExchange::on_disconnect(std::function<void()> callback) {
  on_disconnect_ = nullptr;
  if (!callback) {
    socket_.unwatch();
  } else if (parser_.is_done()) {
    socket_.watch(std::move(callback));
  } else {
    on_disconnect_ = std::move(callback);
  }
}

bool HttpExchange::disconnected() const {
  return parser_.is_done() ? socket_.gone() : socket_.ended();
}

asio::awaitable<bool> HttpExchange::end() {
  socket_.unwatch();
  if (!keep_alive_ || answer_ != Answer::kFinished) co_return false;
  if (!parser_.is_done()) {
    const bool drained = co_await drain();
    if (!drained) co_return false;
  }
  co_return !socket_.lost();
}

asio::awaitable<bool> HttpExchange::drain() {
  std::array<char, 4096> scrap;
  std::size_t drained = 0;
  while (drained <= kDrainBytesMax) {
    const Result<std::size_t> got = co_await read_some_body(scrap);
    if (!got) co_return false;
    if (*got == 0) co_return true;
    drained += *got;
  }
  co_return false;
}

}  // namespace drover::http
