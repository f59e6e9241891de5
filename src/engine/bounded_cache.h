// A cache by text.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

namespace drover {

// What belongs to a longer key is made anew each time: a cache is not to hold more memory than the requests. A value
// may take many times what its key does, so the bound on all keys together is low too.
inline constexpr std::size_t kCachedKeyBytesMax = 1 << 20;
inline constexpr std::size_t kCachedKeyBytesAllMax = 4 << 20;

// Values by text, a limited number of them; the oldest leaves first.
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
  std::size_t key_bytes_ = 0;  // of all
};

}  // namespace drover
