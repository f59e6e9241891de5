#include "net/http_loop.h"

#include <gtest/gtest.h>

namespace drover::net {
namespace {

TEST(IsLoopbackUrl, KnowsThisMachineByName) {
  for (const char* url : {"http://127.0.0.1:11434", "http://localhost", "http://[::1]:80/x", "127.0.0.2:1"}) {
    EXPECT_TRUE(is_loopback_url(url)) << url;
  }
  for (const char* url : {"http://10.0.0.1:11434", "https://localhost.example.com", "http://[fe80::1]:80"}) {
    EXPECT_FALSE(is_loopback_url(url)) << url;
  }
}

}  // namespace
}  // namespace drover::net
