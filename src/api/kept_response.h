// Answers of /v1/responses that are kept (response_memory.h), as their clients ask for them again. Any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "api/response_memory.h"

namespace drover::api {

// GET /v1/responses/{id}: the answer as it was given.
std::string kept_response_text(const KeptResponse& kept);

// A part of a list, as its query asks for it.
struct ItemPage {
  std::size_t limit = 20;
  bool oldest_first = false;
  std::string after;  // the id of the item before the first one; empty: none
};
// Texts that are empty stand for the defaults. Error: kInvalidArgument.
Result<ItemPage> read_item_page(std::string_view limit, std::string_view order, std::string_view after);

// GET /v1/responses/{id}/input_items: what was asked, less what came from earlier answers. Each item has an id: its
// own, or one that follows from its place. Error: OpenAI's, for an `after` that names none of them.
Result<std::string> input_items_text(const KeptResponse& kept, const ItemPage& page);

}  // namespace drover::api
