#include "api/guard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

namespace drover::api {
namespace {

TEST(OriginList, AllowsThisMachineAndDesktopApplications) {
  const OriginList origins({});
  for (const char* origin :
       {"http://localhost", "https://localhost:3000", "http://127.0.0.1:8080", "https://0.0.0.0", "app://obsidian.md",
        "tauri://localhost", "file://", "vscode-webview://1q2w3e", "HTTP://LocalHost:5173"}) {
    EXPECT_TRUE(origins.allows(origin)) << origin;
  }
}

TEST(OriginList, RefusesOthers) {
  const OriginList origins({});
  for (const char* origin :
       {"http://example.com", "https://localhost.example.com", "http://localhost@example.com", "null", "",
        "http://127.0.0.1.example.com:80", "chrome-extension://abc", "xhttp://localhost"}) {
    EXPECT_FALSE(origins.allows(origin)) << origin;
  }
}

TEST(OriginList, TakesWhatIsConfigured) {
  const OriginList origins({"https://chat.example.com", "https://*.example.org", "chrome-extension://*"});
  EXPECT_TRUE(origins.allows("https://chat.example.com"));
  EXPECT_TRUE(origins.allows("https://a.b.example.org"));
  EXPECT_TRUE(origins.allows("chrome-extension://abcdef"));
  EXPECT_FALSE(origins.allows("http://chat.example.com"));
  EXPECT_FALSE(origins.allows("https://chat.example.com:8443"));
  EXPECT_FALSE(origins.allows("https://example.org.evil.net"));
  EXPECT_TRUE(OriginList({"*"}).allows("https://anything.net"));
}

TEST(OriginList, AStarStandsForTextThatIsThere) {
  const OriginList origins({"https://ab*ba"});
  EXPECT_TRUE(origins.allows("https://abba"));
  EXPECT_FALSE(origins.allows("https://aba")) << "the two ends may not share a letter";
}

TEST(Host, OfThisMachine) {
  std::array<char, 256> name{};
  ASSERT_EQ(::gethostname(name.data(), name.size() - 1), 0);
  for (const char* host :
       {"", "localhost", "localhost:11434", "LOCALHOST", "127.0.0.1:11434", "[::1]:11434", "::1", "192.168.1.9",
        "box.local:80", "drover.internal", "a.localhost", static_cast<const char*>(name.data())}) {
    EXPECT_TRUE(is_host_of_this_machine(host)) << host;
  }
}

TEST(Host, OfOthers) {
  for (const char* host : {"example.com", "example.com:11434", "localhost.example.com", "local", "127.0.0.1.nip.io",
                           "[::1", "evil.com:80:80", "..", "internal"}) {
    EXPECT_FALSE(is_host_of_this_machine(host)) << host;
  }
}

}  // namespace
}  // namespace drover::api
