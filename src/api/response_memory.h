// The answers of /v1/responses that were given lately, for requests that refer to them instead of repeating them
// (`previous_response_id`, items of the type `item_reference`) or ask for them. In memory alone: a server that starts
// knows none.
//
// Policy: no clock, no I/O. Used by one thread, the I/O thread; the texts it hands out may be read by any.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace drover::api {

// JSON of one item, or of a list of items.
using ItemText = std::shared_ptr<const std::string>;

// One answer and what was asked for it.
struct KeptResponse {
  std::string id;
  std::string previous;                                 // the response it went on from; empty: none
  ItemText input;                                       // a list, without what came from `previous`
  std::vector<std::pair<std::string, ItemText>> items;  // of the answer, by their ids
  ItemText body{};                                      // of the answer as its client has it, with no `output`

  std::size_t bytes() const;
};

struct ResponseMemoryLimits {
  std::size_t responses_max = 1024;
  std::size_t bytes_max = 64 << 20;           // in all
  Duration age_max = std::chrono::hours(24);  // since it was kept or last referred to
  std::size_t client_part = 4;                // one client may hold this part of the first two: 1/4
};

class ResponseMemory {
 public:
  explicit ResponseMemory(const ResponseMemoryLimits& limits) : limits_(limits) {}
  ResponseMemory() : ResponseMemory(ResponseMemoryLimits{}) {}

  // Keeps an answer for `client`; others cannot refer to it. The oldest have to go for it; one that would take more
  // than a client's part is not kept.
  void keep(std::string client, KeptResponse response, TimePoint now);

  // The conversation that ends with the answer `id`, oldest first. Error: OpenAI's, if it or one before it is not there
  // (any more).
  Result<std::vector<ItemText>> conversation(std::string_view client, const std::string& id, TimePoint now);
  // An answer, or nothing if it is not there (any more).
  std::optional<KeptResponse> response(std::string_view client, const std::string& id, TimePoint now);
  // Whether there was one to forget.
  bool forget(std::string_view client, const std::string& id, TimePoint now);
  // One item of an answer. Error: OpenAI's.
  Result<ItemText> item(std::string_view client, const std::string& id, TimePoint now);

  std::size_t size() const { return entries_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string client;
    KeptResponse response;
    std::size_t bytes = 0;
    TimePoint used;
  };
  using Place = std::list<Entry>::iterator;
  struct Share {
    std::size_t responses = 0, bytes = 0;
  };

  void drop(Place place);
  void drop_old(TimePoint now);
  Place* find(std::unordered_map<std::string, Place>& places, std::string_view client, const std::string& id);
  void touch(Place place, TimePoint now);

  const ResponseMemoryLimits limits_;
  std::list<Entry> entries_;  // that which was used last is first
  std::unordered_map<std::string, Place> by_id_;
  std::unordered_map<std::string, Place> by_item_;
  std::unordered_map<std::string, Share> shares_;  // by client
  std::size_t bytes_ = 0;
};

}  // namespace drover::api
