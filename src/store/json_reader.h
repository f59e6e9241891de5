// Reads JSON that anyone may have written. Everything is counted while it is read, and nothing is built of what is over
// a bound: a hostile text costs no more than the part of it that a legal one could have. Strings need no bound of their
// own, they are no longer than the text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace drover {

struct JsonBounds {
  std::size_t depth_max = 0;   // lists and objects inside of each other; what copies and prints them is recursive
  std::size_t keys_max = 0;    // of one object
  std::size_t values_max = 0;  // in all, lists and objects among them
};

// Why a text is not taken.
struct JsonFault {
  enum class Kind { kSyntax, kDepth, kKeys, kValues } kind = Kind::kSyntax;
  std::string message;  // in the words of Go's decoder where it has some; a bound is named
};

// Used by one thread at a time. One reader may read several texts: they share its values_max.
class JsonReader {
 public:
  explicit JsonReader(const JsonBounds& bounds) : bounds_(bounds) {}

  // An object keeps the order of its keys. A key that comes again has its first place and its last value, as in Go.
  // What is no Unicode in a string (half of a surrogate pair, a byte that is not part of UTF-8) is U+FFFD, as in Go.
  // `into` is set if there is no fault.
  std::optional<JsonFault> read(std::string_view text, Json& into);

 private:
  const JsonBounds bounds_;
  std::size_t values_ = 0;
};

}  // namespace drover
