#include <algorithm>
#include <cstddef>

#include "base/check.h"
#include "http/server.h"

namespace drover::http {
namespace {

// A segment's kind, ordered by preference.
constexpr char kLiteral = 'a';
constexpr char kParameter = 'b';
constexpr char kRest = 'c';

char kind_of(std::string_view segment) {
  if (segment.starts_with(':')) return kParameter;
  if (segment.starts_with('*')) return kRest;
  return kLiteral;
}

// "/a/b" is "a", "b"; "/a/" is "a", ""; "/" is "".
std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> segments;
  if (path.starts_with('/')) path.remove_prefix(1);
  while (true) {
    const auto slash = path.find('/');
    segments.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

bool matches(const std::vector<std::string>& pattern, std::string_view rank,
             const std::vector<std::string_view>& path) {
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (i == path.size()) return false;
    if (rank[i] == kRest) return true;
    if (rank[i] == kParameter ? path[i].empty() : path[i] != pattern[i]) return false;
  }
  return pattern.size() == path.size();
}

// The end of the path from a segment on. The segments are views into one string, with a slash between two.
std::string rest_of(const std::vector<std::string_view>& path, std::size_t from) {
  const char* begin = path[from].data();
  const char* end = path.back().data() + path.back().size();
  return std::string(begin, end);
}

void add_method(std::string& allowed, std::string_view method) {
  if (allowed.find(method) != std::string::npos) return;  // no method's name is part of another's
  if (!allowed.empty()) allowed += ", ";
  allowed += method;
}

}  // namespace

void Router::add(std::string_view method, std::string_view pattern, Handler handler) {
  DROVER_CHECK(pattern.starts_with('/'));
  Route route{std::string(method), {}, {}, std::move(handler)};
  for (const std::string_view segment : split(pattern)) {
    DROVER_CHECK(!route.rank.ends_with(kRest));  // "*name" comes last
    route.segments.emplace_back(segment);
    route.rank += kind_of(segment);
  }
  routes_.push_back(std::move(route));
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  const std::vector<std::string_view> segments = split(path);
  const Route* own = nullptr;
  const Route* get = nullptr;  // what a HEAD falls back on
  Match match;
  for (const Route& route : routes_) {
    if (!matches(route.segments, route.rank, segments)) continue;
    add_method(match.allowed, route.method);
    if (route.method == "GET") add_method(match.allowed, "HEAD");
    if (route.method == method && (own == nullptr || route.rank < own->rank)) own = &route;
    if (route.method == "GET" && (get == nullptr || route.rank < get->rank)) get = &route;
  }
  const Route* found = own == nullptr && method == "HEAD" ? get : own;
  if (found == nullptr) return match;
  match.handler = &found->handler;
  for (std::size_t i = 0; i < found->segments.size(); ++i) {
    if (found->rank[i] == kLiteral) continue;
    std::string value = found->rank[i] == kRest ? rest_of(segments, i) : std::string(segments[i]);
    match.parameters.emplace_back(found->segments[i].substr(1), std::move(value));
  }
  return match;
}

}  // namespace drover::http
