// Wraps text that arrives in pieces: a word is shown as it comes, and taken to the next line once it turns out to be
// too long for this one.
#pragma once

#include <string>
#include <string_view>

namespace drover::cli {

// One answer; used by one thread.
class WordWrap {
 public:
  // What to write to a terminal that is `columns` wide in order to show `piece`, escape codes included. Pieces may end
  // in the middle of a character. With few or no columns nothing is wrapped. Control characters but newline and tab are
  // left out.
  std::string feed(std::string_view piece, int columns);
  // What is left of a character whose end never came.
  std::string finish();

 private:
  std::string rest_;  // the first bytes of a character
  std::string word_;  // what was written since the last place where the line may be broken
  int column_ = 0;
};

}  // namespace drover::cli
