#include "net/curl.h"

#include <new>

namespace drover::net {

Multi::Multi() {
  static const CURLcode kInitialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  DROVER_CHECK(kInitialized == CURLE_OK);
  multi_.reset(curl_multi_init());
  if (multi_ == nullptr) throw std::bad_alloc();
}

Easy::Easy() : easy_(curl_easy_init()) {
  if (easy_ == nullptr) throw std::bad_alloc();
  set_defaults();
}

void Easy::set_defaults() {
  set(CURLOPT_NOSIGNAL, 1L);  // Else libcurl changes the process's signals for every piece that arrives. None is
                              // needed: it sends with MSG_NOSIGNAL.
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_CONNECTTIMEOUT, kConnectSecondsMax);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
}

void Easy::add_header(const std::string& line) {
  curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  (void)headers_.release();
  headers_.reset(longer);
}

int Easy::status() const {
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

std::optional<std::uint64_t> Easy::length() const {
  curl_off_t length = -1;
  curl_easy_getinfo(easy_.get(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  if (length < 0) return std::nullopt;
  return static_cast<std::uint64_t>(length);
}

void Easy::reset() {
  curl_easy_reset(easy_.get());
  headers_.reset();
  set_defaults();
}

Failure failure_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return Failure::kNone;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Failure::kConnect;
    case CURLE_OPERATION_TIMEDOUT:
      return Failure::kTimeout;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return Failure::kClosed;
    default:
      return Failure::kOther;
  }
}

}  // namespace drover::net
