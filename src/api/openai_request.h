// OpenAI's requests as the native ones that mean the same. What clients of other servers of OpenAI's API add (vLLM,
// llama-server, LiteLLM) is heeded where there is such a thing here. What is not heeded is named in a warning; what a
// client would miss in the answer (n above 1, images …) is refused.
#pragma once

#include <string>
#include <string_view>

#include "api/generate_routes.h"
#include "api/json.h"

namespace drover::api {

// For the routes. Errors: kInvalidArgument.
Result<Translated> translate_openai_chat(Json body);
Result<Translated> translate_openai_completion(Json body);
Result<Translated> translate_openai_response(Json body);  // one that refers to nothing: see openai_responses.h

// ---- what chat, completions and responses have in common

// OpenAI's defaults are what the model itself gives, and not Ollama's.
inline constexpr double kOpenaiTemperature = 1.0;
inline constexpr double kOpenaiTopP = 1.0;

// A body's sampling fields as native options: `options` itself first, then what is at the top level, under OpenAI's
// names, the native ones or those of other servers.
Json read_openai_options(const Json& body, Fields& fields, const char* tokens_max_name);
// Names the fields of a body that ask for something and are not in `heeded`: names with a space before and behind each.
void name_ignored(const Json& body, std::string_view heeded, Warnings& warnings);
// keep_alive and tool_choice are taken over as they are, if they are there.
void take_over(const Json& body, const char* name, Json& native);
// An effort ("none", "low" … ) as a native `think`.
Result<Json> think_of_effort(const std::string& effort);
// {"type":"json_schema", …} and its like as a native `format`; null: text. `schema` is in `format` or, with chat, one
// level deeper.
Result<Json> read_openai_format(const Json& format);
// Whether `strict` stands beside its schema: then all of the schema has to be kept.
bool is_strict_format(const Json& format);
// Content that is a string, or a list of parts of which all must be text.
Result<std::string> read_openai_content(const Json& content);

}  // namespace drover::api
