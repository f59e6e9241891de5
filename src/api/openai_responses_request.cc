#include <fmt/format.h>

#include <utility>

#include "api/ask_reader.h"
#include "api/openai_answer.h"
#include "api/openai_request.h"
#include "api/openai_responses.h"
#include "api/openai_responses_answer.h"
#include "api/openai_tools.h"
#include "base/text.h"

namespace drover::api {
namespace {

constexpr std::size_t kReferredBytesMax = 64 << 20;
// A longer one is not kept; then it need not lie here a second time while the request waits.
constexpr std::size_t kKeptInputBytesMax = ResponseMemoryLimits{}.bytes_max / ResponseMemoryLimits{}.client_part;

// Turns items into messages: a thought belongs to the assistant's message after it, calls to the one before.
class ItemReader {
 public:
  ItemReader(const OpenaiTools& tools, AskReader& reader, pb::Chat& chat)
      : tools_(tools), reader_(reader), chat_(chat) {}

  Result<void> read(const Json& item) {
    if (!item.is_object()) return invalid("an input item must be an object");
    Fields fields(item, "ResponsesInputItem");
    std::string type = fields.text("type");
    const std::string role = fields.text("role");
    if (fields.error()) return *fields.error();
    if (type.empty() && !role.empty()) type = "message";
    if (type == "message") return read_message(fields, role);
    if (type == "function_call" || type == "custom_tool_call") return read_call(fields, type == "custom_tool_call");
    if (type == "function_call_output" || type == "custom_tool_call_output") return read_output(fields);
    if (type == "reasoning") return read_reasoning(fields);
    if (type.empty()) return invalid("input item missing required 'type' field");
    // What other servers ran or hid, and what is newer than this: the conversation goes on without it.
    reader_.warnings().add(fmt::format("input items of the type \"{}\" are skipped", type));
    return {};
  }

  pb::Message& add(std::string_view role, std::string content) {
    pb::Message& message = *chat_.add_messages();
    message.set_role(lower_case(role));
    message.set_content(std::move(content));
    return message;
  }

  std::size_t count() const { return static_cast<std::size_t>(chat_.messages_size()); }

 private:
  Result<void> read_message(Fields& fields, const std::string& role) {
    const Json* content = fields.any("content");
    const ContentOf of = role == "assistant" ? ContentOf::kAnswer : ContentOf::kQuestion;
    auto text = read_openai_content(content, of, reader_.warnings());
    if (!text) return std::move(text).error();
    pb::Message& message = add(role == "developer" ? "system" : role, std::move(*text));
    if (role == "assistant") take_thought(message);
    return {};
  }

  Result<void> read_call(Fields& fields, bool custom) {
    std::string id = fields.text("call_id");
    std::string name = tools_.function_of(fields.text("namespace"), fields.text("name"));
    const Json input = custom ? custom_arguments(fields.text("input")) : Json();
    if (fields.error()) return *fields.error();
    const int last = chat_.messages_size() - 1;
    const bool goes_on = last >= 0 && chat_.messages(last).role() == "assistant";
    pb::Message& message = goes_on ? *chat_.mutable_messages(last) : add("assistant", "");
    take_thought(message);
    return reader_.call(message, std::move(id), std::move(name), custom ? &input : fields.any("arguments"));
  }

  Result<void> read_output(Fields& fields) {
    const std::string id = fields.text("call_id");
    const Json* output = fields.any("output");
    if (fields.error()) return *fields.error();
    auto text = read_openai_content(output, ContentOf::kResult, reader_.warnings());
    if (!text) return std::move(text).error();
    pb::Message& message = add("tool", std::move(*text));
    message.set_tool_call_id(id);
    message.set_tool_name(reader_.called(id));
    return {};
  }

  // Here a thought stands in `encrypted_content` as it is. What others have put there cannot be read: then its summary
  // has to do.
  Result<void> read_reasoning(Fields& fields) {
    thought_ = texts_of(fields.array("content"));
    if (thought_.empty()) thought_ = texts_of(fields.array("summary"));
    const std::string kept = fields.text("encrypted_content");
    if (fields.error()) return *fields.error();
    if (!thought_.empty() || kept.empty()) return {};
    if (kept.find(' ') == std::string::npos && kept.size() > kWordBytesMax) {
      reader_.warnings().add("encrypted reasoning is skipped");
    } else {
      thought_ = kept;
    }
    return {};
  }

  static std::string texts_of(const Json* parts) {
    std::string all;
    if (parts == nullptr) return all;
    for (const Json& part : *parts) {
      const auto text = part.is_object() ? part.find("text") : part.end();
      if (text == part.end() || !text->is_string()) continue;
      if (!all.empty()) all += '\n';
      all += text->get<std::string>();
    }
    return all;
  }

  void take_thought(pb::Message& message) {
    if (thought_.empty()) return;
    message.set_thinking(std::move(thought_));
    thought_.clear();
  }

  // A text without a space that is longer than this is none that a model thought.
  static constexpr std::size_t kWordBytesMax = 64;

  const OpenaiTools& tools_;
  AskReader& reader_;
  pb::Chat& chat_;
  std::string thought_;
};

bool is_reference(const Json& item) {
  if (!item.is_object()) return false;
  const auto type = item.find("type");
  if (type != item.end() && !type->is_null()) return *type == "item_reference";
  const auto id = item.find("id");
  return id != item.end() && id->is_string() && !item.contains("role");
}

std::string id_of(const Json& item) {
  const auto id = item.find("id");
  return id != item.end() && id->is_string() ? id->get<std::string>() : std::string();
}

// Puts items in the place of what refers to them, so that `input` is as if the client had sent them.
Result<void> resolve(Json& input, const RecalledItems& recalled, JsonReader& reader) {
  if (!input.is_array()) return {};
  std::size_t index = 0, bytes = 0;
  for (Json& item : input) {
    if (is_reference(item)) {
      const std::string id = id_of(item);
      if (id.empty()) return invalid(fmt::format("input[{}]: an item_reference needs an id", index));
      const auto found = recalled.items.find(id);
      if (found == recalled.items.end()) return item_not_found(id);
      bytes += found->second->size();  // one item may be referred to any number of times
      if (bytes > kReferredBytesMax) return invalid("the referenced items are too long in total");
      if (auto fault = reader.read(*found->second, item)) return invalid(std::move(fault->message));
    }
    ++index;
  }
  return {};
}

Result<void> read_items(const Json& items, ItemReader& reader) {
  std::size_t index = 0;
  for (const Json& item : items) {
    if (auto read = reader.read(item); !read) {
      return invalid(fmt::format("input[{}]: {}", index, read.error().message));
    }
    ++index;
  }
  return {};
}

Result<void> read_before(const RecalledItems& recalled, JsonReader& texts, ItemReader& reader) {
  for (const ItemText& text : recalled.before) {
    Json json;
    if (auto fault = texts.read(*text, json)) return invalid(std::move(fault->message));
    if (auto read = json.is_array() ? read_items(json, reader) : reader.read(json); !read) return read;
  }
  return {};
}

Result<void> read_messages(Fields& fields, const RecalledItems& recalled, JsonReader& texts, ItemReader reader) {
  if (std::string instructions = fields.text("instructions"); !instructions.empty()) {
    reader.add("system", std::move(instructions));
  }
  const Json* input = fields.any("input");
  if (fields.error()) return *fields.error();
  if (input == nullptr && recalled.before.empty()) return invalid("input is required");
  if (auto read = read_before(recalled, texts, reader); !read) return read;
  if (input != nullptr && input->is_string()) {
    reader.add("user", input->get<std::string>());
  } else if (input != nullptr && input->is_array()) {
    if (auto read = read_items(*input, reader); !read) return read;
  } else if (input != nullptr) {
    return invalid("input must be a string or array");
  }
  if (reader.count() == 0) return invalid("input is required");
  return AskReader::check_message_count(reader.count());
}

// What is kept of a request, so that a later one can go on from its answer: a list of items.
ItemText kept_input(const Json& body) {
  const auto input = body.find("input");
  Json items = Json::array();
  if (input == body.end() || input->is_null()) return std::make_shared<const std::string>("[]");
  if (!input->is_string()) return std::make_shared<const std::string>(to_text(*input));
  items.push_back(Json{{"role", "user"}, {"content", *input}});
  return std::make_shared<const std::string>(to_text(items));
}

void refuse_state(Fields& fields) {
  for (const char* name : {"conversation", "prompt"}) {
    if (fields.any(name) == nullptr) continue;
    fields.fail(fmt::format("{} is not supported: send the whole conversation, or previous_response_id", name));
  }
  if (fields.flag("background").value_or(false)) fields.fail("background is not supported");
}

// What is read of a body or repeated in the answer, and what asks for nothing that an answer could lack.
constexpr std::string_view kResponsesFields =
    " model input instructions max_output_tokens stream stream_options text reasoning tools tool_choice "
    "parallel_tool_calls"
    " options keep_alive _debug_render_only repetition_penalty n_predict store metadata"
    " previous_response_id conversation prompt background truncation include service_tier user"
    " client_metadata prompt_cache_key prompt_cache_retention safety_identifier ";

// What a response repeats, with OpenAI's defaults.
Json echo_of(const Json& body, bool kept) {
  Json echo = Json::object();
  const auto field = [&](const char* name, Json otherwise) {
    const auto found = body.find(name);
    echo[name] = found == body.end() || found->is_null() ? std::move(otherwise) : *found;
  };
  field("model", nullptr);
  field("previous_response_id", nullptr);
  field("instructions", nullptr);
  field("tools", Json::array());
  field("tool_choice", "auto");
  field("truncation", "disabled");
  field("parallel_tool_calls", true);
  field("text", Json{{"format", Json{{"type", "text"}}}});
  field("top_p", kOpenaiTopP);
  field("temperature", kOpenaiTemperature);
  field("reasoning", nullptr);
  field("max_output_tokens", nullptr);
  echo["max_tool_calls"] = nullptr;
  echo["store"] = kept;
  echo["background"] = false;
  echo["service_tier"] = "default";
  field("metadata", Json::object());
  return echo;
}

// The parts of a body that are objects of their own: text.format and reasoning.effort.
Result<void> read_nested(Fields& fields, AskReader& reader, Ask& ask) {
  if (const Json* text = fields.object("text")) {
    Fields inner(*text, "ResponsesText");
    if (const Json* given = inner.object("format")) {
      const auto format = read_openai_format(*given);
      if (!format) return format.error();
      if (auto kept = reader.format(*format); !kept) return kept;
    }
    if (inner.error()) return *inner.error();
  }
  if (const Json* reasoning = fields.object("reasoning")) {
    Fields inner(*reasoning, "ResponsesReasoning");
    auto think = think_of_effort(inner.text("effort"));
    if (inner.error()) return *inner.error();
    if (!think) return std::move(think).error();
    ask.think = std::move(*think);
  }
  return {};
}

Result<void> read_choice(Fields& fields, AskReader& reader, OpenaiTools& tools) {
  const bool one_call = !fields.flag("parallel_tool_calls").value_or(true);
  const Json* wish = fields.any("tool_choice");
  if (fields.error()) return *fields.error();
  const auto choice = wish != nullptr ? tools.choose(*wish) : Result<ToolChoice>(ToolChoice{});
  if (!choice) return choice.error();
  return reader.tools(tools.take_functions(), *choice, one_call);
}

// What is done with the answer once it is whole; null: nothing.
KeepResponse keep_with_input(const Json& body, const std::string& previous, KeepResponse keep) {
  if (!keep) return nullptr;
  ItemText input = kept_input(body);
  if (input->size() > kKeptInputBytesMax) return nullptr;
  return [keep = std::move(keep), previous, input = std::move(input)](KeptResponse response) {
    response.previous = previous;
    response.input = input;
    keep(std::move(response));
  };
}

}  // namespace

ResponseReferences references_of(const Json& body) {
  ResponseReferences references;
  if (const auto id = body.find("previous_response_id"); id != body.end() && id->is_string()) {
    references.previous = id->get<std::string>();
  }
  const auto input = body.find("input");
  if (input == body.end() || !input->is_array()) return references;
  for (const Json& item : *input) {
    if (is_reference(item)) references.items.push_back(id_of(item));
  }
  return references;
}

Result<Request> read_response(Json body, const RecalledItems& recalled, KeepResponse keep) {
  JsonReader texts(kBodyBounds);
  if (const auto input = body.find("input"); input != body.end()) {
    if (auto resolved = resolve(*input, recalled, texts); !resolved) return resolved.error();
  }
  Fields fields(body, "ResponsesRequest");
  Ask ask;
  pb::Chat& chat = ask.input.emplace<pb::Chat>();
  AskReader reader(ask);
  OpenaiTools tools;
  refuse_state(fields);
  const std::string previous = fields.text("previous_response_id");
  if (!fields.flag("store").value_or(true)) keep = nullptr;
  ask.model = fields.text("model");
  ask.stream = fields.flag("stream").value_or(false);
  if (auto read = read_openai_additions(fields, ask); !read) return read.error();
  if (auto read = read_openai_options(body, fields, "max_output_tokens", reader); !read) return read.error();
  if (auto read = read_nested(fields, reader, ask); !read) return read.error();
  // The conversation may name a tool in the way of its definition.
  if (const Json* list = fields.array("tools")) {
    if (auto read = tools.read(*list, ask.warnings); !read) return read.error();
  }
  if (auto read = read_messages(fields, recalled, texts, ItemReader(tools, reader, chat)); !read) return read.error();
  if (auto read = read_choice(fields, reader, tools); !read) return read.error();
  name_ignored(body, kResponsesFields, ask.warnings);
  KeepResponse finish = keep_with_input(body, previous, std::move(keep));
  Json echo = echo_of(body, finish != nullptr);
  auto form = make_openai_response_form(std::move(echo), std::move(tools), std::move(finish));
  return Request{std::move(ask), std::move(form)};
}

Result<Request> read_openai_response(Json body) {
  const ResponseReferences references = references_of(body);
  if (!references.previous.empty()) return previous_response_not_found(references.previous);
  return read_response(std::move(body), {}, nullptr);
}

}  // namespace drover::api
