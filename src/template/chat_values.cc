#include "template/chat_values.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace drover::go_template {
namespace {

using Field = RecordType::Field;
using Omit = RecordType::Omit;

// The fields of each record stand in the order in which the functions below fill them in.
constexpr std::array<Field, 3> kCallFunctionFields = {
    {{"Index", "Index"}, {"Name", "Name"}, {"Arguments", "Arguments"}}};
constexpr RecordType kCallFunction = {"ToolCallFunction", kCallFunctionFields};

constexpr std::array<Field, 2> kCallFields = {{{"ID", "ID"}, {"Function", "Function"}}};
constexpr RecordType kCall = {"ToolCall", kCallFields};

constexpr std::array<Field, 7> kMessageFields = {{{"Role", "Role"},
                                                  {"Content", "Content"},
                                                  {"Thinking", "Thinking"},
                                                  {"Images", "Images"},
                                                  {"ToolCalls", "ToolCalls"},
                                                  {"ToolName", "ToolName"},
                                                  {"ToolCallID", "ToolCallID"}}};
constexpr RecordType kMessage = {"Message", kMessageFields};

constexpr std::array<Field, 7> kPropertyFields = {{{"AnyOf", "anyOf", Omit::kEmpty},
                                                   {"Type", "type", Omit::kEmpty},
                                                   {"Items", "items", Omit::kNil},
                                                   {"Description", "description", Omit::kEmpty},
                                                   {"Enum", "enum", Omit::kEmpty},
                                                   {"Properties", "properties", Omit::kNil},
                                                   {"Required", "required", Omit::kEmpty}}};
constexpr RecordType kProperty = {"ToolProperty", kPropertyFields, Printing::kJson};

constexpr std::array<Field, 5> kParametersFields = {{{"Type", "type"},
                                                     {"Defs", "$defs", Omit::kNil},
                                                     {"Items", "items", Omit::kNil},
                                                     {"Required", "required", Omit::kEmpty},
                                                     {"Properties", "properties"}}};
constexpr RecordType kParameters = {"ToolFunctionParameters", kParametersFields, Printing::kJson};

constexpr std::array<Field, 3> kFunctionFields = {
    {{"Name", "name"}, {"Description", "description"}, {"Parameters", "parameters"}}};
constexpr RecordType kFunction = {"ToolFunction", kFunctionFields, Printing::kJson};

constexpr std::array<Field, 3> kToolFields = {
    {{"Type", "type"}, {"Items", "items", Omit::kNil}, {"Function", "function"}}};
constexpr RecordType kTool = {"Tool", kToolFields, Printing::kJson};

// Reads the fields of a JSON object into Go's types. Only the fields that Ollama knows are read. The first error stays.
class Reader {
 public:
  // `object` may be nil, which is an object without fields.
  Reader(const Value& object, std::string path, std::optional<Error>& error)
      : object_(object.get_if<Map>()), path_(std::move(path)), error_(error) {
    if (object_ == nullptr && !object.is_nil()) fail("", "an object");
  }

  Value any(std::string_view name) const { return sorted_by_key(field(name)); }

  Value text(std::string_view name) const {
    const Value& value = field(name);
    if (value.is_nil()) return Value("");
    if (!value.get_if<Text>()) fail(name, "a string");
    return value;
  }

  Value texts(std::string_view name) const {
    const Value& value = field(name);
    if (value.is_nil()) return Value(List{});
    const auto* list = value.get_if<List>();
    for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) {
      if (!(*list)[i].get_if<Text>()) list = nullptr;
    }
    if (list == nullptr) fail(name, "a list of strings");
    return value;
  }

  // "type" is one string or a list of them.
  Value types(std::string_view name) const {
    const Value& value = field(name);
    if (value.get_if<Text>()) return Value::list({value}, Printing::kSingle);
    List list = value.is_nil() ? List{} : List(*texts(name).get_if<List>());
    list.printing = Printing::kSingle;
    return Value(std::move(list));
  }

  Value list(std::string_view name) const {
    const Value& value = field(name);
    if (value.is_nil()) return Value(List{});
    if (!value.get_if<List>()) fail(name, "a list");
    return sorted_by_key(value);
  }

  // What `read` makes of each item of a list.
  template <typename Read>
  Value list_of(std::string_view name, const Read& read) const {
    const Value& value = field(name);
    const auto* items = value.get_if<List>();
    if (items == nullptr) {
      if (!value.is_nil()) fail(name, "a list");
      return Value(List{});
    }
    std::vector<Value> results;
    for (std::size_t i = 0; i < items->size(); ++i) {
      results.push_back(read(Reader((*items)[i], path_of(fmt::format("{}[{}]", name, i)), error_)));
    }
    return Value::list(std::move(results));
  }

  // What `read` makes of each entry of an object, in the order given.
  template <typename Read>
  Value map_of(std::string_view name, const Read& read) const {
    const Value& value = field(name);
    const auto* entries = value.get_if<Map>();
    if (entries == nullptr) {
      if (!value.is_nil()) fail(name, "an object");
      return Value(Map{nullptr, Printing::kJson});
    }
    Map::Entries results;
    for (const auto& [key, entry] : *entries->entries) {
      results.emplace_back(key, read(Reader(entry, path_of(fmt::format("{}.{}", name, key)), error_)));
    }
    return Value::map(std::move(results), Printing::kJson);
  }

  Reader object(std::string_view name) const { return Reader(field(name), path_of(name), error_); }

 private:
  const Value& field(std::string_view name) const {
    static const Value kNothing;
    const Value* found = object_ != nullptr ? object_->find(name) : nullptr;
    return found != nullptr ? *found : kNothing;
  }
  std::string path_of(std::string_view name) const { return name.empty() ? path_ : fmt::format("{}.{}", path_, name); }
  void fail(std::string_view name, std::string_view wanted) const {
    if (!error_) error_ = invalid(fmt::format("{} must be {}", path_of(name), wanted));
  }

  const Map* object_;
  std::string path_;
  std::optional<Error>& error_;
};

Value property_value(const Reader& reader) {
  return Value::record(kProperty, {reader.list_of("anyOf", property_value), reader.types("type"), reader.any("items"),
                                   reader.text("description"), reader.list("enum"),
                                   reader.map_of("properties", property_value), reader.texts("required")});
}

Value tool_value(const Reader& tool) {
  const Reader function = tool.object("function");
  const Reader parameters = function.object("parameters");
  // A Go map, unlike the ordered ones of nested properties.
  const Value properties = parameters.map_of("properties", property_value);
  return Value::record(
      kTool,
      {tool.text("type"), tool.any("items"),
       Value::record(kFunction, {function.text("name"), function.text("description"),
                                 Value::record(kParameters, {parameters.text("type"), parameters.any("$defs"),
                                                             parameters.any("items"), parameters.texts("required"),
                                                             sorted_by_key(properties)})})});
}

Result<Value> arguments_value(const ToolCall& call) {
  if (call.arguments_json.empty()) return Value::map({}, Printing::kJson);
  const auto parsed = parse_json(call.arguments_json);
  const auto* object = parsed ? parsed->get_if<Map>() : nullptr;
  if (object == nullptr) {
    return invalid(fmt::format("the arguments of the tool call {} are not a JSON object", call.name));
  }
  Map arguments = *sorted_by_key(*parsed).get_if<Map>();
  arguments.printing = Printing::kJson;
  return Value(std::move(arguments));
}

Result<Value> tool_calls_value(const Message& message) {
  if (message.tool_calls.empty()) return Value(List{});
  std::vector<Value> calls;
  for (const ToolCall& call : message.tool_calls) {
    auto arguments = arguments_value(call);
    if (!arguments) return arguments;
    const Value function =
        Value::record(kCallFunction, {Value(std::int64_t{call.index}), Value(call.name), *std::move(arguments)});
    calls.push_back(Value::record(kCall, {Value(call.id), function}));
  }
  return Value::list(std::move(calls));
}

}  // namespace

Collated collate(std::span<const Message> messages) {
  Collated result;
  bool has_system = false;
  for (const Message& message : messages) {
    if (message.role == "system") {
      if (has_system) result.system += "\n\n";
      result.system += message.content;
      has_system = true;
    }
    if (!result.messages.empty() && result.messages.back().role == message.role && message.role != "tool") {
      // Only the text is kept of those that follow, as in Ollama.
      result.messages.back().content += "\n\n" + message.content;
    } else {
      result.messages.push_back(message);
    }
  }
  return result;
}

Result<Value> messages_value(std::span<const Message> messages) {
  std::vector<Value> list;
  list.reserve(messages.size());
  for (const Message& message : messages) {
    auto calls = tool_calls_value(message);
    if (!calls) return calls;
    // Images are marked in the content; the list of them is empty here.
    list.push_back(
        Value::record(kMessage, {Value(message.role), Value(message.content), Value(message.thinking), Value(List{}),
                                 *std::move(calls), Value(message.tool_name), Value(message.tool_call_id)}));
  }
  return Value::list(std::move(list));
}

Result<Value> tools_value(std::string_view tools_json) {
  const Value none(List{nullptr, 0, 0, Printing::kJson});
  if (tools_json.empty()) return none;
  const auto parsed = parse_json(tools_json);
  if (!parsed) return invalid("tools: " + parsed.error().message);
  if (parsed->is_nil()) return none;
  const auto* items = parsed->get_if<List>();
  if (items == nullptr) return invalid("tools must be a list");
  std::optional<Error> error;
  std::vector<Value> tools;
  for (std::size_t i = 0; i < items->size(); ++i) {
    tools.push_back(tool_value(Reader((*items)[i], fmt::format("tools[{}]", i), error)));
  }
  if (error) return *error;
  return Value::list(std::move(tools), Printing::kJson);
}

}  // namespace drover::go_template
