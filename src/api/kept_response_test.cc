#include "api/kept_response.h"

#include <gtest/gtest.h>

#include "api/json.h"

namespace drover::api {
namespace {

KeptResponse kept(std::string input) {
  const auto text = [](std::string of) { return std::make_shared<const std::string>(std::move(of)); };
  return {"resp_1",
          "",
          text(std::move(input)),
          {{"rs_1", text(R"({"id":"rs_1"})")}, {"msg_1", text(R"({"id":"msg_1"})")}},
          text(R"({"id":"resp_1","output":[],"usage":null})")};
}

constexpr const char* kInput = R"([{"role":"user","content":"Hello"},
  {"type":"message","role":"assistant","content":"Yes?","id":"msg_0"},
  {"type":"function_call_output","call_id":"c","output":"noon"}])";

Json page_of(const char* limit, const char* order, const char* after) {
  const auto page = read_item_page(limit, order, after);
  if (!page) return page.error().message;
  const auto text = input_items_text(kept(kInput), *page);
  return text ? Json::parse(*text) : Json(text.error().message);
}

TEST(KeptResponse, TheAnswerAsItWas) {
  EXPECT_EQ(kept_response_text(kept("[]")), R"({"id":"resp_1","output":[{"id":"rs_1"},{"id":"msg_1"}],"usage":null})");
}

TEST(KeptResponse, ItemsHaveIdsAndTheirTextInParts) {
  const Json page = page_of("", "asc", "");
  EXPECT_EQ(page["data"][0].dump(),
            R"({"role":"user","content":[{"type":"input_text","text":"Hello"}],"type":"message","id":"msg_resp_1_0"})");
  EXPECT_EQ(page["data"][1]["content"].dump(), R"([{"type":"output_text","text":"Yes?"}])");
  EXPECT_EQ(page["data"][2]["id"], "item_resp_1_2");
  EXPECT_EQ(page["first_id"], "msg_resp_1_0");
  EXPECT_EQ(page["last_id"], "item_resp_1_2");
  EXPECT_EQ(page["has_more"], false);
  EXPECT_EQ(input_items_text(kept("[]"), {}).value(),
            R"({"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false})");
  EXPECT_NE(input_items_text(kept("[5, [1]]"), {}).value().find("\"data\":[]"), std::string::npos);
}

TEST(KeptResponse, Pages) {
  const auto ids = [](const Json& page) {
    std::string all;
    for (const Json& item : page["data"]) all += item["id"].get<std::string>() + " ";
    return all + (page["has_more"] == true ? "…" : "");
  };
  EXPECT_EQ(ids(page_of("", "", "")), "item_resp_1_2 msg_0 msg_resp_1_0 ");
  EXPECT_EQ(ids(page_of("2", "", "")), "item_resp_1_2 msg_0 …");
  EXPECT_EQ(ids(page_of("2", "desc", "msg_0")), "msg_resp_1_0 ");
  EXPECT_EQ(ids(page_of("1", "asc", "msg_0")), "item_resp_1_2 ");
  EXPECT_EQ(ids(page_of("1", "asc", "item_resp_1_2")), "");
  for (const char* limit : {"0", "101", "-1", "x", "5x", "99999999999999999999"}) {
    EXPECT_EQ(page_of(limit, "", ""), "limit must be a number from 1 to 100") << limit;
  }
  EXPECT_EQ(page_of("", "up", ""), "order must be \"asc\" or \"desc\"");
  EXPECT_TRUE(page_of("", "", "msg_9").get<std::string>().starts_with("Item with id 'msg_9' not found."));
}

}  // namespace
}  // namespace drover::api
