// Pieces that the forms of several dialects have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "runner.pb.h"

namespace drover::api {

// [{"token", "logprob", "bytes", "top_logprobs"}, …]: the same in Ollama's and OpenAI's chat answers.
void append_logprobs(std::string& out, const pb::Chunk& chunk);

// A call's arguments as JSON text. They are what a model wrote: what is no object becomes an empty one.
std::string arguments_text(const pb::ToolCall& call);

// An event of a stream: "event: <name>", if it has a name, and "data: <data>", which must be one line.
void append_event(std::string& out, std::string_view name, std::string_view data);

// A duration in whole nanoseconds, as Ollama has it; 0 if it is negative.
std::uint64_t nanoseconds(Duration duration);

// An identifier that no other answer has: the prefix and 24 random hexadecimal digits.
std::string new_id(std::string_view prefix);

}  // namespace drover::api
