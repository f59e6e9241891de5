#include "api/call_arguments.h"

namespace drover::api {
namespace {

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

Result<Json> call_arguments(const Json* given, JsonReader& reader, Warnings& warnings) {
  if (given == nullptr || given->is_null()) return Json::object();
  Json value = *given;
  // Some clients write an object as JSON in a string, some do it twice.
  for (int i = 0; i < 2 && value.is_string(); ++i) {
    const auto& text = value.get_ref<const std::string&>();
    if (is_blank(text)) return Json::object();
    Json read;
    const auto fault = reader.read(text, read);
    if (fault && fault->kind != JsonFault::Kind::kSyntax) return invalid("tool call arguments: " + fault->message);
    if (fault || (i > 0 && !read.is_object())) break;
    value = std::move(read);
  }
  if (value.is_null()) return Json::object();
  if (value.is_object()) return value;
  warnings.add("the arguments of a tool call are no JSON object: the model sees them as its \"input\"");
  Json wrapped = Json::object();
  wrapped["input"] = std::move(value);
  return wrapped;
}

}  // namespace drover::api
