// What a template computes with: the values that Go's text/template sees through reflection, as one small variant.
//
// Values are immutable and share what they hold, so copying one is cheap and slicing copies nothing. They are plain
// data: any thread may read one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace drover::go_template {

class Value;

// A string, or a part of one.
class Text {
 public:
  explicit Text(std::string text) : owner_(std::make_shared<const std::string>(std::move(text))), view_(*owner_) {}

  std::string_view view() const { return view_; }
  // Bytes begin to end; end is at most view().size().
  Text slice(std::size_t begin, std::size_t end) const {
    Text part = *this;
    part.view_ = view_.substr(begin, end - begin);
    return part;
  }

 private:
  std::shared_ptr<const std::string> owner_;
  std::string_view view_;
};

// How a template's {{ . }} shows a list or a map: Go types differ in their String methods.
enum class Printing {
  kGo,      // [a b] and map[k:v]
  kJson,    // as the function json
  kSingle,  // a list of one shows its only item, also in JSON; an empty one nothing (JSON Schema's "type")
};

// A list, or a part of one. Without items it is Go's nil slice: empty, and null in JSON.
struct List {
  std::shared_ptr<const std::vector<Value>> items;
  std::size_t begin = 0;
  std::size_t end = 0;
  Printing printing = Printing::kGo;

  std::size_t size() const { return end - begin; }
  const Value& operator[](std::size_t index) const;
};

// Entries in the order in which they are ranged over and written. Without entries it is Go's nil map.
struct Map {
  using Entries = std::vector<std::pair<std::string, Value>>;
  std::shared_ptr<const Entries> entries;
  Printing printing = Printing::kGo;

  std::size_t size() const;
  const Value* find(std::string_view key) const;
};

// Go's struct: fields are fixed by the type, and asking for another is an error rather than nothing.
struct RecordType {
  enum class Omit { kNever, kNil, kEmpty };
  struct Field {
    std::string_view name;
    std::string_view json_name;
    Omit omit = Omit::kNever;
  };
  std::string_view name;
  std::span<const Field> fields;
  Printing printing = Printing::kGo;
};

struct Record {
  const RecordType* type = nullptr;                  // lives for ever
  std::shared_ptr<const std::vector<Value>> fields;  // in the order of type->fields, as many

  const Value* find(std::string_view name) const;
};

class Value {
 public:
  using Data = std::variant<std::monostate, bool, std::int64_t, double, Text, List, Map, Record>;

  Value() = default;  // nil
  explicit Value(bool value) : data_(value) {}
  explicit Value(std::int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(std::string value) : data_(Text(std::move(value))) {}
  explicit Value(const char* value) : data_(Text(value)) {}
  explicit Value(Text value) : data_(std::move(value)) {}
  explicit Value(List value) : data_(std::move(value)) {}
  explicit Value(Map value) : data_(std::move(value)) {}
  explicit Value(Record value) : data_(std::move(value)) {}

  static Value list(std::vector<Value> items, Printing printing = Printing::kGo);
  static Value map(Map::Entries entries, Printing printing = Printing::kGo);
  static Value record(const RecordType& type, std::vector<Value> fields);

  template <typename T>
  const T* get_if() const {
    return std::get_if<T>(&data_);
  }
  const Data& data() const { return data_; }

  // Nothing at all, or Go's nil slice or nil map.
  bool is_nil() const;
  // Go's truth: not nil, not zero, not empty; a record is always true.
  bool truth() const;
  // The type's name for messages, as Go would say it: "string", "float64", "map", "Message", …
  std::string_view type_name() const;

 private:
  Data data_;
};

// JSON as Go's encoding/json decodes it into an interface{}: every number becomes a double. Objects keep the order of
// the document, of equal keys the last counts. Error: kInvalidArgument, naming the place; nesting beyond 64 is one.
Result<Value> parse_json(std::string_view text);

// The same value with the entries of every map in it sorted by key, which is how Go ranges over its maps.
Value sorted_by_key(const Value& value);

}  // namespace drover::go_template
