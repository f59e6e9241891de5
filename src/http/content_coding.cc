#include "http/content_coding.h"

#include <fmt/format.h>
#define ZLIB_CONST  // its input is const
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <memory>
#include <span>

#include "base/text.h"

namespace drover::http {
namespace {

constexpr std::size_t kPart = 256 << 10;
// zlib counts in 32 bits.
constexpr std::size_t kRoomMax = 1 << 30;
constexpr int kZstdWindowLogMax = 23;  // 8 MiB
constexpr int kRawDeflate = -MAX_WBITS;
constexpr int kZlib = MAX_WBITS;
constexpr int kGzip = MAX_WBITS + 16;

Error broken(std::string_view coding) {
  return invalid(fmt::format("the request body is not valid {}", coding));
}

// What has been decoded, and room for more of it. It never holds more than a byte above the bound.
class Output {
 public:
  explicit Output(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // Room for the next part, at least one byte.
  std::span<char> room() {
    const std::size_t wanted = std::min({std::max(2 * used_, kPart), used_ + kRoomMax, bytes_max_ + 1});
    if (text_.size() == used_) text_.resize(wanted);
    return {text_.data() + used_, text_.size() - used_};
  }
  // Takes what was put there. False: it is too much.
  bool take(std::size_t bytes) {
    used_ += bytes;
    return used_ <= bytes_max_;
  }
  std::string finish() {
    text_.resize(used_);
    return std::move(text_);
  }

 private:
  const std::size_t bytes_max_;
  std::string text_;
  std::size_t used_ = 0;
};

Error too_large() {
  return {ErrorCode::kTooLarge, "request body too large"};
}

// "deflate" is the zlib format (RFC 9110), and what some clients send is the bare one.
bool has_zlib_header(std::string_view body) {
  if (body.size() < 2) return false;
  const auto first = static_cast<unsigned char>(body[0]);
  const auto second = static_cast<unsigned char>(body[1]);
  return (first & 0x0f) == Z_DEFLATED && (first * 256 + second) % 31 == 0;
}

Result<std::string> inflate_all(std::string_view body, int window_bits, std::string_view coding,
                                std::size_t bytes_max) {
  z_stream stream{};
  if (inflateInit2(&stream, window_bits) != Z_OK)
    return Error{ErrorCode::kUnavailable, "not enough memory to read the body"};
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  Output output(bytes_max);
  while (true) {
    if (stream.avail_in == 0) {
      const std::string_view part = body.substr(0, kRoomMax);
      stream.next_in = reinterpret_cast<const Bytef*>(part.data());
      stream.avail_in = static_cast<uInt>(part.size());
      body.remove_prefix(part.size());
    }
    const std::span<char> room = output.room();
    stream.next_out = reinterpret_cast<Bytef*>(room.data());
    stream.avail_out = static_cast<uInt>(room.size());
    const int state = inflate(&stream, Z_NO_FLUSH);
    if (!output.take(room.size() - stream.avail_out)) return too_large();
    if (state == Z_STREAM_END) {
      if (stream.avail_in == 0 && body.empty()) return output.finish();
      // A gzip file may have several members.
      if (window_bits != kGzip || inflateReset(&stream) != Z_OK) return broken(coding);
    } else if (state != Z_OK) {
      return broken(coding);  // also Z_BUF_ERROR: there is room, so that the end of the body is missing
    }
  }
}

Result<std::string> unzstd_all(std::string_view body, std::size_t bytes_max) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (!context) return Error{ErrorCode::kUnavailable, "not enough memory to read the body"};
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kZstdWindowLogMax);
  Output output(bytes_max);
  ZSTD_inBuffer input{body.data(), body.size(), 0};
  while (true) {
    const std::span<char> room = output.room();
    ZSTD_outBuffer out{room.data(), room.size(), 0};
    const std::size_t left = ZSTD_decompressStream(context.get(), &out, &input);
    if (ZSTD_isError(left)) {
      const bool window = ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge;
      return window ? invalid("the request body's zstd window is larger than 8 MiB") : broken("zstd");
    }
    if (!output.take(out.pos)) return too_large();
    if (input.pos < input.size) continue;
    if (left == 0) return output.finish();
    if (out.pos < out.size) return broken("zstd");  // there was room for more: the rest is missing
  }
}

}  // namespace

std::optional<ContentCoding> parse_content_coding(std::string_view header) {
  while (header.ends_with(' ') || header.ends_with('\t')) header.remove_suffix(1);
  const std::string name = lower_case(header);
  if (name.empty() || name == "identity") return ContentCoding::kNone;
  if (name == "gzip" || name == "x-gzip") return ContentCoding::kGzip;
  if (name == "deflate") return ContentCoding::kDeflate;
  if (name == "zstd") return ContentCoding::kZstd;
  return std::nullopt;
}

Result<std::string> decode_content(ContentCoding coding, std::string_view body, std::size_t bytes_max) {
  if (body.empty()) return std::string();
  switch (coding) {
    case ContentCoding::kGzip:
      return inflate_all(body, kGzip, "gzip", bytes_max);
    case ContentCoding::kDeflate:
      return inflate_all(body, has_zlib_header(body) ? kZlib : kRawDeflate, "deflate", bytes_max);
    case ContentCoding::kZstd:
      return unzstd_all(body, bytes_max);
    case ContentCoding::kNone:
      break;
  }
  return std::string(body);
}

}  // namespace drover::http
