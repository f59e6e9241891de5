// The tags between which a model thinks, where nothing but a prompt shows them.
#pragma once

#include <string>
#include <string_view>

namespace drover {

struct ThoughtTags {
  std::string start;
  std::string end;
};

// The tags of the thought that the end of `prompt` opens: "<think>", "[THINK]" and their like. Empty: it opens none.
ThoughtTags opened_thought(std::string_view prompt);

// Whether a thought is open at the end of `text`.
bool is_thought_open(const ThoughtTags& tags, std::string_view text);

// What ends an empty thought that `prompt` has opened.
std::string closing(const ThoughtTags& tags, std::string_view prompt);

}  // namespace drover
