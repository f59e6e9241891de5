#include "schema/enum_rule.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/utf8.h"

namespace drover::schema {
namespace {

// JSON texts in order, none of them twice.
class Trie {
 public:
  explicit Trie(std::vector<std::string> texts) : texts_(std::move(texts)) {
    std::sort(texts_.begin(), texts_.end());
    texts_.erase(std::unique(texts_.begin(), texts_.end()), texts_.end());
  }

  std::string run() {
    write(0, texts_.size(), 0);
    return too_wide_ ? std::string() : out_;
  }

 private:
  // What texts [first, last) have from byte `at` on, up to which they are the same: one item or several in a row.
  void write(std::size_t first, std::size_t last, std::size_t at) {
    const std::size_t end = same_until(first, last, at);
    if (end > at) literal(std::string_view(texts_[first]).substr(at, end - at));
    // The first one may end here: a number that others begin with.
    const bool ends = texts_[first].size() == end;
    std::size_t next = ends ? first + 1 : first;
    if (next == last) return;
    out_ += out_.empty() ? "(" : " (";
    std::size_t branches = 0;
    while (next < last && !too_wide_) {
      const std::string_view character = character_at(next, end);
      std::size_t stop = next + 1;
      while (stop < last && character_at(stop, end) == character) ++stop;
      if (branches++ > 0) out_ += " | ";
      write(next, stop, end);
      next = stop;
      too_wide_ = too_wide_ || branches > kEnumBranchesMax;
    }
    out_ += ends ? ")?" : ")";
  }

  // They are in order: what the first and the last have alike, all have.
  std::size_t same_until(std::size_t first, std::size_t last, std::size_t at) const {
    const std::string& one = texts_[first];
    const std::string& other = texts_[last - 1];
    const std::size_t most = std::min(one.size(), other.size());
    std::size_t end = at;
    while (end < most && one[end] == other[end]) ++end;
    while (end > at && end < other.size() && is_utf8_continuation(other[end])) --end;
    return end;
  }

  std::string_view character_at(std::size_t text, std::size_t at) const {
    const std::string_view rest = std::string_view(texts_[text]).substr(at);
    std::size_t size = 1;
    while (size < rest.size() && is_utf8_continuation(rest[size])) ++size;
    return rest.substr(0, size);
  }

  // JSON has no control characters but as escapes.
  void literal(std::string_view text) {
    out_ += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') out_ += '\\';
      out_ += c;
    }
    out_ += '"';
  }

  std::vector<std::string> texts_;
  std::string out_;
  bool too_wide_ = false;
};

}  // namespace

std::string enum_rule(const Json& values, const std::string& name) {
  std::vector<std::string> texts;
  for (const Json& value : values) texts.push_back(to_text(value));
  const std::string body = Trie(std::move(texts)).run();
  return body.empty() ? body : name + " ::= " + body + "\n";
}

}  // namespace drover::schema
