#include "schema/plain_types.h"

#include <string>

#include "schema/references.h"

namespace drover::schema {
namespace {

// Schemas that are looked at to find the types of one tool: references may lead to many, and in a circle.
constexpr int kLooksMax = 1000;

const char* type_of_value(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "boolean";
  if (value.is_number_integer()) return "integer";
  if (value.is_number()) return "number";
  if (value.is_array()) return "array";
  return value.is_object() ? "object" : "string";
}

// The first that is one, and not null.
std::string first_type(const Json& types) {
  for (const Json& type : types) {
    if (type.is_string() && type != "null") return type.get<std::string>();
  }
  return "string";
}

class Typing {
 public:
  explicit Typing(const Json& root) : references_(root) {}

  // Whether anything was changed.
  bool changed() const { return changed_; }

  void properties_of(Json& schema) {
    const auto properties = schema.find("properties");
    if (properties == schema.end() || !properties->is_object()) return;
    for (Json& property : *properties) type_plainly(property);
  }

 private:
  void type_plainly(Json& schema) {
    if (schema == false) return;  // nothing is allowed there
    if (!schema.is_object()) set(schema, Json::object());
    const auto type = schema.find("type");
    if (type == schema.end() || !type->is_string()) {
      const std::string found = type_of(schema);
      set(schema["type"], found);
    }
    for (const char* text : {"description", "title"}) {
      if (const auto found = schema.find(text); found != schema.end() && !found->is_string()) {
        schema.erase(text);
        changed_ = true;
      }
    }
    const bool in_order = schema.contains("items") && schema["items"].is_array();  // one schema for each item
    if (schema["type"] == "array" && !in_order) type_plainly(schema["items"]);
    properties_of(schema);
  }

  std::string type_of(const Json& schema) {
    if (!schema.is_object() || --looks_left_ < 0) return "string";
    if (const auto type = schema.find("type"); type != schema.end()) {
      if (type->is_string()) return type->get<std::string>();
      if (type->is_array()) return first_type(*type);
    }
    if (References::is_one(schema)) {
      const Json* target = references_.target(schema);
      return target != nullptr ? type_of(*target) : "object";
    }
    Json types = Json::array();
    for (const char* choice : {"anyOf", "oneOf", "allOf"}) {
      const auto branches = schema.find(choice);
      if (branches == schema.end() || !branches->is_array()) continue;
      for (const Json& branch : *branches) types.push_back(type_of(branch));
      return first_type(types);
    }
    if (const auto value = schema.find("const"); value != schema.end()) return type_of_value(*value);
    if (const auto values = schema.find("enum"); values != schema.end() && values->is_array()) {
      for (const Json& value : *values) types.push_back(type_of_value(value));
      return first_type(types);
    }
    if (schema.contains("properties") || schema.contains("additionalProperties")) return "object";
    return schema.contains("items") ? "array" : "string";
  }

  void set(Json& place, Json value) {
    place = std::move(value);
    changed_ = true;
  }

  References references_;
  int looks_left_ = kLooksMax;
  bool changed_ = false;
};

}  // namespace

std::optional<Json> plainly_typed(const Json& tools) {
  Json typed = tools;
  bool changed = false;
  for (Json& tool : typed) {
    if (!tool.is_object() || !tool.contains("function") || !tool["function"].is_object()) continue;
    const auto parameters = tool["function"].find("parameters");
    if (parameters == tool["function"].end() || !parameters->is_object()) continue;
    const Json root = *parameters;
    Typing typing(root);
    typing.properties_of(*parameters);
    changed = changed || typing.changed();
  }
  if (!changed) return std::nullopt;
  return typed;
}

void keep_types(const Json& sent, Json& rewritten) {
  const auto properties = sent.find("properties");
  if (properties == sent.end() || !properties->is_object() || !rewritten.contains("properties")) return;
  for (auto& [name, property] : rewritten["properties"].items()) {
    if (!property.is_object() || property.empty() || property.contains("type")) continue;
    const auto own = properties->find(name);
    if (own == properties->end() || !own->is_object() || !own->contains("type")) continue;
    if ((*own)["type"].is_string()) property["type"] = (*own)["type"];
  }
}

}  // namespace drover::schema
