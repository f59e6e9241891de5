#include "http/request_target.h"

#include <gtest/gtest.h>

namespace drover::http {
namespace {

using Query = std::vector<std::pair<std::string, std::string>>;

TEST(RequestTarget, DecodesThePath) {
  EXPECT_EQ(parse_request_target("/")->path, "/");
  EXPECT_EQ(parse_request_target("/api/tags")->path, "/api/tags");
  EXPECT_EQ(parse_request_target("/a%2fb%20c+d")->path, "/a/b c+d");
  EXPECT_EQ(parse_request_target("*")->path, "*");
  EXPECT_EQ(parse_request_target("http://host:1/x?y=1")->path, "/x");
  EXPECT_EQ(parse_request_target("http://host")->path, "/");
  EXPECT_EQ(parse_request_target("https://host?y=1")->path, "/");
}

TEST(RequestTarget, RefusesWhatNamesNoPath) {
  for (const char* target : {"", "x", "host:443", "?a=1", "/%", "/%2", "/%zz", "ftp://host/x", "**"}) {
    EXPECT_FALSE(parse_request_target(target).ok()) << target;
  }
}

TEST(RequestTarget, DecodesTheQuery) {
  EXPECT_EQ(parse_request_target("/p")->query, Query{});
  EXPECT_EQ(parse_request_target("/p?")->query, Query{});
  EXPECT_EQ(parse_request_target("/p?a=1&b=%26+x&&c&d==")->query,
            (Query{{"a", "1"}, {"b", "& x"}, {"c", ""}, {"d", "="}}));
  EXPECT_EQ(parse_request_target("/p?a=%zz&b=2")->query, (Query{{"b", "2"}}));
  EXPECT_EQ(parse_request_target("http://host?y=1")->query, (Query{{"y", "1"}}));
}

}  // namespace
}  // namespace drover::http
