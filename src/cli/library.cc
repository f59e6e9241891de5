#include "cli/library.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.h"
#include "cli/answer.h"
#include "terminal/format.h"
#include "terminal/output.h"
#include "terminal/table.h"

namespace drover::cli {
namespace {

constexpr std::size_t kShownDigestDigits = 12;

std::string time_text(const Json& object, std::string_view field) {
  const auto when = parse_timestamp(text_field(object, field));
  return when ? human_time(*when, wall_time()) : "Never";
}

std::string short_digest(const Json& model) {
  std::string digest = text_field(model, "digest");
  if (digest.starts_with("sha256:")) digest.erase(0, 7);
  return digest.substr(0, kShownDigestDigits);
}

bool begins_with(const std::string& name, const std::string& prefix) {
  return equal_but_for_case(std::string_view(name).substr(0, prefix.size()), prefix);
}

std::string processor_text(std::uint64_t bytes, std::uint64_t device_bytes) {
  if (device_bytes == 0) return "100% CPU";
  if (device_bytes == bytes) return "100% GPU";
  if (device_bytes > bytes) return "Unknown";
  const double host_part = static_cast<double>(bytes - device_bytes) / static_cast<double>(bytes);
  const int percent = static_cast<int>(std::round(host_part * 100));
  return fmt::format("{}%/{}% CPU/GPU", percent, 100 - percent);
}

std::string until_text(const Json& model) {
  const auto when = parse_timestamp(text_field(model, "expires_at"));
  if (!when) return "Never";
  const std::string text = human_time(*when, wall_time());
  return text.ends_with(" ago") ? "Stopping..." : text;
}

// What a model that is in memory does; empty: the server does not say.
std::string tasks_text(const Json& model) {
  std::string text;
  for (const Json& task : array_field(model, "tasks")) {
    text += (text.empty() ? "" : ", ") + text_field(task, "task");
  }
  return text;
}

Json unload_request(const std::string& model) {
  return {{"model", model}, {"keep_alive", 0}};
}

}  // namespace

Result<void> list_models(ApiClient& client, const std::string& prefix) {
  const auto answer = client.get("/api/tags");
  if (!answer.ok()) return answer.error();
  std::vector<TableRow> rows = {{"NAME", "ID", "SIZE", "MODIFIED"}};
  for (const Json& model : array_field(*answer, "models")) {
    const std::string name = text_field(model, "name");
    if (!begins_with(name, prefix)) continue;
    rows.push_back(
        {name, short_digest(model), human_bytes(count_field(model, "size")), time_text(model, "modified_at")});
  }
  print(format_table(rows));
  return {};
}

Result<void> list_running(ApiClient& client, const std::string& prefix) {
  const auto answer = client.get("/api/ps");
  if (!answer.ok()) return answer.error();
  const Json& models = array_field(*answer, "models");
  std::vector<TableRow> rows = {{"NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"}};
  // Ollama's table, and one column more where it would not say all.
  const bool with_tasks = std::any_of(models.begin(), models.end(), [](const Json& model) {
    const std::string tasks = tasks_text(model);
    return !tasks.empty() && tasks != "completion";
  });
  if (with_tasks) rows.front().emplace_back("TASKS");
  for (const Json& model : models) {
    const std::string name = text_field(model, "name");
    if (!begins_with(name, prefix)) continue;
    const std::uint64_t bytes = count_field(model, "size");
    rows.push_back({name, short_digest(model), human_bytes(bytes),
                    processor_text(bytes, count_field(model, "size_vram")),
                    std::to_string(count_field(model, "context_length")), until_text(model)});
    if (with_tasks) rows.back().push_back(tasks_text(model));
  }
  print(format_table(rows));
  return {};
}

Result<void> copy_model(ApiClient& client, const std::string& source, const std::string& destination) {
  const auto copied = client.post("/api/copy", {{"source", source}, {"destination", destination}});
  if (!copied.ok()) return copied.error();
  print(fmt::format("copied '{}' to '{}'\n", source, destination));
  return {};
}

Result<void> remove_models(ApiClient& client, const std::vector<std::string>& models) {
  for (const std::string& model : models) {
    // It is unloaded first, as far as it is loaded. The server says below if there is no such model.
    const auto unloaded = load_model(client, unload_request(model));
    if (!unloaded.ok() && unloaded.error().code != ErrorCode::kNotFound) {
      if (unloaded.error().code == ErrorCode::kUnavailable) return unloaded;
      std::fputs(fmt::format("Warning: unable to stop model '{}'\n", model).c_str(), stderr);
    }
    const auto removed = client.remove("/api/delete", {{"model", model}});
    if (!removed.ok()) return removed.error();
    print(fmt::format("deleted '{}'\n", model));
  }
  return {};
}

Result<void> stop_model(ApiClient& client, const std::string& model) {
  const auto stopped = load_model(client, unload_request(model));
  if (!stopped.ok() && stopped.error().code == ErrorCode::kNotFound) {
    return not_found(fmt::format("couldn't find model {} to stop", in_quotes(model)));
  }
  return stopped;
}

}  // namespace drover::cli
