// For the tests of this folder: an output as its parser takes it apart.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/text.h"
#include "engine/output_parser.h"

namespace drover {

// `text` in pieces of so many bytes. Content and thinking without the blanks around them: templates differ in those.
inline OutputPiece take_apart_in_pieces(const OutputSyntax& syntax, std::string_view text, std::size_t piece,
                                        bool cut_off) {
  OutputParser parser(syntax, {});
  OutputPiece out;
  for (std::size_t at = 0; at < text.size(); at += piece) parser.push(text.substr(at, piece), out);
  parser.finish(cut_off, out);
  out.content = std::string(trimmed(out.content));
  out.thinking = std::string(trimmed(out.thinking));
  return out;
}

// Tests that go through all templates take each so-manieth of them: all, or a few for a run under a sanitizer.
inline std::size_t template_step() {
  return std::getenv("DROVER_TEST_SHORT") != nullptr ? 5 : 1;
}

}  // namespace drover
