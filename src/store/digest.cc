#include "store/digest.h"

#include <openssl/evp.h>

#include "base/check.h"
#include "base/text.h"

namespace drover {
namespace {

constexpr std::string_view kPrefix = "sha256";

}  // namespace

Result<Digest> Digest::parse(std::string_view text) {
  const Error malformed = invalid("invalid digest format");
  if (text.size() != kPrefix.size() + 1 + 2 * kSize || !text.starts_with(kPrefix)) return malformed;
  const char separator = text[kPrefix.size()];
  if (separator != ':' && separator != '-') return malformed;
  text.remove_prefix(kPrefix.size() + 1);
  Bytes bytes{};
  for (std::size_t i = 0; i < kSize; ++i) {
    const int high = hex_value(text[2 * i]);
    const int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return malformed;
    bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return Digest(bytes);
}

Digest Digest::of(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

std::string Digest::hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * kSize);
  for (const std::uint8_t byte : bytes_) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string Digest::to_string() const {
  return "sha256:" + hex();
}

std::string Digest::file_name() const {
  return "sha256-" + hex();
}

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() {
    // OpenSSL refuses these only without memory or without SHA-256, and nothing sensible is left to do then.
    DROVER_CHECK(evp != nullptr && EVP_DigestInit_ex(evp, EVP_sha256(), nullptr) == 1);
  }
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
  DROVER_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

Digest Sha256::finish() {
  Digest::Bytes bytes{};
  unsigned int size = 0;
  DROVER_CHECK(EVP_DigestFinal_ex(context_->evp, bytes.data(), &size) == 1 && size == Digest::kSize);
  return Digest(bytes);
}

}  // namespace drover
