#include "store/jinja_check.h"

#include <fmt/core.h>

#include <cctype>
#include <cstdint>
#include <vector>

namespace drover {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

// Takes a template apart as the engine does (common/jinja/lexer.cpp in llama.cpp): what it takes for a tag is one here,
// also where the template is none.
class JinjaWalk {
 public:
  explicit JinjaWalk(std::string_view source) : source_(source) {}

  std::string run() {
    while (problem_.empty() && find_tag()) read_tag();
    return problem_;
  }

 private:
  bool is_at(std::string_view text) const { return source_.substr(at_, text.size()) == text; }

  // Goes to the next tag, over text and comments. False: there is none.
  bool find_tag() {
    while (true) {
      at_ = source_.find('{', at_);
      if (at_ == std::string_view::npos) return false;
      if (is_at("{#")) {
        at_ = source_.find("#}", at_ + 2);
        if (at_ == std::string_view::npos) return false;
        at_ += 2;
      } else if (is_at("{{") || is_at("{%")) {
        return true;
      } else {
        ++at_;
      }
    }
  }

  void read_tag() {
    statement_ = is_at("{%");
    if (!statement_) braces_ = 0;
    at_ += 2;
    name_ = {};
    assigns_ = false;
    brackets_ = 0;
    int tokens = 0;
    while (at_ < source_.size() && problem_.empty()) {
      if (is_space(source_[at_])) {
        ++at_;
        continue;
      }
      if (ends_tag()) return end_tag();
      if (++tokens > kJinjaTagTokensMax) {
        problem_ = fmt::format("has more than {} parts between one pair of braces", kJinjaTagTokensMax);
      }
      read_token();
    }
  }

  // Steps over the end of the tag, if this is one.
  bool ends_tag() {
    const std::size_t dash = source_[at_] == '-' ? 1 : 0;
    const std::string_view end = source_.substr(at_ + dash, 2);
    // Inside of an object "}}" is the end of two.
    const bool ends = end == "%}" || (end == "}}" && braces_ == 0);
    if (ends) at_ += dash + 2;
    return ends;
  }

  void read_token() {
    const char c = source_[at_];
    if (c == '"' || c == '\'') return skip_string(c);
    if (is_word(c)) {
      const std::size_t start = at_;
      while (at_ < source_.size() && is_word(source_[at_])) ++at_;
      if (name_.empty()) name_ = source_.substr(start, at_ - start);
      return;
    }
    if (c == '{') ++braces_;
    if (c == '}') --braces_;  // it may wrap round, as the engine's does
    if (c == '(' || c == '[' || c == '{') open_bracket();
    if ((c == ')' || c == ']' || c == '}') && brackets_ > 0) --brackets_;
    if (c == '=' && brackets_ == 0) assigns_ = true;
    ++at_;
  }

  void open_bracket() {
    if (++brackets_ > kJinjaBracketsMax) {
      problem_ = fmt::format("has brackets that are nested more than {} deep", kJinjaBracketsMax);
    }
  }

  void skip_string(char quote) {
    ++at_;
    while (at_ < source_.size() && source_[at_] != quote) at_ += source_[at_] == '\\' ? 2 : 1;
    ++at_;
  }

  void end_tag() {
    if (!statement_) return;
    const bool opens = name_ == "if" || name_ == "for" || name_ == "macro" || name_ == "call" || name_ == "filter" ||
                       (name_ == "set" && !assigns_);
    if (opens) {
      blocks_.push_back(1);
      ++depth_;
    } else if (name_ == "elif" && !blocks_.empty()) {
      ++blocks_.back();
      ++depth_;
    } else if (name_.starts_with("end") && !blocks_.empty()) {
      depth_ -= blocks_.back();
      blocks_.pop_back();
    }
    if (depth_ > kJinjaBlocksMax) {
      problem_ = fmt::format("has blocks that are nested more than {} deep", kJinjaBlocksMax);
    }
  }

  const std::string_view source_;
  std::size_t at_ = 0;
  std::string problem_;
  std::size_t braces_ = 0;   // open in this tag; the engine forgets them where a {{ begins, not where a {% does
  std::vector<int> blocks_;  // that are open, with the levels that each is
  int depth_ = 0;            // their sum
  // Of the tag that is being read:
  bool statement_ = false;
  std::string_view name_;  // its first word
  bool assigns_ = false;
  int brackets_ = 0;
};

}  // namespace

std::string jinja_problem(std::string_view source) {
  if (source.size() > kJinjaBytesMax) return fmt::format("has more than {} bytes", kJinjaBytesMax);
  return JinjaWalk(source).run();
}

}  // namespace drover
