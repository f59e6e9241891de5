// Bodies that are compressed (Content-Encoding): gzip, deflate and zstd.
//
// Pure, any thread. What comes out is bounded, so that a small body cannot become a large one unseen.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drover::http {

enum class ContentCoding { kNone, kGzip, kDeflate, kZstd };

// As Accept-Encoding lists what is taken.
inline constexpr const char* kContentCodings = "gzip, deflate, zstd";

// What a Content-Encoding header names. An empty one, and "identity", are none; nothing: one that is not known, or
// several.
std::optional<ContentCoding> parse_content_coding(std::string_view header);

// The body as it was before it was compressed, several members or frames one after the other included. Takes memory for
// what comes out and little more. Errors: kTooLarge if that is more than `bytes_max` bytes; kInvalidArgument if `body`
// is broken or cut off, or its zstd frames want a window of more than 8 MiB (RFC 9659).
Result<std::string> decode_content(ContentCoding coding, std::string_view body, std::size_t bytes_max);

}  // namespace drover::http
