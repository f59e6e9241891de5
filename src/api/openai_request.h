// Reads the bodies of OpenAI's routes. What clients of other servers of OpenAI's API add (vLLM,
// llama-server, LiteLLM) is heeded where there is such a thing here. What is not heeded is named in a warning; what a
// client would miss in the answer (n above 1, images …) is refused.
#pragma once

#include <string>
#include <string_view>

#include "api/ask_reader.h"
#include "api/json.h"
#include "api/request.h"

namespace drover::api {

// For the routes. Errors: kInvalidArgument.
Result<Request> read_openai_chat(Json body);
Result<Request> read_openai_completion(Json body);
Result<Request> read_openai_response(Json body);  // one that refers to nothing: see openai_responses.h

// ---- what chat, completions and responses have in common

// OpenAI's defaults are what the model itself gives, and not Ollama's.
inline constexpr double kOpenaiTemperature = 1.0;
inline constexpr double kOpenaiTopP = 1.0;

// A body's options: `options` itself first, then what is at the top level, under OpenAI's names, our own or those of
// other servers.
Result<void> read_openai_options(const Json& body, Fields& fields, const char* tokens_max_name, AskReader& reader);
// Names the fields of a body that ask for something and are not in `heeded`: names with a space before and behind each.
void name_ignored(const Json& body, std::string_view heeded, Warnings& warnings);
// What is not OpenAI's and means here what it means natively: keep_alive, _debug_render_only.
Result<void> read_openai_additions(Fields& fields, Ask& ask);
// An effort: "none", "low" …; empty: nothing is said.
Result<ThinkAsk> think_of_effort(const std::string& effort);
// {"type":"json_schema", …} and its like. `schema` is in `format` or, with chat, one level deeper.
Result<FormatAsk> read_openai_format(const Json& format);
// What a content belongs to: only a question cannot do without what is no text in it.
enum class ContentOf { kQuestion, kAnswer, kResult };
// Content that is a string, or a list of parts; null: none. What is no text is left out with a warning, or an error in
// a question.
Result<std::string> read_openai_content(const Json* content, ContentOf of, Warnings& warnings);

}  // namespace drover::api
