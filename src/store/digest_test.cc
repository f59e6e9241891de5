#include "store/digest.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

// The digest of "abc" as FIPS 180-2 gives it.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Digest, RefusesWhatIsNone) {
  const std::string hex = kAbc;
  for (const std::string& text :
       {std::string(), std::string("sha256"), "sha256:" + hex.substr(1), "sha256:" + hex + "0", "sha256/" + hex,
        "SHA256:" + hex, "sha512:" + hex, std::string("sha256:../../../etc/passwd"),
        "sha256:" + hex.substr(0, 62) + "/.", "sha256:g" + hex.substr(1),
        "sha256:" + hex.substr(0, 63) + std::string(1, '\0'), " sha256:" + hex}) {
    const Result<Digest> digest = Digest::parse(text);
    ASSERT_FALSE(digest.ok()) << text;
    EXPECT_EQ(digest.error().message, "invalid digest format");
    EXPECT_EQ(digest.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(Digest, ReadsBothFormsInAnyCase) {
  const Digest expected = Digest::of("abc");
  EXPECT_EQ(expected.hex(), kAbc);
  EXPECT_EQ(*Digest::parse(std::string("sha256:") + kAbc), expected);
  EXPECT_EQ(*Digest::parse(std::string("sha256-") + kAbc), expected);
  std::string upper = kAbc;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(*Digest::parse("sha256:" + upper), expected);
  EXPECT_EQ(expected.to_string(), std::string("sha256:") + kAbc);
  EXPECT_EQ(expected.file_name(), std::string("sha256-") + kAbc);
}

TEST(Sha256, PiecesMakeTheSameAsTheWhole) {
  Sha256 hash;
  hash.update("a");
  hash.update("");
  hash.update("bc");
  EXPECT_EQ(hash.finish(), Digest::of("abc"));
}

}  // namespace
}  // namespace drover
