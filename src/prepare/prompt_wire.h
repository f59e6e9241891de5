// Converts a prompt between proto/prepare.proto, which workers and runners exchange, and the program's types.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "prepare.pb.h"
#include "prepare/prompt_maker.h"

namespace drover {

std::string token_bytes(std::span<const Token> tokens);
// Error: kInternal if the bytes are not tokens of a vocabulary of this size.
Result<std::vector<Token>> read_tokens(std::string_view bytes, int vocabulary_size);

// `with_text`: includes the rendered text.
void write_prompt(MadePrompt& from, bool with_text, pb::Prompt& to);
Result<MadePrompt> read_prompt(pb::Prompt& from, int vocabulary_size);

}  // namespace drover
