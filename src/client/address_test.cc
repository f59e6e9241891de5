#include "client/address.h"

#include <gtest/gtest.h>

namespace drover::cli {
namespace {

TEST(ClientAddress, ListenAddressesAreReachedByLoopback) {
  EXPECT_EQ(client_address(*parse_host("0.0.0.0:1234")).url(), "http://127.0.0.1:1234");
  EXPECT_EQ(client_address(*parse_host("[::]:1234")).url(), "http://[::1]:1234");
  EXPECT_EQ(client_address(*parse_host("https://example.org")).url(), "https://example.org:443");
}

TEST(ServerUrl, TakesAddressesAndUrls) {
  EXPECT_EQ(*server_url("0.0.0.0:1234"), "http://127.0.0.1:1234");
  EXPECT_EQ(*server_url("https://example.org/api/v1//"), "https://example.org/api");
  EXPECT_EQ(*server_url("http://localhost:8080/"), "http://localhost:8080");
}

}  // namespace
}  // namespace drover::cli
