#include "template/value.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

namespace drover::go_template {
namespace {

constexpr std::size_t kJsonDepthMax = 64;

// Builds Values from the parser's events, so that neither depth nor the number of keys is paid for twice.
class JsonBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(Value(value)); }
  bool number_integer(number_integer_t value) override { return add(Value(static_cast<double>(value))); }
  bool number_unsigned(number_unsigned_t value) override { return add(Value(static_cast<double>(value))); }
  bool number_float(number_float_t value, const string_t&) override { return add(Value(value)); }
  bool string(string_t& value) override { return add(Value(std::move(value))); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool key(string_t& key) override {
    open_.back().key = std::move(key);
    return true;
  }
  bool end_object() override {
    Open done = std::move(open_.back());
    open_.pop_back();
    return add(Value::map(std::move(done.entries)));
  }
  bool end_array() override {
    Open done = std::move(open_.back());
    open_.pop_back();
    return add(Value::list(std::move(done.items)));
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    error_ = "invalid JSON at byte " + std::to_string(position);
    return false;
  }

  Value result;
  const std::string& error() const { return error_; }

 private:
  struct Open {
    bool is_object = false;
    std::string key;
    Map::Entries entries;
    std::unordered_map<std::string, std::size_t> places;  // of the keys in entries
    std::vector<Value> items;
  };

  bool open(bool is_object) {
    if (open_.size() == kJsonDepthMax) {
      error_ = "JSON is nested more than " + std::to_string(kJsonDepthMax) + " deep";
      return false;
    }
    open_.emplace_back().is_object = is_object;
    return true;
  }

  bool add(Value value) {
    if (open_.empty()) {
      result = std::move(value);
      return true;
    }
    Open& parent = open_.back();
    if (!parent.is_object) {
      parent.items.push_back(std::move(value));
      return true;
    }
    const auto [place, is_new] = parent.places.emplace(parent.key, parent.entries.size());
    if (is_new) {
      parent.entries.emplace_back(std::move(parent.key), std::move(value));
    } else {
      parent.entries[place->second].second = std::move(value);
    }
    return true;
  }

  std::vector<Open> open_;
  std::string error_;
};

}  // namespace

const Value& List::operator[](std::size_t index) const {
  return (*items)[begin + index];
}

std::size_t Map::size() const {
  return entries ? entries->size() : 0;
}

const Value* Map::find(std::string_view key) const {
  if (!entries) return nullptr;
  for (const auto& [name, value] : *entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

const Value* Record::find(std::string_view name) const {
  for (std::size_t i = 0; i < type->fields.size(); ++i) {
    if (type->fields[i].name == name) return &(*fields)[i];
  }
  return nullptr;
}

Value Value::list(std::vector<Value> items, Printing printing) {
  const std::size_t size = items.size();
  return Value(List{std::make_shared<const std::vector<Value>>(std::move(items)), 0, size, printing});
}

Value Value::map(Map::Entries entries, Printing printing) {
  return Value(Map{std::make_shared<const Map::Entries>(std::move(entries)), printing});
}

Value Value::record(const RecordType& type, std::vector<Value> fields) {
  return Value(Record{&type, std::make_shared<const std::vector<Value>>(std::move(fields))});
}

bool Value::is_nil() const {
  if (const auto* list = get_if<List>()) return !list->items;
  if (const auto* map = get_if<Map>()) return !map->entries;
  return get_if<std::monostate>() != nullptr;
}

bool Value::truth() const {
  struct Truth {
    bool operator()(std::monostate) const { return false; }
    bool operator()(bool value) const { return value; }
    bool operator()(std::int64_t value) const { return value != 0; }
    bool operator()(double value) const { return value != 0; }
    bool operator()(const Text& value) const { return !value.view().empty(); }
    bool operator()(const List& value) const { return value.size() > 0; }
    bool operator()(const Map& value) const { return value.size() > 0; }
    bool operator()(const Record&) const { return true; }
  };
  return std::visit(Truth{}, data_);
}

std::string_view Value::type_name() const {
  struct Name {
    std::string_view operator()(std::monostate) const { return "nil"; }
    std::string_view operator()(bool) const { return "bool"; }
    std::string_view operator()(std::int64_t) const { return "int"; }
    std::string_view operator()(double) const { return "float64"; }
    std::string_view operator()(const Text&) const { return "string"; }
    std::string_view operator()(const List&) const { return "list"; }
    std::string_view operator()(const Map&) const { return "map"; }
    std::string_view operator()(const Record& record) const { return record.type->name; }
  };
  return std::visit(Name{}, data_);
}

Result<Value> parse_json(std::string_view text) {
  JsonBuilder builder;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return invalid(builder.error().empty() ? "invalid JSON" : builder.error());
  }
  return std::move(builder.result);
}

Value sorted_by_key(const Value& value) {
  if (const auto* list = value.get_if<List>()) {
    if (!list->items) return value;
    std::vector<Value> items;
    items.reserve(list->size());
    for (std::size_t i = 0; i < list->size(); ++i) items.push_back(sorted_by_key((*list)[i]));
    return Value::list(std::move(items), list->printing);
  }
  if (const auto* map = value.get_if<Map>()) {
    if (!map->entries) return value;
    Map::Entries entries;
    entries.reserve(map->size());
    for (const auto& [key, item] : *map->entries) entries.emplace_back(key, sorted_by_key(item));
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    return Value::map(std::move(entries), map->printing);
  }
  return value;
}

}  // namespace drover::go_template
