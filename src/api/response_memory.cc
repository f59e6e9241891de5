#include "api/response_memory.h"

#include <algorithm>

#include "api/openai_answer.h"

namespace drover::api {
namespace {

// What an answer takes beside its texts.
constexpr std::size_t kEntryBytes = 512;

}  // namespace

std::size_t KeptResponse::bytes() const {
  std::size_t bytes =
      kEntryBytes + id.size() + previous.size() + (input ? input->size() : 0) + (body ? body->size() : 0);
  for (const auto& [item, text] : items) bytes += kEntryBytes + item.size() + text->size();
  return bytes;
}

void ResponseMemory::keep(std::string client, KeptResponse response, TimePoint now) {
  drop_old(now);
  const std::size_t bytes = client.size() + response.bytes();
  const std::size_t bytes_part = limits_.bytes_max / limits_.client_part;
  const std::size_t responses_part = std::max<std::size_t>(limits_.responses_max / limits_.client_part, 1);
  if (bytes > bytes_part || by_id_.count(response.id) > 0) return;
  // Who asks much forgets what is its own first.
  const auto fits = [&] {
    const auto share = shares_.find(client);
    if (share == shares_.end()) return true;
    return share->second.bytes + bytes <= bytes_part && share->second.responses < responses_part;
  };
  while (!fits()) {
    drop(std::prev(std::find_if(entries_.rbegin(), entries_.rend(), [&](const Entry& entry) {
                     return entry.client == client;
                   }).base()));
  }
  while (!entries_.empty() && (bytes_ + bytes > limits_.bytes_max || entries_.size() >= limits_.responses_max)) {
    drop(std::prev(entries_.end()));
  }
  entries_.push_front({std::move(client), std::move(response), bytes, now});
  const Place place = entries_.begin();
  by_id_[place->response.id] = place;
  for (const auto& [item, text] : place->response.items) by_item_[item] = place;
  Share& share = shares_[place->client];
  ++share.responses;
  share.bytes += bytes;
  bytes_ += bytes;
}

Result<std::vector<ItemText>> ResponseMemory::conversation(std::string_view client, const std::string& id,
                                                           TimePoint now) {
  drop_old(now);
  std::vector<Place> chain;  // newest first
  for (std::string next = id; !next.empty(); next = chain.back()->response.previous) {
    const Place* place = find(by_id_, client, next);
    if (place == nullptr) return previous_response_not_found(id);
    chain.push_back(*place);
  }
  std::vector<ItemText> texts;
  for (auto place = chain.rbegin(); place != chain.rend(); ++place) {
    texts.push_back((*place)->response.input);
    for (const auto& [item, text] : (*place)->response.items) texts.push_back(text);
    touch(*place, now);
  }
  return texts;
}

Result<ItemText> ResponseMemory::item(std::string_view client, const std::string& id, TimePoint now) {
  drop_old(now);
  const Place* place = find(by_item_, client, id);
  if (place == nullptr) return item_not_found(id);
  touch(*place, now);
  const auto& items = (*place)->response.items;
  return std::find_if(items.begin(), items.end(), [&](const auto& item) { return item.first == id; })->second;
}

std::optional<KeptResponse> ResponseMemory::response(std::string_view client, const std::string& id, TimePoint now) {
  drop_old(now);
  const Place* place = find(by_id_, client, id);
  if (place == nullptr) return std::nullopt;
  touch(*place, now);
  return (*place)->response;
}

bool ResponseMemory::forget(std::string_view client, const std::string& id, TimePoint now) {
  drop_old(now);
  const Place* place = find(by_id_, client, id);
  if (place != nullptr) drop(*place);
  return place != nullptr;
}

ResponseMemory::Place* ResponseMemory::find(std::unordered_map<std::string, Place>& places, std::string_view client,
                                            const std::string& id) {
  const auto found = places.find(id);
  return found != places.end() && found->second->client == client ? &found->second : nullptr;
}

void ResponseMemory::touch(Place place, TimePoint now) {
  place->used = now;
  entries_.splice(entries_.begin(), entries_, place);
}

void ResponseMemory::drop_old(TimePoint now) {
  while (!entries_.empty() && now - entries_.back().used > limits_.age_max) drop(std::prev(entries_.end()));
}

void ResponseMemory::drop(Place place) {
  bytes_ -= place->bytes;
  const auto share = shares_.find(place->client);
  share->second.bytes -= place->bytes;
  if (--share->second.responses == 0) shares_.erase(share);
  for (const auto& [item, text] : place->response.items) by_item_.erase(item);
  by_id_.erase(place->response.id);
  entries_.erase(place);
}

}  // namespace drover::api
