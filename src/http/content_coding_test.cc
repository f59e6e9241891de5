#include "http/content_coding.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

namespace drover::http {
namespace {

constexpr std::size_t kMany = 1 << 20;
constexpr int kGzip = MAX_WBITS + 16;

std::string deflated(std::string_view text, int window_bits) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view text, int level = 3) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), level));
  return out;
}

struct Case {
  const char* name;
  ContentCoding coding;
  std::string (*encode)(std::string_view);
};

const Case kCases[] = {
    {"gzip", ContentCoding::kGzip, [](std::string_view text) { return deflated(text, kGzip); }},
    {"deflate", ContentCoding::kDeflate, [](std::string_view text) { return deflated(text, MAX_WBITS); }},
    {"bare deflate", ContentCoding::kDeflate, [](std::string_view text) { return deflated(text, -MAX_WBITS); }},
    {"zstd", ContentCoding::kZstd, [](std::string_view text) { return zstd(text); }},
};

std::string long_text() {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += std::to_string(i * 7919) + " ";
  return text;
}

ErrorCode code_of(const Result<std::string>& result) {
  EXPECT_FALSE(result.ok());
  return result.ok() ? ErrorCode::kInternal : result.error().code;
}

TEST(ContentCoding, ReadsTheHeader) {
  EXPECT_EQ(parse_content_coding(""), ContentCoding::kNone);
  EXPECT_EQ(parse_content_coding("identity"), ContentCoding::kNone);
  EXPECT_EQ(parse_content_coding("GZip "), ContentCoding::kGzip);
  EXPECT_EQ(parse_content_coding("x-gzip"), ContentCoding::kGzip);
  EXPECT_EQ(parse_content_coding("deflate"), ContentCoding::kDeflate);
  EXPECT_EQ(parse_content_coding("zstd"), ContentCoding::kZstd);
  for (const char* unknown : {"br", "gzip, gzip", "zst", "aws-chunked"}) {
    EXPECT_EQ(parse_content_coding(unknown), std::nullopt) << unknown;
  }
}

TEST(ContentCoding, DecodesWhatFits) {
  const std::string text = long_text();
  for (const Case& one : kCases) {
    for (const std::string& body : {std::string("x"), text}) {
      EXPECT_EQ(decode_content(one.coding, one.encode(body), body.size()).value(), body) << one.name;
      EXPECT_EQ(code_of(decode_content(one.coding, one.encode(body), body.size() - 1)), ErrorCode::kTooLarge);
    }
    EXPECT_EQ(decode_content(one.coding, one.encode(""), 1).value(), "") << one.name;
    EXPECT_EQ(decode_content(one.coding, "", 1).value(), "") << one.name;
  }
}

TEST(ContentCoding, SeveralOneAfterTheOther) {
  for (const Case& one : {kCases[0], kCases[3]}) {
    EXPECT_EQ(decode_content(one.coding, one.encode("one ") + one.encode("two"), kMany).value(), "one two");
  }
}

TEST(ContentCoding, WhatIsBrokenOrCutOffIsRefused) {
  const std::string text = long_text();
  for (const Case& one : kCases) {
    const std::string whole = one.encode(text);
    for (const std::size_t size : {std::size_t{1}, whole.size() / 2, whole.size() - 1}) {
      EXPECT_EQ(code_of(decode_content(one.coding, whole.substr(0, size), kMany)), ErrorCode::kInvalidArgument)
          << one.name << " " << size;
    }
    EXPECT_EQ(code_of(decode_content(one.coding, whole + "{}", kMany)), ErrorCode::kInvalidArgument) << one.name;
    EXPECT_EQ(code_of(decode_content(one.coding, "{\"model\":\"m\"}", kMany)), ErrorCode::kInvalidArgument) << one.name;
    std::string wrong = whole;
    for (std::size_t i = 20; i < wrong.size(); i += 50) wrong[i] = static_cast<char>(wrong[i] ^ 0x55);
    EXPECT_FALSE(decode_content(one.coding, wrong, kMany).ok()) << one.name;
  }
}

// Many megabytes in a few kilobytes: no more is decoded than is allowed.
TEST(ContentCoding, ABombEndsAtTheBound) {
  const std::string zeros(32 << 20, '\0');
  for (const Case& one : kCases) {
    const std::string bomb = one.encode(zeros);
    EXPECT_LT(bomb.size(), 40'000u);
    EXPECT_EQ(code_of(decode_content(one.coding, bomb, kMany)), ErrorCode::kTooLarge) << one.name;
  }
}

TEST(ContentCoding, AWindowHasABound) {
  std::string noise;
  std::uint32_t state = 1;
  while (noise.size() < (9u << 20)) noise += static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  const auto large = decode_content(ContentCoding::kZstd, zstd(noise, 20), 64u << 20);
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().message, "the request body's zstd window is larger than 8 MiB");
  EXPECT_EQ(decode_content(ContentCoding::kZstd, zstd(noise, 1), 64u << 20).value(), noise);
}

}  // namespace
}  // namespace drover::http
