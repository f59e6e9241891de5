// Text that grows up to a limit and then only remembers that it was cut, so that a template cannot eat memory.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace drover::go_template {

class BoundedText {
 public:
  explicit BoundedText(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  void append(std::string_view part) {
    if (part.size() > bytes_max_ - text_.size()) {
      cut_ = true;
      part = part.substr(0, bytes_max_ - text_.size());
    }
    text_.append(part);
  }
  void append(char c) { append(std::string_view(&c, 1)); }
  void append(std::size_t count, char c) {
    if (count > bytes_max_ - text_.size()) {
      cut_ = true;
      count = bytes_max_ - text_.size();
    }
    text_.append(count, c);
  }

  std::size_t size() const { return text_.size(); }
  // What was left out would have made the text longer than its limit.
  bool cut() const { return cut_; }
  std::string take() && { return std::move(text_); }

 private:
  std::string text_;
  std::size_t bytes_max_;
  bool cut_ = false;
};

}  // namespace drover::go_template
