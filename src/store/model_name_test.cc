#include "store/model_name.h"

#include <gtest/gtest.h>

#include <random>

namespace drover {
namespace {

TEST(ModelName, FillsInDefaults) {
  struct Case {
    const char* text;
    const char* full;
    const char* shortest;
  };
  for (const Case& c :
       {Case{"cria", "registry.ollama.ai/library/cria:latest", "cria:latest"},
        Case{"ana/x:1", "registry.ollama.ai/ana/x:1", "ana/x:1"}, Case{"host/ns/m:t", "host/ns/m:t", "host/ns/m:t"},
        Case{"localhost:5000/ns/m", "localhost:5000/ns/m:latest", "localhost:5000/ns/m:latest"},
        Case{"https://example.com/ns/m:t", "example.com/ns/m:t", "example.com/ns/m:t"},
        Case{"registry.ollama.ai/library/a:b", "registry.ollama.ai/library/a:b", "a:b"},
        Case{"Registry.Ollama.AI/Library/a:b", "Registry.Ollama.AI/Library/a:b", "a:b"},
        Case{"ollama.com/library/a", "registry.ollama.ai/library/a:latest", "a:latest"},
        Case{"Llama3.2-Instruct_x:8B-q4_K_M", "registry.ollama.ai/library/Llama3.2-Instruct_x:8B-q4_K_M",
             "Llama3.2-Instruct_x:8B-q4_K_M"},
        Case{"_a:_", "registry.ollama.ai/library/_a:_", "_a:_"}}) {
    const Result<ModelName> name = ModelName::parse(c.text);
    ASSERT_TRUE(name.ok()) << c.text;
    EXPECT_EQ(name->full(), c.full);
    EXPECT_EQ(name->display_shortest(), c.shortest);
    EXPECT_EQ(*ModelName::parse(name->full()), *name);
    EXPECT_EQ(*ModelName::parse(name->display_shortest()), *name);
  }
}

TEST(ModelName, RefusesMalformedNames) {
  for (const std::string text : {"",
                                 ":",
                                 "/",
                                 "//",
                                 ":latest",
                                 "m:",
                                 "/m",
                                 "m/",
                                 "ns//m",
                                 "a/b/c/d",
                                 "a/b/c/d/e:f",
                                 "m:t:u/",
                                 "..",
                                 ".",
                                 "../m",
                                 "m/..",
                                 "../../etc/passwd",
                                 "ns/../m",
                                 "m:..",
                                 "m:../../x",
                                 ".hidden",
                                 "-m",
                                 "m:-t",
                                 "ns.x/m",
                                 "-h/ns/m",
                                 "h/ns/m/",
                                 "a b",
                                 "a\tb",
                                 "a\nb",
                                 "m:t t",
                                 "m@sha256",
                                 "m+b",
                                 "m%2e%2e",
                                 "m\\n",
                                 "m*",
                                 "m?",
                                 "m~",
                                 "ü",
                                 "://m",
                                 "http://",
                                 "http:///m",
                                 "m:a/b",
                                 "h:1/n/m:t:u",
                                 "~/m",
                                 "$HOME",
                                 "m;rm",
                                 "m\x7f"}) {
    const Result<ModelName> name = ModelName::parse(text);
    EXPECT_FALSE(name.ok()) << text << " became " << name->full();
    if (!name.ok()) {
      EXPECT_EQ(name.error().message, "invalid model name");
    }
  }
  EXPECT_FALSE(ModelName::parse(std::string("m\0n", 3)).ok());
}

TEST(ModelName, BoundsTheLengthOfItsParts) {
  EXPECT_TRUE(ModelName::parse(std::string(80, 'm')).ok());
  EXPECT_FALSE(ModelName::parse(std::string(81, 'm')).ok());
  EXPECT_TRUE(ModelName::parse("m:" + std::string(80, 't')).ok());
  EXPECT_FALSE(ModelName::parse("m:" + std::string(81, 't')).ok());
  EXPECT_FALSE(ModelName::parse(std::string(81, 'n') + "/m").ok());
  EXPECT_TRUE(ModelName::parse(std::string(350, 'h') + "/n/m").ok());
  EXPECT_FALSE(ModelName::parse(std::string(351, 'h') + "/n/m").ok());
  EXPECT_FALSE(ModelName::parse(std::string(1 << 20, '/')).ok());
}

TEST(ModelName, IgnoresCaseWhenCompared) {
  const ModelName a = *ModelName::parse("Cria:Latest");
  const ModelName b = *ModelName::parse("cria");
  EXPECT_EQ(a, b);
  EXPECT_EQ(std::hash<ModelName>{}(a), std::hash<ModelName>{}(b));
  EXPECT_EQ(a.display_shortest(), "Cria:Latest");
  EXPECT_NE(a, *ModelName::parse("cria:1"));
  EXPECT_EQ(ModelName::parse("OLLAMA.com/library/cria")->host(), b.host());
}

// Whatever is thrown at it: a name that parses makes a path of four plain components.
TEST(ModelName, NoNameLeavesTheFolder) {
  std::mt19937 random(1);
  const std::string letters = "aB0._-:/\\ ~%@+\n\x80" + std::string(1, '\0');
  int parsed = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text(random() % 12, ' ');
    for (char& c : text) c = letters[random() % (random() % 2 == 0 ? 6 : letters.size())];
    const Result<ModelName> name = ModelName::parse(text);
    if (!name) continue;
    ++parsed;
    const std::filesystem::path path = name->manifest_path();
    ASSERT_TRUE(path.is_relative());
    ASSERT_EQ(std::distance(path.begin(), path.end()), 4) << path;
    for (const auto& part : path) {
      ASSERT_FALSE(part.empty() || part.string().starts_with('.')) << path;
      ASSERT_EQ(part.string().find_first_of("/\\ \n~%@+") == std::string::npos, true) << path;
      ASSERT_EQ(part.string().find('\0'), std::string::npos) << path;
    }
    ASSERT_EQ(*ModelName::parse(name->full()), *name);
  }
  EXPECT_GT(parsed, 1000);
}

}  // namespace
}  // namespace drover
