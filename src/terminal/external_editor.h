// Has the user change a text in an editor of their own.
#pragma once

#include <string>

#include "base/result.h"

namespace drover::cli {

// Runs $OLLAMA_EDITOR, else $VISUAL, $EDITOR, else nano or vi, on a temporary file that only this user may read and
// that is removed afterwards; returns what it holds then, without newlines at its end, at most kPasteBytesMax. The
// terminal is the editor's meanwhile, and has to be in its usual mode. Errors: there is no such editor, it failed (exit
// code not 0), or the file cannot be written or read.
Result<std::string> edit_text(const std::string& text);

}  // namespace drover::cli
