// What of a request is not heeded, or not as its client may think: a header of the answer says so, and one line of the
// log. What would make the answer a wrong one is an error instead.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "fleet/request_record.h"
#include "http/server.h"

namespace drover::api {

inline constexpr const char* kWarningHeader = "X-Drover-Warning";

// One request's warnings, each said once. Bounded: at most kTextsMax of kTextBytesMax bytes are kept, and counted
// beyond that.
class Warnings {
 public:
  static constexpr std::size_t kTextsMax = 12;
  static constexpr std::size_t kTextBytesMax = 200;

  // `text` is a clause in lower case, without a full stop: `tools of the type "web_search" are left out`. It may hold
  // what a client sent: anything but printable ASCII becomes '?'.
  void add(std::string_view text);

  bool empty() const { return texts_.empty(); }
  // All of them in one line of printable ASCII, as the header's value: "<text>; <text>; and 3 more". Empty: none.
  std::string line() const;

 private:
  std::vector<std::string> texts_;
  std::size_t more_ = 0;  // that were not kept
};

// Adds the header to the answer, whatever that will be, and writes the line to the log with the request's id. Does
// nothing without warnings. Before the answer begins, once.
void tell_warnings(const Warnings& warnings, const RequestIdentity& identity, http::Exchange& exchange);

}  // namespace drover::api
