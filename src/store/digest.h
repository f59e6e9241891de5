// SHA-256 digests as a type of their own: whatever names a blob was checked where it entered.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace drover {

// The SHA-256 of some bytes. A value type, safe to use as a file name: it holds 32 bytes and nothing else.
class Digest {
 public:
  static constexpr std::size_t kSize = 32;
  using Bytes = std::array<std::uint8_t, kSize>;

  Digest() = default;  // all zero: the digest of nothing we know
  explicit Digest(const Bytes& bytes) : bytes_(bytes) {}

  // Accepts "sha256:<64 hex digits>" and "sha256-<64 hex digits>". Error: kInvalidArgument, "invalid digest format".
  static Result<Digest> parse(std::string_view text);
  // The digest of `bytes`.
  static Digest of(std::string_view bytes);

  std::string hex() const;        // 64 lower-case hex digits
  std::string to_string() const;  // "sha256:<hex>", as manifests and the API write it
  std::string file_name() const;  // "sha256-<hex>", as the blobs folder writes it
  const Bytes& bytes() const { return bytes_; }

  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  Bytes bytes_{};
};

// Computes a digest piece by piece. One thread at a time; after finish() it may only be destroyed.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace drover

template <>
struct std::hash<drover::Digest> {
  std::size_t operator()(const drover::Digest& digest) const noexcept {
    std::size_t value = 0;  // The bytes of a digest are uniform, so the first eight are as good a hash as any.
    for (std::size_t i = 0; i < sizeof(value); ++i) value = value << 8 | digest.bytes()[i];
    return value;
  }
};
