#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "base/go_duration.h"
#include "base/settings.h"

namespace drover {
namespace {

using namespace std::chrono_literals;

TEST(GoDuration, ReadsWhatGoReads) {
  EXPECT_EQ(*parse_go_duration("1h30m"), 90min);
  EXPECT_EQ(*parse_go_duration("1.5s"), 1500ms);
  EXPECT_EQ(*parse_go_duration("-2m"), -2min);
  EXPECT_EQ(*parse_go_duration("250µs"), 250us);
  EXPECT_EQ(*parse_go_duration("0"), 0ns);
  EXPECT_EQ(*parse_go_duration("1000000h1000000h1000000h1000000h"), std::chrono::nanoseconds::max());
}

TEST(GoDuration, RefusesTheRest) {
  for (const char* text : {"", "-", "5", "m", "5 m", "1.2.3s", "5q", "abc"})
    EXPECT_FALSE(parse_go_duration(text)) << text;
  EXPECT_EQ(*parse_seconds_or_go_duration("300"), 300s);
  EXPECT_EQ(*parse_seconds_or_go_duration("-1"), -1s);
  EXPECT_EQ(*parse_seconds_or_go_duration("10m"), 10min);
}

TEST(Host, AllForms) {
  const std::map<std::string, std::string> cases = {
      {"", "http://127.0.0.1:11434"},
      {"0.0.0.0", "http://0.0.0.0:11434"},
      {":8080", "http://0.0.0.0:8080"},
      {"localhost:1234", "http://localhost:1234"},
      {"[::1]:99", "http://[::1]:99"},
      {"[::]", "http://[::]:11434"},
      {"::1", "http://[::1]:11434"},
      {"http://example.com", "http://example.com:80"},
      {"https://example.com/", "https://example.com:443"},
      {"http://example.com:5000/path", "http://example.com:5000"},
  };
  for (const auto& [text, url] : cases) {
    const auto host = parse_host(text);
    ASSERT_TRUE(host.ok()) << text;
    EXPECT_EQ(host->url(), url) << text;
  }
  EXPECT_FALSE(parse_host("host:port"));
  EXPECT_FALSE(parse_host("host:70000"));
  EXPECT_FALSE(parse_host("ftp://host"));
}

Result<Settings> with(std::map<std::string, std::string> environment) {
  return read_settings([&](const char* name) -> const char* {
    const auto it = environment.find(name);
    return it == environment.end() ? nullptr : it->second.c_str();
  });
}

TEST(Settings, DefaultsAndTrimming) {
  const auto settings =
      with({{"HOME", "/home/ana"}, {"OLLAMA_NUM_PARALLEL", " \"4\" "}, {"OLLAMA_REQUEST_TIMEOUT", "10m"}});
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->parallel, 4);
  EXPECT_EQ(settings->queue_max, 512u);
  EXPECT_EQ(settings->request_timeout, 10min);
  EXPECT_EQ(settings->models, "/home/ana/.ollama/models");
  EXPECT_EQ(with({{"OLLAMA_NUM_PARALLEL", "auto"}})->parallel, 0);
  const std::map<std::string, double> weights{{"id:a=b", 0.5}, {"10.0.0.7", 4}};
  EXPECT_EQ(with({{"DROVER_CLIENT_WEIGHTS", "id:a=b=0.5, 10.0.0.7=4"}})->client_weights, weights);
  EXPECT_EQ(settings->itl_target_ms, 0);
  EXPECT_EQ(with({{"DROVER_ITL_TARGET_MS", "250"}})->itl_target_ms, 250);
}

TEST(Settings, NamesTheVariableThatIsWrong) {
  for (const char* weights :
       {"id:web", "=2", "id:web=", "id:web=2x", "id:web=nan", "id:web=-1", "id:web=1e9", "a=1,b"}) {
    EXPECT_FALSE(with({{"DROVER_CLIENT_WEIGHTS", weights}}).ok()) << weights;
  }
  for (const auto& [name, value] : std::map<std::string, std::string>{{"OLLAMA_NUM_PARALLEL", "many"},
                                                                      {"OLLAMA_MAX_QUEUE", "-3"},
                                                                      {"OLLAMA_KEEP_ALIVE", "soon"},
                                                                      {"DROVER_ITL_TARGET_MS", "-1"},
                                                                      {"OLLAMA_KV_CACHE_TYPE", "q3"},
                                                                      {"DROVER_CLIENT_WEIGHTS", "id:web=0"},
                                                                      {"OLLAMA_FLASH_ATTENTION", "maybe"},
                                                                      {"OLLAMA_HOST", "x:y"}}) {
    const auto settings = with({{name, value}});
    ASSERT_FALSE(settings.ok()) << name;
    EXPECT_NE(settings.error().message.find(name), std::string::npos) << settings.error().message;
  }
}

TEST(Settings, TheHelpNamesWhatIsReadAndNothingElse) {
  std::set<std::string> read;
  const auto settings = read_settings([&](const char* name) -> const char* {
    read.insert(name);
    return nullptr;
  });
  ASSERT_TRUE(settings.ok());
  read.erase("HOME");                 // everybody's
  read.insert("DROVER_CPU_VARIANT");  // read by the engine
  std::set<std::string> named;
  for (const SettingHelp& help : setting_help()) EXPECT_TRUE(named.emplace(help.name).second) << help.name;
  EXPECT_EQ(named, read);
}

TEST(Settings, TheDefaultsOfTheHelpAreTheDefaults) {
  const auto unset = with({{"HOME", "/home/ana"}});
  for (const SettingHelp& help : setting_help()) {
    // What these two are by default is said by others: the user's folder, the engine's type.
    if (help.standard.empty() || help.name == "OLLAMA_MODELS" || help.name == "OLLAMA_KV_CACHE_TYPE") continue;
    const auto set = with({{"HOME", "/home/ana"}, {std::string(help.name), std::string(help.standard)}});
    ASSERT_TRUE(set.ok()) << help.name;
    EXPECT_TRUE(*set == *unset) << help.name << "=" << help.standard;
  }
}

}  // namespace
}  // namespace drover
