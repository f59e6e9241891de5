#include "engine/trigger_watch.h"

#include <algorithm>
#include <utility>

namespace drover {

TriggerWatch::TriggerWatch(std::vector<std::string> words, std::vector<Token> tokens)
    : words_(std::move(words)), trigger_tokens_(std::move(tokens)) {
  std::erase(words_, std::string());
  for (const std::string& word : words_) longest_ = std::max(longest_, word.size());
}

std::span<const Token> TriggerWatch::push(Token token, std::string_view piece) {
  recent_.push_back(token);
  lengths_.push_back(piece.size());
  text_ += piece;
  if (std::find(trigger_tokens_.begin(), trigger_tokens_.end(), token) != trigger_tokens_.end()) {
    return std::span(recent_).last(1);
  }
  std::size_t begin = std::string::npos;
  for (const std::string& word : words_) begin = std::min(begin, text_.find(word));
  // Drops tokens in which no trigger can begin any more.
  std::size_t useless = begin;
  if (begin == std::string::npos) useless = text_.size() - std::min(text_.size(), longest_ > 0 ? longest_ - 1 : 0);
  std::size_t dropped = 0;
  std::size_t bytes = 0;
  while (dropped < recent_.size() && bytes + lengths_[dropped] <= useless) bytes += lengths_[dropped++];
  recent_.erase(recent_.begin(), recent_.begin() + static_cast<std::ptrdiff_t>(dropped));
  lengths_.erase(lengths_.begin(), lengths_.begin() + static_cast<std::ptrdiff_t>(dropped));
  text_.erase(0, bytes);
  return begin == std::string::npos ? std::span<const Token>() : std::span<const Token>(recent_);
}

}  // namespace drover
