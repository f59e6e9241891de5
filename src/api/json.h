// JSON at the edge: reading requests with typed, named fields, and writing the lines of a stream without a tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "store/json_reader.h"

namespace drover::api {

// What a body may hold. A conversation of 100,000 messages, a thousand texts as tokens, or one string that fills the
// body are within it.
inline constexpr JsonBounds kBodyBounds{.depth_max = 512, .keys_max = 16'384, .values_max = 2 << 20};

// Reads an object within kBodyBounds. The keys of a request's own structures may be written in any case ("Model",
// "MESSAGES"), as Go's decoder takes them, where there is none that is written right; those of options, schemas and
// arguments are as they are. Any thread. Errors are kInvalidArgument, with Go's texts where clients may know
// them: "missing request body", "unexpected EOF", "invalid character 'x' looking for beginning of value"; a bound is
// named.
Result<Json> parse_json(std::string_view text);

// Where an object stands in a body, for errors: "messages[2].content[0]". A body itself has no parent and no name.
struct FieldPath {
  const FieldPath* parent = nullptr;
  const char* name = "";
  std::ptrdiff_t index = -1;  // in a list of that name; negative: it is no list

  std::string text() const;
};

// Reads the fields of a request. The first field of a wrong type is remembered as an error; the reads after it return
// defaults. Absent and null mean the same.
class Fields {
 public:
  // Errors are in Go's words, which contain `type`: the name of Ollama's request type. Its clients know them.
  Fields(const Json& object, std::string type);
  // Errors name the field: "messages[2].content[0].text must be a string". `path` must outlive this.
  Fields(const Json& object, const FieldPath& path) : object_(object), path_(&path) {}

  std::string text(const char* name);
  std::optional<std::string> optional_text(const char* name);
  std::optional<bool> flag(const char* name);
  std::optional<std::int64_t> integer(const char* name);
  std::optional<double> number(const char* name);
  std::vector<std::string> texts(const char* name);          // an array of strings
  std::vector<std::string> text_or_texts(const char* name);  // a string, or an array of them
  const Json* array(const char* name);                       // null if absent
  const Json* object(const char* name);                      // null if absent
  const Json* any(const char* name) const;                   // null if absent or null

  // Remembers an error of a caller's own check.
  void fail(std::string message);
  const std::optional<Error>& error() const { return error_; }

 private:
  void wrong_type(const char* name, const Json& value, const char* expected);

  const Json& object_;
  std::string type_;
  const FieldPath* path_ = nullptr;
  std::optional<Error> error_;
};

// Appends `text`, which must be UTF-8, as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view text);

// The time now as Go writes it: "2026-11-22T17:14:30.123456789Z".
std::string timestamp_now();
std::string timestamp(std::int64_t nanoseconds_since_epoch);

}  // namespace drover::api
