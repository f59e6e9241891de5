#include "registry/address.h"

#include <gtest/gtest.h>

namespace drover::registry {
namespace {

TEST(Address, Kinds) {
  const std::pair<const char*, AddressKind> cases[] = {
      {"8.8.8.8", AddressKind::kPublic},
      {"172.15.0.1", AddressKind::kPublic},
      {"172.32.0.1", AddressKind::kPublic},
      {"10.1.2.3", AddressKind::kPrivate},
      {"172.16.0.1", AddressKind::kPrivate},
      {"172.31.255.255", AddressKind::kPrivate},
      {"192.168.1.1", AddressKind::kPrivate},
      {"100.64.0.1", AddressKind::kPrivate},
      {"169.254.169.254", AddressKind::kLinkLocal},
      {"127.0.0.1", AddressKind::kLoopback},
      {"127.255.0.9", AddressKind::kLoopback},
      {"0.0.0.0", AddressKind::kLoopback},
      {"224.0.0.1", AddressKind::kOther},
      {"255.255.255.255", AddressKind::kOther},
      {"2001:db8::1", AddressKind::kPublic},
      {"::1", AddressKind::kLoopback},
      {"::", AddressKind::kLoopback},
      {"[::1]", AddressKind::kLoopback},
      {"fe80::1", AddressKind::kLinkLocal},
      {"fe80::1%eth0", AddressKind::kLinkLocal},
      {"fd00:ec2::254", AddressKind::kLinkLocal},
      {"fd12::1", AddressKind::kPrivate},
      {"ff02::1", AddressKind::kOther},
      {"::ffff:127.0.0.1", AddressKind::kLoopback},
      {"::ffff:10.0.0.1", AddressKind::kPrivate},
      {"64:ff9b::7f00:1", AddressKind::kLoopback},
      {"127.1", AddressKind::kLoopback},
      {"0x7f000001", AddressKind::kLoopback},
      {"2130706433", AddressKind::kLoopback},
  };
  for (const auto& [text, kind] : cases) {
    const auto found = kind_of_text(text);
    ASSERT_TRUE(found.has_value()) << text;
    EXPECT_EQ(to_string(*found), to_string(kind)) << text;
  }
}

TEST(Address, NamesHaveNoKind) {
  for (const char* text : {"", "localhost", "example.com", "1.2.3.4.5", "[", "[]", "::g"}) {
    EXPECT_FALSE(kind_of_text(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace drover::registry
