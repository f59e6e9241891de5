// Looks for the words that make a lazy grammar bind, in the tokens of an output as they come. It remembers only the
// tokens in which a word may have begun, so the cost of a token does not depend on the length of the output.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace drover {

class TriggerWatch {
 public:
  TriggerWatch(std::vector<std::string> words, std::vector<Token> tokens);

  // Adds a token with its text. Returns the last tokens of the output that hold a whole trigger, from the token in
  // which it begins; empty while there is none. Valid until the next call.
  std::span<const Token> push(Token token, std::string_view piece);

 private:
  std::vector<std::string> words_;
  std::vector<Token> trigger_tokens_;
  std::size_t longest_ = 0;  // bytes of the longest word
  std::vector<Token> recent_;
  std::vector<std::size_t> lengths_;  // lengths of the recent tokens' texts
  std::string text_;                  // text of the recent tokens
};

}  // namespace drover
