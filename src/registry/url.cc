#include "registry/url.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

namespace drover::registry {

namespace {

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Handle = std::unique_ptr<CURLU, FreeUrl>;

std::string part(CURLU* url, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, flags) != CURLUE_OK) return {};
  std::string result(text);
  curl_free(text);
  return result;
}

Error bad_url(std::string_view text) {
  return invalid(fmt::format("invalid URL \"{}\"", text.substr(0, std::min<std::size_t>(text.find('?'), 200))));
}

}  // namespace

struct UrlReader {
  static Result<Url> read(CURLU* handle, std::string_view text) {
    Url url;
    url.scheme_ = part(handle, CURLUPART_SCHEME);
    if (url.scheme_ != "http" && url.scheme_ != "https") {
      return invalid(fmt::format("\"{}\" is neither http nor https", text.substr(0, 200)));
    }
    url.host_ = part(handle, CURLUPART_HOST);
    for (char& c : url.host_) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    url.port_ = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    curl_url_set(handle, CURLUPART_FRAGMENT, nullptr, 0);
    url.text_ = part(handle, CURLUPART_URL);
    if (url.host_.empty() || url.text_.empty() || url.text_.size() > kUrlBytesMax) return bad_url(text);
    return url;
  }

  // Schemes that libcurl does not know are read as well, so that the error can name them.
  static constexpr unsigned kFlags = CURLU_DISALLOW_USER | CURLU_NON_SUPPORT_SCHEME;
};

Result<Url> Url::parse(std::string_view text) {
  const Handle handle(curl_url());
  if (handle == nullptr || text.size() > kUrlBytesMax || text.find("://") == std::string_view::npos) {
    return bad_url(text);
  }
  if (curl_url_set(handle.get(), CURLUPART_URL, std::string(text).c_str(), UrlReader::kFlags) != CURLUE_OK) {
    return bad_url(text);
  }
  return UrlReader::read(handle.get(), text);
}

Result<Url> Url::resolve(std::string_view location) const {
  const Handle handle(curl_url());
  if (handle == nullptr || location.empty() || location.size() > kUrlBytesMax) return bad_url(location);
  const std::string relative(location);
  if (curl_url_set(handle.get(), CURLUPART_URL, text_.c_str(), UrlReader::kFlags) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, relative.c_str(), UrlReader::kFlags) != CURLUE_OK) {
    return bad_url(location);
  }
  Result<Url> url = UrlReader::read(handle.get(), location);
  if (url.ok() && scheme_ == "https" && url->scheme_ != "https") {
    return Error{ErrorCode::kForbidden, fmt::format("refused to go on without encryption, to {}", url->shown())};
  }
  return url;
}

std::string Url::authority() const {
  const bool usual = port_ == (scheme_ == "https" ? "443" : "80");
  return usual ? host_ : host_ + ":" + port_;
}

std::string Url::origin() const {
  return scheme_ + "://" + host_ + ":" + port_;
}

std::string Url::shown() const {
  return text_.substr(0, text_.find('?'));
}

Result<Url> Url::with_query(std::string_view name, std::string_view value) const {
  const Handle handle(curl_url());
  const std::string query = fmt::format("{}={}", name, value);
  if (handle == nullptr || curl_url_set(handle.get(), CURLUPART_URL, text_.c_str(), UrlReader::kFlags) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_QUERY, query.c_str(), CURLU_URLENCODE | CURLU_APPENDQUERY) != CURLUE_OK) {
    return bad_url(text_);
  }
  return UrlReader::read(handle.get(), text_);
}

}  // namespace drover::registry
