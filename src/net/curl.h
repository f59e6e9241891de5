// libcurl's handles, and what all requests that Drover makes have in common. Who includes this speaks to libcurl.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/check.h"
#include "net/failure.h"

namespace drover::net {

// Of a connection that is being made.
inline constexpr long kConnectSecondsMax = 30;

// The transfers that one thread has under way. Making one throws std::bad_alloc.
class Multi {
 public:
  Multi();
  CURLM* get() const { return multi_.get(); }

  template <typename T>
  void set(CURLMoption option, T value) {
    DROVER_CHECK(curl_multi_setopt(multi_.get(), option, value) == CURLM_OK);
  }

 private:
  struct Close {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
  };
  std::unique_ptr<CURLM, Close> multi_;
};

// One transfer: HTTP 1.1, to http and https alone, without signals, and with a limit for the connecting. Making one
// throws std::bad_alloc. It has to leave its Multi before it ends.
class Easy {
 public:
  Easy();
  CURL* get() const { return easy_.get(); }

  template <typename T>
  void set(CURLoption option, T value) {
    DROVER_CHECK(curl_easy_setopt(easy_.get(), option, value) == CURLE_OK);
  }

  // "Name: value"; or "Name:", so that libcurl does not send its own. Counts once use_headers() is called.
  void add_header(const std::string& line);
  void use_headers() { set(CURLOPT_HTTPHEADER, headers_.get()); }

  int status() const;                           // of the answer; 0: none began
  std::optional<std::uint64_t> length() const;  // of the answer's body, if it was told

  // As new, but that connections stay open.
  void reset();

 private:
  void set_defaults();

  struct Close {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  std::unique_ptr<CURL, Close> easy_;
  std::unique_ptr<curl_slist, FreeList> headers_;
};

Failure failure_of(CURLcode code);

}  // namespace drover::net
