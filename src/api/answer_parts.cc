#include "api/answer_parts.h"

#include <fmt/format.h>

#include <cmath>
#include <random>

#include "api/json.h"

namespace drover::api {
namespace {

// Below this a probability is 0, of which JSON knows no logarithm.
constexpr float kLogprobMin = -9999.0f;

void append_logprob(std::string& out, const pb::TokenLogprob& from) {
  const float logprob = std::isfinite(from.logprob()) ? from.logprob() : kLogprobMin;
  fmt::format_to(std::back_inserter(out), R"({{"token":{},"logprob":{},"bytes":[)", to_text(Json(from.token())),
                 logprob);
  for (std::size_t i = 0; i < from.token().size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(static_cast<unsigned char>(from.token()[i]));
  }
  out += ']';
}

}  // namespace

void append_logprobs(std::string& out, const pb::Chunk& chunk) {
  out += '[';
  for (int i = 0; i < chunk.logprobs_size(); ++i) {
    if (i > 0) out += ',';
    append_logprob(out, chunk.logprobs(i));
    if (chunk.logprobs(i).top_size() > 0) {
      out += ",\"top_logprobs\":[";
      for (int k = 0; k < chunk.logprobs(i).top_size(); ++k) {
        if (k > 0) out += ',';
        append_logprob(out, chunk.logprobs(i).top(k));
        out += '}';
      }
      out += ']';
    }
    out += '}';
  }
  out += ']';
}

std::string arguments_text(const pb::ToolCall& call) {
  Json arguments;
  // A model may write anything, also what no program could print again.
  const bool read = !JsonReader(kBodyBounds).read(call.arguments_json(), arguments);
  return read && arguments.is_object() ? to_text(arguments) : "{}";
}

void append_event(std::string& out, std::string_view name, std::string_view data) {
  if (!name.empty()) out.append("event: ").append(name).append("\n");
  out.append("data: ").append(data).append("\n\n");
}

std::uint64_t nanoseconds(Duration duration) {
  const auto count = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
  return count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

std::string new_id(std::string_view prefix) {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  const auto high = static_cast<std::uint32_t>(generator());
  return fmt::format("{}{:08x}{:016x}", prefix, high, generator());
}

}  // namespace drover::api
