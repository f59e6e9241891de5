#include "engine/gbnf.h"

#include <cctype>

namespace drover::gbnf {
namespace {

bool in_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

// The end of an element without names that begins at `at`: a literal, a character set, a count, a token, a comment.
// Returns `at` if no such element begins there.
std::size_t end_of_opaque(std::string_view grammar, std::size_t at) {
  char close = '\0';
  switch (grammar[at]) {
    case '"':
      close = '"';
      break;
    case '[':
      close = ']';
      break;
    case '{':
      close = '}';
      break;
    case '<':
      close = '>';
      break;
    case '#':
      close = '\n';
      break;
    default:
      return at;
  }
  const bool escapes = close == '"' || close == ']';
  for (++at; at < grammar.size(); ++at) {
    if (escapes && grammar[at] == '\\') {
      ++at;
    } else if (grammar[at] == close) {
      return at + 1;
    }
  }
  return grammar.size();
}

struct Span {
  std::size_t begin = std::string_view::npos;
  std::size_t end = std::string_view::npos;
};

// The rule "root": from its name to the name of the next rule.
Span find_root(std::string_view grammar) {
  Span root;
  std::size_t at = 0;
  while (at < grammar.size()) {
    if (const std::size_t end = end_of_opaque(grammar, at); end != at) {
      at = end;
      continue;
    }
    if (!in_name(grammar[at])) {
      ++at;
      continue;
    }
    const std::size_t begin = at;
    while (at < grammar.size() && in_name(grammar[at])) ++at;
    const std::string_view name = grammar.substr(begin, at - begin);
    const std::size_t next = grammar.find_first_not_of(" \t", at);
    if (next == std::string_view::npos || grammar.substr(next, 3) != "::=") continue;
    if (root.begin != std::string_view::npos) {
      root.end = begin;
      return root;
    }
    if (name == "root") root.begin = begin;
  }
  if (root.begin != std::string_view::npos) root.end = grammar.size();
  return root;
}

}  // namespace

std::string literal(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
      case '\\':
        quoted += '\\';
        quoted += c;
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '\r':
        quoted += "\\r";
        break;
      case '\t':
        quoted += "\\t";
        break;
      default:
        quoted += c;
    }
  }
  return quoted + '"';
}

std::string renamed(std::string_view grammar, std::string_view prefix) {
  std::string result;
  result.reserve(grammar.size() + grammar.size() / 4);
  std::size_t at = 0;
  while (at < grammar.size()) {
    if (const std::size_t end = end_of_opaque(grammar, at); end != at) {
      result += grammar.substr(at, end - at);
      at = end;
    } else if (in_name(grammar[at])) {
      const std::size_t begin = at;
      while (at < grammar.size() && in_name(grammar[at])) ++at;
      result += prefix;
      result += grammar.substr(begin, at - begin);
    } else {
      result += grammar[at++];
    }
  }
  return result;
}

std::string root_of(std::string_view grammar) {
  const Span root = find_root(grammar);
  if (root.begin == std::string_view::npos) return {};
  std::string_view body = grammar.substr(root.begin, root.end - root.begin);
  body.remove_prefix(body.find("::=") + 3);
  const std::size_t first = body.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return {};
  return std::string(body.substr(first, body.find_last_not_of(" \t\n") + 1 - first));
}

std::string with_root(std::string_view grammar, std::string_view body) {
  const Span root = find_root(grammar);
  std::string result = "root ::= " + std::string(body) + "\n";
  if (root.begin == std::string_view::npos) return result + std::string(grammar);
  result += grammar.substr(0, root.begin);
  result += grammar.substr(root.end);
  return result;
}

std::string either(std::string_view one, std::string_view other) {
  return "root ::= one-root | other-root\n" + renamed(one, "one-") + "\n" + renamed(other, "other-") + "\n";
}

}  // namespace drover::gbnf
