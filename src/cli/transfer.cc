#include "cli/transfer.h"

#include <fmt/format.h>
#include <unistd.h>

#include "client/json.h"
#include "terminal/progress.h"

namespace drover::cli {
namespace {

constexpr std::size_t kShownDigestDigits = 12;

// "pulling 6a0746a1ec1a:", one bar for each layer.
std::string bar_message(const char* verb, std::string digest) {
  if (digest.starts_with("sha256:")) digest = digest.substr(7, kShownDigestDigits);
  return fmt::format("{} {}:", verb, digest);
}

Result<void> transfer(ApiClient& client, const TransferArguments& arguments, const char* path, const char* verb) {
  Progress progress(STDERR_FILENO);
  Json body = {{"model", arguments.model}};
  if (arguments.insecure) body["insecure"] = true;
  bool succeeded = false;
  const auto show = [&](const Json& object) {
    const std::string status = text_field(object, "status");
    const std::string digest = text_field(object, "digest");
    succeeded = status == "success";
    if (digest.empty()) {
      if (!status.empty()) progress.status(status);
      return;
    }
    progress.bar(digest, bar_message(verb, digest), count_field(object, "completed"), count_field(object, "total"));
  };
  const auto tick = [&] {
    progress.tick();
    return true;
  };
  if (auto streamed = client.stream(path, body, show, tick); !streamed.ok()) return streamed;
  if (!succeeded) return internal(fmt::format("the server ended {} without reporting success", verb));
  return {};
}

}  // namespace

Result<void> pull_model(ApiClient& client, const TransferArguments& arguments) {
  return transfer(client, arguments, "/api/pull", "pulling");
}

Result<void> push_model(ApiClient& client, const TransferArguments& arguments) {
  return transfer(client, arguments, "/api/push", "pushing");
}

}  // namespace drover::cli
