// Sets of characters, as the classes of a regular expression are.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace drover::schema {

class CodeSet {
 public:
  static constexpr char32_t kLast = 0x10FFFF;

  CodeSet() = default;
  CodeSet(std::initializer_list<std::pair<char32_t, char32_t>> ranges);
  static CodeSet all() { return {{0, kLast}}; }

  void add(const CodeSet& other);
  // Adds many at once: normalize() has to follow before the set is used.
  void append(char32_t first, char32_t last) { ranges_.emplace_back(first, last); }
  void append(const CodeSet& other);
  void normalize();

  bool empty() const { return ranges_.empty(); }
  bool has(char32_t code) const;
  bool within(const CodeSet& other) const;
  CodeSet inverted() const;
  CodeSet less(const CodeSet& other) const;

  // GBNF for one such character as it stands in a JSON string, escaped where JSON asks for it. One item: it can be
  // repeated. Empty if there is no such character.
  std::string grammar() const;

 private:
  std::vector<std::pair<char32_t, char32_t>> ranges_;  // in order, with gaps between them
};

extern const CodeSet kDigits;
extern const CodeSet kWords;
extern const CodeSet kSpaces;
extern const CodeSet kLineEnds;

}  // namespace drover::schema
