// A conversation as the templates of Ollama see it: under Go's field names, with tools as their Go structs.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "template/template.h"
#include "template/value.h"

namespace drover::go_template {

// A conversation with the messages of one role that follow each other joined (except a tool's), and all that the
// system said.
struct Collated {
  std::string system;
  std::vector<Message> messages;
};
Collated collate(std::span<const Message> messages);

// Messages as a list of records. Error: kInvalidArgument if the arguments of a tool call are not a JSON object.
Result<Value> messages_value(std::span<const Message> messages);

// Tools as a list of records; nil if there are none. Error: kInvalidArgument, naming the field.
Result<Value> tools_value(std::string_view tools_json);

}  // namespace drover::go_template
