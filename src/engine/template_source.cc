#include "engine/template_source.h"

#include <cctype>
#include <string_view>

namespace drover {
namespace {

constexpr std::string_view kItems = ".items";
constexpr std::string_view kKey = "['items']";

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// The place of the last of these two before `at`, counted from 1; 0: there is none.
std::size_t last_before(const std::string& source, std::size_t at, const char* one, const char* other) {
  const std::size_t a = source.rfind(one, at) + 1;
  const std::size_t b = source.rfind(other, at) + 1;
  return a > b ? a : b;
}

bool is_in_tag(const std::string& source, std::size_t at) {
  return last_before(source, at, "{{", "{%") > last_before(source, at, "}}", "%}");
}

}  // namespace

std::string with_items_as_key(std::string source) {
  std::size_t at = 0;
  while ((at = source.find(kItems, at)) != std::string::npos) {
    const std::size_t end = at + kItems.size();
    const std::size_t next = source.find_first_not_of(" \t\r\n", end);
    const bool is_whole = end == source.size() || !is_word(source[end]);
    const bool is_called = next != std::string::npos && source[next] == '(';
    const bool has_owner = at > 0 && (is_word(source[at - 1]) || source[at - 1] == ')' || source[at - 1] == ']');
    if (is_whole && !is_called && has_owner && is_in_tag(source, at)) {
      source.replace(at, kItems.size(), kKey);
      at += kKey.size();
    } else {
      at = end;
    }
  }
  return source;
}

}  // namespace drover
