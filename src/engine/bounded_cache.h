// A cache by text.
#pragma once

#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

namespace drover {

// What belongs to a longer key is made anew each time: a cache is not to hold more memory than the requests.
inline constexpr std::size_t kCachedKeyBytesMax = 1 << 20;

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
    if (order_.size() <= size_max_) return;
    values_.erase(order_.front());
    order_.pop_front();
  }

 private:
  const std::size_t size_max_;
  std::unordered_map<std::string, Value> values_;
  std::list<std::string> order_;
};

}  // namespace drover
