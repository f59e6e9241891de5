#include "store/manifest.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace drover {
namespace {

const std::string kDigest = Digest::of("x").to_string();

std::string error_of(std::string_view text) {
  const Result<Manifest> manifest = Manifest::parse(text);
  return manifest.ok() ? "" : manifest.error().message;
}

std::string layer(std::string_view digest, std::string_view size = "1") {
  return fmt::format(R"({{"mediaType":"m","digest":"{}","size":{}}})", digest, size);
}

std::string manifest(const std::string& config, const std::string& layers) {
  return fmt::format(R"({{"schemaVersion":2,"config":{},"layers":{}}})", config, layers);
}

TEST(Manifest, RefusesWhatIsBroken) {
  const std::string good = layer(kDigest);
  ASSERT_EQ(error_of(manifest(good, "[" + good + "]")), "");
  for (const std::string& text : {std::string(),
                                  std::string("{"),
                                  std::string("[]"),
                                  std::string("null"),
                                  std::string("{}"),
                                  std::string(R"({"layers":[]})"),
                                  manifest(good, "{}"),
                                  manifest("[]", "[]"),
                                  manifest(good, "[1]"),
                                  manifest(good, "[{}]"),
                                  manifest(layer("sha256:../../etc/passwd"), "[]"),
                                  manifest(layer(""), "[]"),
                                  manifest(layer(kDigest, "-1"), "[]"),
                                  manifest(layer(kDigest, "1.5"), "[]"),
                                  manifest(layer(kDigest, "\"1\""), "[]"),
                                  manifest(layer(kDigest, "1e30"), "[]"),
                                  manifest(layer(kDigest, "18446744073709551615"), "[]"),
                                  manifest(good, R"([{"mediaType":1}])"),
                                  std::string(R"({"manifests":[]})"),
                                  std::string(100'000, '['),
                                  std::string("\xFF")}) {
    EXPECT_TRUE(error_of(text).starts_with("manifest is ")) << text.substr(0, 200) << ": " << error_of(text);
  }
  std::string layers = "[" + good;
  for (std::size_t i = 0; i < kManifestLayersMax; ++i) layers += "," + good;
  EXPECT_NE(error_of(manifest(good, layers + "]")).find("too many layers"), std::string::npos);
}

TEST(Manifest, IsWrittenAsOllamaWritesIt) {
  Manifest made;
  made.config = {std::string(kConfigMediaType), Digest::of("c"), 7, "", ""};
  made.layers = {{std::string(kModelMediaType), Digest::of("m"), 100, "cria:latest", ""}};
  EXPECT_EQ(made.to_json(),
            fmt::format(R"({{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",)"
                        R"("config":{{"mediaType":"application/vnd.docker.container.image.v1+json",)"
                        R"("digest":"{}","size":7}},"layers":[{{"mediaType":"application/vnd.ollama.image.model",)"
                        R"("digest":"{}","size":100,"from":"cria:latest"}}]}})"
                        "\n",
                        Digest::of("c").to_string(), Digest::of("m").to_string()));
  const Result<Manifest> read = Manifest::parse(made.to_json());
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->config, made.config);
  EXPECT_EQ(read->layers, made.layers);
  EXPECT_EQ(read->total_bytes(), 107u);
}

TEST(Manifest, AllDigestsOfATextAreFound) {
  const std::string text =
      "sha256sha256:" + Digest::of("a").hex() + " junk sha256-" + Digest::of("b").hex() + " sha256:";
  EXPECT_EQ(digests_in(text), (std::set<Digest>{Digest::of("a"), Digest::of("b")}));
}

}  // namespace
}  // namespace drover
