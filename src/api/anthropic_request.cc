#include "api/anthropic_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "api/anthropic_answer.h"
#include "api/ask_reader.h"
#include "base/settings.h"
#include "base/text.h"

namespace drover::api {
namespace {

// Claude Code's first system block. It is addressed to Anthropic's billing and changes with each conversation, so that
// no two of them would have a beginning of their prompt in common.
constexpr std::string_view kBillingHeader = "x-anthropic-billing-header:";
// Tools of these types are run by Anthropic's servers. Others that have a type are known to Anthropic's models, and run
// by the client as any other.
constexpr std::string_view kHostedTools[] = {"web_search_",      "web_fetch_",  "code_execution_",
                                             "tool_search_tool", "mcp_toolset", "advisor_"};

bool is_hosted(std::string_view type) {
  return std::any_of(std::begin(kHostedTools), std::end(kHostedTools),
                     [&](std::string_view prefix) { return type.starts_with(prefix); });
}

// A member that is a text; empty if it is none.
std::string text_member(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void left_out(std::string_view type, Warnings& warnings) {
  warnings.add(fmt::format("content blocks of the type \"{}\" are left out", type));
}

// Content where only text counts: of a system prompt, a result, a document. What is not text is left out.
class TextReader {
 public:
  explicit TextReader(Warnings& warnings) : warnings_(warnings) {}

  // A string, or blocks, which are put together as they are. Anything else is the server's own form of a result. `at`
  // is where the content stands.
  Result<std::string> read(const Json* content, const FieldPath& at) {
    if (content == nullptr) return std::string();
    if (content->is_string()) return content->get<std::string>();
    if (!content->is_array()) return of_result(*content);
    std::string text;
    for (FieldPath path{at.parent, at.name, 0}; const Json& block : *content) {
      auto part = of_block(block, path);
      if (!part) return part;
      text += *part;
      ++path.index;
    }
    return text;
  }

  Result<std::string> of_block(const Json& block, const FieldPath& path) {
    const std::string type = text_member(block, "type");
    if (type == "text") {
      Fields fields(block, path);
      std::string text = fields.text("text");
      if (fields.error()) return *fields.error();
      return text;
    }
    if (type == "document") return of_document(block, path);
    if (type == "search_result") {
      auto text = read(block.contains("content") ? &block["content"] : nullptr, {&path, "content"});
      if (!text) return text;
      return fmt::format("{} ({})\n{}\n", text_member(block, "title"), text_member(block, "source"), *text);
    }
    if (type == "web_search_result") {
      return fmt::format("- {}: {}\n", text_member(block, "title"), text_member(block, "url"));
    }
    if (type.ends_with("_error")) return of_result(block);
    left_out(type, warnings_);
    // A result that is nothing but an image would say that there was none.
    return std::string(type == "image" ? "[an image, which is not shown to the model]" : "");
  }

  Result<std::string> of_document(const Json& block, const FieldPath& path) {
    const auto source = block.find("source");
    const std::string type = source == block.end() ? "" : text_member(*source, "type");
    std::string text;
    if (type == "text") {
      text = text_member(*source, "data");
    } else if (type == "content" && source->contains("content")) {
      const FieldPath source_path{&path, "source"};
      auto read_content = read(&source->at("content"), {&source_path, "content"});
      if (!read_content) return read_content;
      text = std::move(*read_content);
    } else {
      warnings_.add(fmt::format("documents with a source of the type \"{}\" are left out", type));
    }
    if (!text.empty() && !text.ends_with('\n')) text += '\n';
    return text;
  }

 private:
  static std::string of_result(const Json& result) {
    const std::string type = text_member(result, "type");
    if (!type.ends_with("_error")) return to_text(result);
    const std::string code = text_member(result, "error_code");
    return code.empty() ? type : type + ": " + code;
  }

  Warnings& warnings_;
};

// One message of theirs may be several of ours: tool results are messages of their own.
class MessageReader {
 public:
  MessageReader(AskReader& reader, pb::Chat& chat) : reader_(reader), chat_(chat), texts_(reader.warnings()) {}

  Result<void> read(const Json& message, const FieldPath& path) {
    if (!message.is_object()) return invalid("a message must be an object");
    Fields fields(message, path);
    role_ = fields.text("role");
    const Json* content = fields.any("content");
    if (fields.error()) return *fields.error();
    if (role_ != "user" && role_ != "assistant" && role_ != "system") {
      return invalid(fmt::format("invalid message role: \"{}\"", role_));
    }
    if (content == nullptr) return invalid("message content is required");
    if (content->is_string()) {
      add(role_, content->get<std::string>());
      return {};
    }
    if (!content->is_array()) return invalid("message content must be a string or a list of content blocks");
    for (FieldPath block_path{&path, "content", 0}; const Json& block : *content) {
      if (auto read = read_block(block, block_path); !read) return read;
      ++block_path.index;
    }
    finish();
    return {};
  }

  // Text, or blocks of it.
  Result<void> read_system(const Json* system) {
    if (system == nullptr) return {};
    std::string text;
    if (system->is_array()) {
      for (FieldPath path{nullptr, "system", 0}; const Json& block : *system) {
        auto part = texts_.of_block(block, path);
        if (!part) return std::move(part).error();
        if (path.index > 0 || !part->starts_with(kBillingHeader)) text += *part;
        ++path.index;
      }
    } else if (system->is_string()) {
      text = system->get<std::string>();
    } else {
      return invalid("system must be a string or a list of content blocks");
    }
    if (!text.empty()) add("system", std::move(text));
    return {};
  }

 private:
  pb::Message& add(std::string role, std::string content) {
    pb::Message& message = *chat_.add_messages();
    message.set_role(std::move(role));
    message.set_content(std::move(content));
    return message;
  }

  // What has been read of blocks becomes a message, unless it is nothing.
  void finish() {
    if (!own_.content().empty() || !own_.thinking().empty() || own_.tool_calls_size() > 0) {
      own_.set_role(role_);
      chat_.add_messages()->Swap(&own_);
    }
    own_.Clear();
  }

  Result<void> read_block(const Json& block, const FieldPath& path) {
    if (!block.is_object()) return invalid("a content block must be an object");
    Fields fields(block, path);
    const std::string type = fields.text("type");
    if (fields.error()) return *fields.error();
    if (type == "text" || type == "document" || type == "search_result") {
      auto text = texts_.of_block(block, path);
      if (!text) return std::move(text).error();
      own_.mutable_content()->append(*text);
    } else if (type == "thinking") {
      own_.mutable_thinking()->append(fields.text("thinking"));
    } else if (type == "image") {
      return invalid("image input is not supported yet");
    } else if (type.ends_with("tool_use")) {  // also those of servers: server_tool_use, mcp_tool_use
      return read_tool_use(fields, type == "tool_use");
    } else if (type.ends_with("tool_result")) {  // web_search_tool_result and its like
      return read_tool_result(fields, path);
    } else if (type != "redacted_thinking") {
      left_out(type, reader_.warnings());
    }
    if (fields.error()) return *fields.error();
    return {};
  }

  Result<void> read_tool_use(Fields& fields, bool strict) {
    std::string id = fields.text("id");
    std::string name = fields.text("name");
    if (fields.error()) return *fields.error();
    if (strict && id.empty()) return invalid("tool_use block missing required 'id' field");
    if (name.empty()) return invalid("tool_use block missing required 'name' field");
    return reader_.call(own_, std::move(id), std::move(name), fields.any("input"));
  }

  Result<void> read_tool_result(Fields& fields, const FieldPath& path) {
    const std::string id = fields.text("tool_use_id");
    if (fields.error()) return *fields.error();
    auto text = texts_.read(fields.any("content"), {&path, "content"});
    if (!text) return std::move(text).error();
    // A server's result stands in the model's own message, between the call and what it says then.
    if (role_ == "assistant") finish();
    pb::Message& message = add("tool", std::move(*text));
    message.set_tool_call_id(id);
    message.set_tool_name(reader_.called(id));
    return {};
  }

  AskReader& reader_;
  pb::Chat& chat_;
  TextReader texts_;
  std::string role_;
  pb::Message own_;  // what the blocks so far say, less its role
};

struct Tools {
  Json functions = Json::array();  // as AskReader::tools() takes them
  std::set<std::string> left_out;  // names
};

Result<Tools> read_list(const Json& list, Warnings& warnings) {
  Tools tools;
  for (FieldPath path{nullptr, "tools", -1}; const Json& tool : list) {
    ++path.index;
    if (!tool.is_object()) return invalid("a tool must be an object");
    Fields fields(tool, path);
    const std::string type = fields.text("type");
    const std::string name = fields.text("name");
    std::string description = fields.text("description");
    const Json* schema = fields.object("input_schema");
    if (fields.error()) return *fields.error();
    if (is_hosted(type)) {
      warnings.add(fmt::format("tools of the type \"{}\" are left out: only Anthropic's servers have them", type));
      tools.left_out.insert(name);
      continue;
    }
    if (!type.empty() && type != "custom" && description.empty()) {
      description = fmt::format("Anthropic's tool \"{}\", as its documentation of {} describes it.", name, type);
    }
    Json entry = Json::object();
    entry["type"] = "function";
    entry["function"]["name"] = name;
    entry["function"]["description"] = std::move(description);
    entry["function"]["parameters"] = schema != nullptr ? *schema : Json::object();
    if (fields.flag("strict").value_or(false)) entry["function"]["strict"] = true;
    if (fields.error()) return *fields.error();
    tools.functions.push_back(std::move(entry));
  }
  return tools;
}

Result<ToolChoice> read_choice(const Json& choice) {
  using Kind = ToolChoice::Kind;
  const FieldPath path{nullptr, "tool_choice"};
  Fields fields(choice, path);
  const std::string type = fields.text("type");
  std::string name = fields.text("name");
  if (fields.error()) return *fields.error();
  if (type == "auto") return ToolChoice{};
  if (type == "none") return ToolChoice{Kind::kNone, {}};
  if (type == "any") return ToolChoice{Kind::kRequired, {}};
  if (type == "tool") return ToolChoice{Kind::kNamed, std::move(name)};
  return invalid(fmt::format("invalid tool_choice type: \"{}\"", type));
}

// The tools, and which of them is to be called. A wish for one that was left out is none.
Result<void> read_tools(const Json* list, const Json* wish, AskReader& reader) {
  const Json none = Json::array();
  auto tools = read_list(list != nullptr ? *list : none, reader.warnings());
  if (!tools) return std::move(tools).error();
  if (wish == nullptr) return reader.tools(tools->functions, {}, false);
  const auto one = wish->find("disable_parallel_tool_use");
  const bool one_call = one != wish->end() && *one == true;
  auto choice = read_choice(*wish);
  if (!choice) return std::move(choice).error();
  if (choice->kind == ToolChoice::Kind::kNamed && tools->left_out.count(choice->name) > 0) *choice = {};
  return reader.tools(tools->functions, *choice, one_call);
}

// A format, under the name that it has, or had while it was new.
Result<std::optional<FormatAsk>> read_format(const Json* format, const char* name) {
  if (format == nullptr) return std::optional<FormatAsk>();
  const FieldPath path{nullptr, name};
  Fields fields(*format, path);
  const Json* schema = fields.object("schema");
  if (fields.text("type") != "json_schema" || schema == nullptr) {
    return invalid(fmt::format("{} must be of the type json_schema, with a schema", name));
  }
  return std::optional<FormatAsk>(FormatAsk{pb::Format::JSON_SCHEMA, *schema, false});
}

Result<void> read_effort(const std::string& effort, AskReader& reader) {
  if (effort == "xhigh" || effort == "ultra") return reader.think("max");
  return is_think_level(effort) ? reader.think(effort) : Result<void>();
}

// Thinking and effort, as Ollama reads them: "adaptive" is left to the model's default, or to the effort.
Result<void> read_output_config(Fields& fields, AskReader& reader, Ask& ask) {
  auto format = read_format(fields.object("output_format"), "output_format");
  if (!format) return std::move(format).error();
  if (const Json* config = fields.object("output_config")) {
    const FieldPath path{nullptr, "output_config"};
    Fields inner(*config, path);
    if (auto read = read_effort(lower_case(inner.text("effort")), reader); !read) return read;
    auto newer = read_format(inner.object("format"), "output_config.format");
    if (!newer) return std::move(newer).error();
    if (*newer) *format = std::move(*newer);
    if (inner.error()) return *inner.error();
  }
  if (*format) {
    if (auto read = reader.format(**format); !read) return read;
  }
  ask.think.rule = ThinkRule::kIgnore;
  if (const Json* thinking = fields.object("thinking")) {
    const FieldPath path{nullptr, "thinking"};
    Fields inner(*thinking, path);
    const std::string type = inner.text("type");
    if (inner.error()) return *inner.error();
    return type == "enabled" || type == "disabled" ? reader.think(type == "enabled") : Result<void>();
  }
  // In this API a request that does not ask for thinking gets text alone.
  return ask.think.wish == pb::THINKING_UNSET ? reader.think(false) : Result<void>();
}

Result<void> read_options(Fields& fields, AskReader& reader) {
  Json options = Json::object();
  if (const auto most = fields.integer("max_tokens")) {
    if (auto taken = take_option(options, "num_predict", "max_tokens", *most); !taken) return taken;
  }
  if (const auto temperature = fields.number("temperature")) options["temperature"] = *temperature;
  if (const auto top_p = fields.number("top_p")) options["top_p"] = *top_p;
  if (const auto top_k = fields.integer("top_k")) options["top_k"] = *top_k;
  if (const auto stops = fields.texts("stop_sequences"); !stops.empty()) {
    if (auto taken = take_option(options, "stop", "stop_sequences", stops); !taken) return taken;
  }
  if (fields.error()) return *fields.error();
  return reader.options(options);
}

Result<void> read_messages(Fields& fields, AskReader& reader, pb::Chat& chat) {
  const Json* messages = fields.array("messages");
  if (fields.error()) return *fields.error();
  if (messages == nullptr || messages->empty()) return invalid("messages is required");
  MessageReader to_chat(reader, chat);
  if (auto system = to_chat.read_system(fields.any("system")); !system) return system;
  for (FieldPath path{nullptr, "messages", 0}; const Json& message : *messages) {
    if (auto read = to_chat.read(message, path); !read) return read;
    ++path.index;
  }
  if (chat.messages_size() == 0) return invalid("messages is required");
  return AskReader::check_message_count(static_cast<std::size_t>(chat.messages_size()));
}

// What a message and its count have in common.
Result<void> read_common(Fields& fields, Ask& ask) {
  pb::Chat& chat = ask.input.emplace<pb::Chat>();
  AskReader reader(ask);
  ask.model = fields.text("model");
  if (auto read = read_options(fields, reader); !read) return read;
  if (auto read = read_output_config(fields, reader, ask); !read) return read;
  if (auto read = read_messages(fields, reader, chat); !read) return read;
  const Json* tools = fields.array("tools");
  const Json* choice = fields.object("tool_choice");
  if (fields.error()) return *fields.error();
  return read_tools(tools, choice, reader);
}

}  // namespace

Result<Request> read_anthropic_message(Json body) {
  const FieldPath path;
  Fields fields(body, path);
  Ask ask;
  const std::string model = fields.text("model");
  const std::int64_t tokens_max = fields.integer("max_tokens").value_or(0);
  ask.stream = fields.flag("stream").value_or(false);
  if (fields.error()) return *fields.error();
  if (model.empty()) return invalid("model is required");
  if (tokens_max <= 0) return invalid("max_tokens is required and must be positive");
  if (auto read = read_common(fields, ask); !read) return std::move(read).error();
  return Request{std::move(ask), make_anthropic_message_form(model)};
}

Result<Request> read_anthropic_count(Json body) {
  const FieldPath path;
  Fields fields(body, path);
  Ask ask;
  if (auto read = read_common(fields, ask); !read) return std::move(read).error();
  ask.stream = false;
  ask.truncate = false;
  ask.render_only = true;
  return Request{std::move(ask), make_anthropic_count_form()};
}

}  // namespace drover::api
