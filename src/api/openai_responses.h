// Reads the body of /v1/responses, with the answers that it refers to.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/json.h"
#include "api/request.h"
#include "api/response_memory.h"

namespace drover::api {

// What a body refers to.
struct ResponseReferences {
  std::string previous;            // previous_response_id
  std::vector<std::string> items;  // of the type item_reference

  bool empty() const { return previous.empty() && items.empty(); }
};
ResponseReferences references_of(const Json& body);

// The texts that these stand for.
struct RecalledItems {
  std::vector<ItemText> before;                     // the conversation so far, oldest first
  std::unordered_map<std::string, ItemText> items;  // by id
};

// Takes an answer that is to be kept, once it is whole. I/O thread.
using KeepResponse = std::function<void(KeptResponse)>;

// Any thread. `keep` may be null. Error: kInvalidArgument.
Result<Request> read_response(Json body, const RecalledItems& recalled, KeepResponse keep);

}  // namespace drover::api
