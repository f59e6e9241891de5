// A prompt between a worker process and its runner: proto/prepare.proto and the types of the program.
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
// Error: kInternal for bytes that are no tokens of a vocabulary of this size.
Result<std::vector<Token>> read_tokens(std::string_view bytes, int vocabulary_size);

// `with_text`: what was rendered too.
void write_prompt(MadePrompt& from, bool with_text, pb::Prompt& to);
Result<MadePrompt> read_prompt(pb::Prompt& from, int vocabulary_size);

}  // namespace drover
