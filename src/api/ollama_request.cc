#include "api/ollama_request.h"

#include <fmt/format.h>

#include <utility>

#include "api/ollama_answer.h"
#include "api/openai_tools.h"
#include "base/text.h"
#include "store/parameters.h"

namespace drover::api {
namespace {

constexpr std::size_t kFormatShownMax = 1000;  // bytes of one that is none

// The fields that decide what kind of request it is. Error: as read_keep_alive(), too.
Result<void> read_head(Fields& fields, Ask& ask) {
  ask.model = fields.text("model");
  ask.stream = fields.flag("stream").value_or(true);
  if (std::holds_alternative<pb::Chat>(ask.input)) {
    const Json* messages = fields.array("messages");
    ask.load_only = messages == nullptr || messages->empty();
  } else {
    ask.load_only = fields.text("prompt").empty() && fields.text("suffix").empty();
  }
  if (fields.error()) return *fields.error();
  auto keep_alive = read_keep_alive(fields.any("keep_alive"));
  if (!keep_alive) return std::move(keep_alive).error();
  ask.keep_alive = *keep_alive;
  return {};
}

// `format_strict` is what OpenAI's `strict` is: a schema that cannot be kept is refused.
Result<void> read_format(const Json& body, AskReader& reader) {
  const auto found = body.find("format");
  if (found == body.end() || found->is_null() || *found == "") return {};
  if (*found == "json") return reader.format({pb::Format::JSON, {}, false});
  if (found->is_object()) {
    const auto strict = body.find("format_strict");
    return reader.format({pb::Format::JSON_SCHEMA, *found, strict != body.end() && *strict == true});
  }
  const std::string text = to_text(*found);
  const std::string_view end = text.size() > kFormatShownMax ? "..." : "";
  return invalid(fmt::format("invalid format: {}{}; expected \"json\" or a valid JSON Schema object",
                             text.substr(0, kFormatShownMax), end));
}

// What both kinds have beside their input.
Result<void> read_wishes(Fields& fields, const Json& body, AskReader& reader, Ask& ask) {
  const std::int64_t top = fields.integer("top_logprobs").value_or(0);
  const bool logprobs = fields.flag("logprobs").value_or(false);
  if (auto read = reader.logprobs(logprobs, top); !read) return read;
  ask.truncate = fields.flag("truncate").value_or(true);
  ask.shift = fields.flag("shift").value_or(true);
  ask.render_only = fields.flag("_debug_render_only").value_or(false);
  if (fields.error()) return *fields.error();
  if (auto read = read_ollama_options(body, reader); !read) return read;
  if (auto read = read_format(body, reader); !read) return read;
  const Json* think = fields.any("think");
  return think != nullptr ? reader.think(*think) : Result<void>();
}

Result<void> refuse_images(Fields& fields) {
  const Json* images = fields.array("images");
  if (images != nullptr && !images->empty()) return invalid("image input is not supported yet");
  return {};
}

// ---- /api/generate

Result<void> read_context(const Json& tokens, PromptAsk& prompt) {
  for (const Json& token : tokens) {
    if (!token.is_number_integer()) {
      return invalid("json: cannot unmarshal into Go struct field GenerateRequest.context of type int");
    }
    prompt.context.push_back(token.get<std::uint32_t>());
  }
  return {};
}

Result<void> read_prompt(Fields& fields, Ask& ask) {
  PromptAsk& prompt = std::get<PromptAsk>(ask.input);
  prompt.prompt = fields.text("prompt");
  prompt.suffix = fields.text("suffix");
  prompt.system = fields.text("system");
  prompt.template_text = fields.text("template");
  prompt.raw = fields.flag("raw").value_or(false);
  ask.want_tokens = !prompt.raw;
  const Json* context = fields.array("context");
  if (auto refused = refuse_images(fields); !refused) return refused;
  if (fields.error()) return *fields.error();
  const bool has_context = context != nullptr && !context->empty();
  if (prompt.raw && (!prompt.template_text.empty() || !prompt.system.empty() || has_context)) {
    return invalid("raw mode does not support template, system, or context");
  }
  // Between prompt and suffix there is no room for it.
  return has_context && prompt.suffix.empty() ? read_context(*context, prompt) : Result<void>();
}

// ---- /api/chat

Result<void> read_calls(Fields& fields, AskReader& reader, pb::Message& message) {
  const Json* calls = fields.array("tool_calls");
  if (calls == nullptr) return {};
  for (const Json& call : *calls) {
    const auto function = call.is_object() ? call.find("function") : call.end();
    if (!call.is_object() || function == call.end() || !function->is_object()) {
      return invalid("json: tool_calls must hold objects with a function");
    }
    Fields call_fields(call, "ToolCall");
    Fields function_fields(*function, "ToolCallFunction");
    std::string id = call_fields.text("id");
    std::string name = function_fields.text("name");
    if (call_fields.error()) return *call_fields.error();
    if (function_fields.error()) return *function_fields.error();
    auto added = reader.call(message, std::move(id), std::move(name), function_fields.any("arguments"));
    if (!added) return added;
  }
  return {};
}

Result<void> read_message(const Json& item, AskReader& reader, pb::Message& message) {
  if (!item.is_object()) {
    return invalid("json: cannot unmarshal a message into Go struct field ChatRequest.messages of type api.Message");
  }
  Fields fields(item, "Message");
  message.set_role(lower_case(fields.text("role")));
  message.set_content(fields.text("content"));
  message.set_thinking(fields.text("thinking"));
  message.set_tool_name(fields.text("tool_name"));
  message.set_tool_call_id(fields.text("tool_call_id"));
  if (fields.error()) return *fields.error();
  if (auto read = read_calls(fields, reader, message); !read) return read;
  if (auto refused = refuse_images(fields); !refused) return refused;
  if (fields.error()) return *fields.error();
  return {};
}

Result<void> read_tools(Fields& fields, const Json& body, AskReader& reader) {
  const Json* tools = fields.array("tools");
  if (fields.error()) return *fields.error();
  if (tools == nullptr || tools->empty()) return {};
  const auto parallel = body.find("parallel_tool_calls");
  const bool one_call = parallel != body.end() && *parallel == false;
  const Json* wish = fields.any("tool_choice");
  const auto choice = wish != nullptr ? read_tool_choice(*wish) : Result<ToolChoice>(ToolChoice{});
  if (!choice) return choice.error();
  // Native clients leave the type away, write nulls, or send what clients of the other APIs send.
  OpenaiTools known;
  if (auto read = known.read(*tools, reader.warnings()); !read) return read;
  return reader.tools(known.take_functions(), *choice, one_call);
}

Result<void> read_conversation(Fields& fields, const Json& body, AskReader& reader, pb::Chat& chat) {
  if (const Json* messages = fields.array("messages")) {
    if (auto checked = AskReader::check_message_count(messages->size()); !checked) return checked;
    for (const Json& item : *messages) {
      if (auto read = read_message(item, reader, *chat.add_messages()); !read) return read;
    }
  }
  return read_tools(fields, body, reader);
}

}  // namespace

Result<void> read_ollama_options(const Json& body, AskReader& reader) {
  Json given = Json::object();
  if (const auto options = body.find("options"); options != body.end() && !options->is_null()) {
    if (!options->is_object())
      return invalid("json: cannot unmarshal options into Go struct field of type map[string]interface {}");
    given = *options;
  }
  // Some clients write options beside `options`, which take precedence. `think` is a field of the request there.
  for (const auto& [name, value] : body.items()) {
    if (name != "think" && find_parameter(name) && !given.contains(name)) given[name] = value;
  }
  return given.empty() ? Result<void>() : reader.options(given);
}

Result<Request> read_ollama_generate(Json body) {
  Fields fields(body, "GenerateRequest");
  Ask ask;
  AskReader reader(ask);
  if (auto read = read_head(fields, ask); !read) return read.error();
  auto form = make_ollama_form(Endpoint::kGenerate, ask.model);
  if (!ask.unloads()) {
    if (auto read = read_wishes(fields, body, reader, ask); !read) return read.error();
    if (auto read = read_prompt(fields, ask); !read) return read.error();
  }
  return Request{std::move(ask), std::move(form)};
}

Result<Request> read_ollama_chat(Json body) {
  Fields fields(body, "ChatRequest");
  Ask ask;
  pb::Chat& chat = ask.input.emplace<pb::Chat>();
  AskReader reader(ask);
  if (auto read = read_head(fields, ask); !read) return read.error();
  auto form = make_ollama_form(Endpoint::kChat, ask.model);
  if (!ask.unloads()) {
    if (auto read = read_wishes(fields, body, reader, ask); !read) return read.error();
    if (auto read = read_conversation(fields, body, reader, chat); !read) return read.error();
  }
  return Request{std::move(ask), std::move(form)};
}

}  // namespace drover::api
