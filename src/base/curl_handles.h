// Deleters for std::unique_ptr around libcurl's handles. Whoever includes this links libcurl.
#pragma once

#include <curl/curl.h>

namespace drover {

struct CloseEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct CloseMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace drover
