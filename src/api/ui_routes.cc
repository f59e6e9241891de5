// The dashboard: GET /ui, and the files that it consists of under /ui/. Everything it shows comes from the public API.
#include <fmt/format.h>

#include <algorithm>

#include "api/service.h"
#include "api/ui_files.h"
#include "base/check.h"
#include "store/digest.h"

namespace drover::api {
namespace {

constexpr std::string_view kPage = "index.html";
// Where the page's files lie, seen from /ui/; and seen from /ui, as the page is patched for it. Nothing names the
// server's root, so that a proxy may put a path before it.
constexpr std::string_view kBase = R"(<base href="./" />)";
constexpr std::string_view kBaseWithoutSlash = R"(<base href="ui/" />)";

// Nothing from elsewhere, no inline code, and no page of others around it, whose user could be led to click.
constexpr const char* kPolicy = "default-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

struct File {
  std::string_view type;
  std::string bytes;
  std::string tag;
};

std::string_view type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  DROVER_CHECK(name.ends_with(".svg"));
  return "image/svg+xml";
}

// Whether the client has it: If-None-Match holds "*" or a list of tags, of which weak ones will do.
bool is_known(std::string_view if_none_match, std::string_view tag) {
  return if_none_match == "*" || if_none_match.find(tag) != std::string_view::npos;
}

asio::awaitable<void> send_file(const File& file, http::Exchange& exchange) {
  http::Headers headers;
  headers.emplace_back("ETag", file.tag);
  headers.emplace_back("Cache-Control", "no-cache");  // kept, and asked for whether it is still the same
  headers.emplace_back("Content-Security-Policy", kPolicy);
  headers.emplace_back("Referrer-Policy", "no-referrer");
  const bool known = is_known(exchange.header("If-None-Match"), file.tag);
  std::string body = known ? std::string() : file.bytes;
  co_await exchange.send(known ? 304 : 200, known ? std::string_view() : file.type, std::move(body),
                         std::move(headers));
}

void add_file(http::Router& router, const std::string& path, std::string_view type, std::string bytes) {
  std::string tag = fmt::format("\"{}\"", Digest::of(bytes).hex().substr(0, 16));
  auto file = std::make_shared<const File>(File{type, std::move(bytes), std::move(tag)});
  router.add("GET", path, [file](http::Exchange& exchange) { return send_file(*file, exchange); });
}

void add_page(http::Router& router, std::string_view bytes) {
  const auto at = bytes.find(kBase);
  DROVER_CHECK(at != std::string_view::npos);
  std::string patched(bytes);
  patched.replace(at, kBase.size(), kBaseWithoutSlash);
  add_file(router, "/ui", type_of(kPage), std::move(patched));
  add_file(router, "/ui/", type_of(kPage), std::string(bytes));
}

}  // namespace

void add_ui_routes(http::Router& router) {
  for (const UiFile& file : ui_files()) {
    if (file.name == kPage) {
      add_page(router, file.bytes);
    } else {
      add_file(router, fmt::format("/ui/{}", file.name), type_of(file.name), std::string(file.bytes));
    }
  }
}

}  // namespace drover::api
