#include "terminal/word_wrap.h"

#include <fmt/format.h>

#include "base/utf8.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr int kWrapColumnsMin = 20;
constexpr int kRightMargin = 5;

}  // namespace

std::string WordWrap::feed(std::string_view piece, int columns) {
  std::string text = rest_;
  text += piece;
  const std::size_t incomplete = incomplete_utf8_bytes(text);
  rest_ = text.substr(text.size() - incomplete);
  text.resize(text.size() - incomplete);
  text = printable(text);
  if (columns < kWrapColumnsMin) return text;

  const int limit = columns - kRightMargin;
  std::string output;
  for (std::string_view left = text; !left.empty();) {
    const Utf8Character character = first_utf8_character(left);
    const std::string_view bytes = left.substr(0, character.bytes);
    left.remove_prefix(character.bytes);
    if (character.code == '\n') {
      output += '\n';
      word_.clear();
      column_ = 0;
      continue;
    }
    const bool blank = character.code == ' ' || character.code == '\t';
    const int width = character.code == '\t' ? 8 - column_ % 8 : display_width(character.code);
    if (column_ + width > limit && blank) {
      output += '\n';  // The blank that would begin the next line is not shown.
      word_.clear();
      column_ = 0;
      continue;
    }
    if (column_ + width > limit) {
      const int back = display_width(word_);
      if (back >= limit / 2) {
        word_.clear();  // Hardly a word; it is cut where the line ends.
      } else if (back > 0) {
        output += fmt::format("\x1b[{}D\x1b[K", back);
      }
      output += '\n';
      output += word_;
      column_ = display_width(word_);
    }
    output += bytes;
    column_ += width;
    if (blank || width >= 2) {
      word_.clear();  // Wide characters stand for themselves: a line may be broken after each.
    } else {
      word_ += bytes;
    }
  }
  return output;
}

std::string WordWrap::finish() {
  std::string text = rest_.empty() ? std::string() : std::string(kReplacementCharacter);
  *this = WordWrap();
  return text;
}

}  // namespace drover::cli
