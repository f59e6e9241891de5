#include "api/kept_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "api/json.h"
#include "api/openai_answer.h"

namespace drover::api {
namespace {

constexpr std::size_t kLimitMax = 100;

// An input item as OpenAI shows it: with an id, and text as a list of parts.
Json shown_item(Json item, const std::string& response, std::size_t index) {
  if (!item.contains("type") || item["type"].is_null()) item["type"] = "message";
  const auto id = item.find("id");
  if (id == item.end() || !id->is_string()) {
    item["id"] = fmt::format("{}_{}_{}", item["type"] == "message" ? "msg" : "item", response, index);
  }
  const auto content = item.find("content");
  if (item["type"] == "message" && content != item.end() && content->is_string()) {
    const bool answer = item.contains("role") && item["role"] == "assistant";
    const Json part{{"type", answer ? "output_text" : "input_text"}, {"text", *content}};
    *content = Json::array({part});
  }
  return item;
}

std::vector<Json> shown_items(const KeptResponse& kept) {
  std::vector<Json> items;
  for (Json& item : Json::parse(*kept.input)) {
    if (item.is_object()) items.push_back(shown_item(std::move(item), kept.id, items.size()));
  }
  return items;
}

}  // namespace

std::string kept_response_text(const KeptResponse& kept) {
  Json body = Json::parse(*kept.body);
  Json& output = body["output"] = Json::array();
  for (const auto& [id, text] : kept.items) output.push_back(Json::parse(*text));
  return to_text(body);
}

Result<ItemPage> read_item_page(std::string_view limit, std::string_view order, std::string_view after) {
  ItemPage page;
  page.after = after;
  if (!limit.empty()) {
    const char* const end = limit.data() + limit.size();
    const auto read = std::from_chars(limit.data(), end, page.limit);
    if (read.ec != std::errc() || read.ptr != end || page.limit < 1 || page.limit > kLimitMax) {
      return invalid(fmt::format("limit must be a number from 1 to {}", kLimitMax));
    }
  }
  if (!order.empty() && order != "asc" && order != "desc") return invalid("order must be \"asc\" or \"desc\"");
  page.oldest_first = order == "asc";
  return page;
}

Result<std::string> input_items_text(const KeptResponse& kept, const ItemPage& page) {
  std::vector<Json> items = shown_items(kept);
  if (!page.oldest_first) std::reverse(items.begin(), items.end());
  auto first = items.begin();
  if (!page.after.empty()) {
    first = std::find_if(items.begin(), items.end(), [&](const Json& item) { return item["id"] == page.after; });
    if (first == items.end()) return item_not_found(page.after);
    ++first;
  }
  const auto count = std::min(page.limit, static_cast<std::size_t>(items.end() - first));
  Json body = Json::object();
  body["object"] = "list";
  body["data"] = Json(std::vector<Json>(first, first + static_cast<std::ptrdiff_t>(count)));
  body["first_id"] = count > 0 ? body["data"].front()["id"] : Json(nullptr);
  body["last_id"] = count > 0 ? body["data"].back()["id"] : Json(nullptr);
  body["has_more"] = first + static_cast<std::ptrdiff_t>(count) != items.end();
  return to_text(body);
}

}  // namespace drover::api
