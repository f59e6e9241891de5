// A cache of values by text, with a bound on entries and on the bytes of keys.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

namespace drover {

// A longer key is not cached, so that a cache never holds more memory than the requests. A value may be many times as
// large as its key, so the bound on all keys together is low too.
inline constexpr std::size_t kCachedKeyBytesMax = 1 << 20;
inline constexpr std::size_t kCachedKeyBytesAllMax = 4 << 20;

// Holds a limited number of values by text; the oldest is evicted first.
template <typename Value>
class BoundedCache {
 public:
  explicit BoundedCache(std::size_t size_max) : size_max_(size_max) {}

  // Null: not there. Valid until the next add().
  const Value* find(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
  }
  void add(const std::string& key, Value value) {
    if (key.size() > kCachedKeyBytesMax || !values_.emplace(key, std::move(value)).second) return;
    order_.push_back(key);
    key_bytes_ += key.size();
    while (order_.size() > size_max_ || key_bytes_ > kCachedKeyBytesAllMax) {
      key_bytes_ -= order_.front().size();
      values_.erase(order_.front());
      order_.pop_front();
    }
  }

 private:
  const std::size_t size_max_;
  std::unordered_map<std::string, Value> values_;
  std::list<std::string> order_;
  std::size_t key_bytes_ = 0;  // of all keys
};

}  // namespace drover
