#include "engine/thought_tags.h"

#include "base/text.h"

namespace drover {
ThoughtTags opened_thought(std::string_view prompt) {
  const std::string_view end = trimmed(prompt);
  if (!end.ends_with('>') && !end.ends_with(']')) return {};
  const auto open = end.rfind(end.back() == '>' ? '<' : '[');
  if (open == std::string_view::npos || open + 2 >= end.size() || end[open + 1] == '/') return {};
  const std::string tag(end.substr(open));
  const std::string word = lower_case(tag);
  const auto says = [&](std::string_view what) { return word.find(what) != std::string::npos; };
  if (!says("think") && !says("thought") && !says("reason")) return {};
  return {tag, tag.substr(0, 1) + "/" + tag.substr(1)};
}

bool is_thought_open(const ThoughtTags& tags, std::string_view text) {
  if (tags.start.empty() || tags.end.empty()) return false;
  const auto start = text.rfind(tags.start);
  if (start == std::string_view::npos) return false;
  const auto end = text.rfind(tags.end);
  return end == std::string_view::npos || end < start;
}

// As most templates write it: the tags on separate lines, or next to each other.
std::string closing(const ThoughtTags& tags, std::string_view prompt) {
  const std::string end(trimmed(tags.end));
  return prompt.ends_with('\n') ? "\n" + end + "\n\n" : end;
}

}  // namespace drover
