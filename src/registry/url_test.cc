#include "registry/url.h"

#include <gtest/gtest.h>

namespace drover::registry {
namespace {

TEST(Url, Parts) {
  const auto url = Url::parse("HTTPS://Example.COM/v2/a?signature=secret#part");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->scheme(), "https");
  EXPECT_EQ(url->host(), "example.com");
  EXPECT_EQ(url->authority(), "example.com");
  EXPECT_EQ(url->origin(), "https://example.com:443");
  EXPECT_EQ(url->shown().find("secret"), std::string::npos);
  EXPECT_EQ(Url::parse("http://localhost:5000/v2/")->authority(), "localhost:5000");
  EXPECT_EQ(Url::parse("http://[::1]:5000/")->authority(), "[::1]:5000");
}

TEST(Url, WhatIsRefused) {
  for (const std::string text :
       {"", "example.com", "file:///etc/passwd", "ftp://example.com/x", "gopher://example.com", "http://",
        "http://a b/", "http://user:password@example.com/", "http://example.com:99999999/", "http://a\r\nb/"}) {
    EXPECT_FALSE(Url::parse(text).ok()) << text;
  }
  EXPECT_FALSE(Url::parse("http://a/" + std::string(kUrlBytesMax, 'x')).ok());
}

TEST(Url, Resolve) {
  const auto base = Url::parse("https://example.com/v2/library/x/blobs/sha256:1");
  ASSERT_TRUE(base.ok());
  EXPECT_EQ(base->resolve("/other?a=1")->text(), "https://example.com/other?a=1");
  EXPECT_EQ(base->resolve("https://cdn.example.net/x")->host(), "cdn.example.net");
  EXPECT_EQ(base->resolve("//cdn.example.net/x")->origin(), "https://cdn.example.net:443");
  EXPECT_EQ(base->resolve("http://example.com/x").error().code, ErrorCode::kForbidden);
  for (const char* location : {"", "file:///etc/passwd", "ftp://example.com/", "https://me@example.com/", "https://"}) {
    EXPECT_FALSE(base->resolve(location).ok()) << location;
  }
  EXPECT_EQ(Url::parse("http://a/")->resolve("https://b/")->scheme(), "https");
}

TEST(Url, WithQuery) {
  const auto url = Url::parse("http://a/token?x=1")->with_query("scope", "repository:a/b:pull c&d");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->text().find("http://a/token?x=1&scope=repository"), 0u) << url->text();
  EXPECT_EQ(url->text().find("c&d"), std::string::npos) << url->text();
}

}  // namespace
}  // namespace drover::registry
