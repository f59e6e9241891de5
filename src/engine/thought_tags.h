// Finds the tags around a model's thinking from a prompt alone.
#pragma once

#include <string>
#include <string_view>

namespace drover {

struct ThoughtTags {
  std::string start;
  std::string end;
};

// The tags of the thinking that the end of `prompt` opens, such as "<think>" or "[THINK]". Empty: it opens none.
ThoughtTags opened_thought(std::string_view prompt);

// Whether thinking is open at the end of `text`.
bool is_thought_open(const ThoughtTags& tags, std::string_view text);

// The text that closes empty thinking after `prompt`.
std::string closing(const ThoughtTags& tags, std::string_view prompt);

}  // namespace drover
