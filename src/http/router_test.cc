#include <gtest/gtest.h>

#include "http/server.h"

namespace drover::http {
namespace {

// A handler that can be told from others by its address in the router: each route gets one of its own.
Handler nothing() {
  return [](Exchange&) -> asio::awaitable<void> { co_return; };
}

using Parameters = std::vector<std::pair<std::string, std::string>>;

TEST(Router, FindsByMethodAndPath) {
  Router router;
  router.add("GET", "/", nothing());
  router.add("GET", "/api/tags", nothing());
  router.add("POST", "/api/chat", nothing());
  EXPECT_NE(router.find("GET", "/").handler, nullptr);
  EXPECT_NE(router.find("GET", "/api/tags").handler, nullptr);
  EXPECT_NE(router.find("GET", "/").handler, router.find("GET", "/api/tags").handler);
  for (const char* path : {"/api", "/api/", "/api/tags/", "/api/tags/x", "//", "/API/tags", "*"}) {
    const Router::Match match = router.find("GET", path);
    EXPECT_EQ(match.handler, nullptr) << path;
    EXPECT_EQ(match.allowed, "") << path;
  }
}

TEST(Router, NamesTheMethodsOfAPathThatHasAnother) {
  Router router;
  router.add("POST", "/api/blobs/:digest", nothing());
  router.add("HEAD", "/api/blobs/:digest", nothing());
  router.add("GET", "/api/tags", nothing());
  EXPECT_EQ(router.find("GET", "/api/blobs/x").handler, nullptr);
  EXPECT_EQ(router.find("GET", "/api/blobs/x").allowed, "POST, HEAD");
  EXPECT_EQ(router.find("DELETE", "/api/tags").allowed, "GET, HEAD");
}

TEST(Router, HeadFallsBackOnGet) {
  Router router;
  router.add("GET", "/a", nothing());
  router.add("GET", "/b", nothing());
  router.add("HEAD", "/b", nothing());
  EXPECT_EQ(router.find("HEAD", "/a").handler, router.find("GET", "/a").handler);
  EXPECT_NE(router.find("HEAD", "/b").handler, router.find("GET", "/b").handler);
  EXPECT_NE(router.find("HEAD", "/b").handler, nullptr);
}

TEST(Router, ParametersMatchOneSegment) {
  Router router;
  router.add("GET", "/v1/models/:model", nothing());
  router.add("GET", "/a/:first/b/:second", nothing());
  EXPECT_EQ(router.find("GET", "/v1/models/llama3:8b").parameters, (Parameters{{"model", "llama3:8b"}}));
  EXPECT_EQ(router.find("GET", "/a/1/b/2").parameters, (Parameters{{"first", "1"}, {"second", "2"}}));
  EXPECT_EQ(router.find("GET", "/v1/models/").handler, nullptr);
  EXPECT_EQ(router.find("GET", "/v1/models/a/b").handler, nullptr);
}

TEST(Router, AStarMatchesTheRest) {
  Router router;
  router.add("GET", "/files/*name", nothing());
  EXPECT_EQ(router.find("GET", "/files/a/b//c").parameters, (Parameters{{"name", "a/b//c"}}));
  EXPECT_EQ(router.find("GET", "/files/").parameters, (Parameters{{"name", ""}}));
  EXPECT_NE(router.find("GET", "/files/").handler, nullptr);
  EXPECT_EQ(router.find("GET", "/files").handler, nullptr);
}

TEST(Router, TheMostLiteralRouteWinsWhateverTheOrder) {
  for (const bool literal_first : {true, false}) {
    Router router;
    if (literal_first) router.add("GET", "/a/fixed", nothing());
    router.add("GET", "/*all", nothing());
    router.add("GET", "/a/:name", nothing());
    if (!literal_first) router.add("GET", "/a/fixed", nothing());
    EXPECT_EQ(router.find("GET", "/a/fixed").parameters, Parameters{});
    EXPECT_EQ(router.find("GET", "/a/other").parameters, (Parameters{{"name", "other"}}));
    EXPECT_EQ(router.find("GET", "/a/other/x").parameters, (Parameters{{"all", "a/other/x"}}));
  }
}

}  // namespace
}  // namespace drover::http
