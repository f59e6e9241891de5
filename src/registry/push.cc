#include "registry/push.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <vector>

#include "registry/protocol.h"
#include "store/atomic_file.h"
#include "store/manifest.h"

namespace drover::registry {
namespace {

constexpr std::chrono::milliseconds kUploadBackOff{500};

}  // namespace

Push::Push(ModelStore& store, Session& session, ModelName name, const Report& report)
    : store_(store), session_(session), name_(std::move(name)), report_(report), pins_(store.hold_blobs()) {}

Result<void> Push::run() {
  report_({"retrieving manifest", "", 0, 0});
  const Result<std::string> text = store_.read_and_pin_manifest(name_, pins_);
  const Result<Manifest> manifest = text.ok() ? Manifest::parse(*text) : Result<Manifest>(text.error());
  if (!manifest) {
    report_({"couldn't retrieve manifest", "", 0, 0});
    return manifest.error();
  }
  std::vector<Layer> layers = manifest->layers;
  layers.push_back(manifest->config);
  std::set<Digest> seen;
  for (const Layer& layer : layers) {
    if (!seen.insert(layer.digest).second) continue;
    if (Result<void> pushed = push_blob(layer); !pushed) return pushed;
  }
  report_({"pushing manifest", "", 0, 0});
  if (Result<void> pushed = push_manifest(*text); !pushed) return pushed;
  report_({"success", "", 0, 0});
  return {};
}

void Push::report_layer(const Layer& layer, std::uint64_t completed) {
  report_(layer_progress("pushing", layer, completed));
}

Result<void> Push::push_blob(const Layer& layer) {
  const Result<bool> there = is_there(layer);
  if (!there) return there.error();
  if (*there) {
    report_layer(layer, layer.size);
    return {};
  }
  const std::filesystem::path path = store_.blobs().path(layer.digest);
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return file_error("open", path, errno);
  Result<void> uploaded;
  for (int attempt = 0; attempt < kUploadAttemptsMax; ++attempt) {
    if (attempt > 0) session_.pause(kUploadBackOff * (1 << attempt));
    uploaded = upload(layer, file);
    if (uploaded.ok() || uploaded.error().code != ErrorCode::kUnavailable || session_.canceled()) break;
    spdlog::info("{}: {}", name_.display_shortest(), uploaded.error().message);
  }
  ::close(file);
  return uploaded;
}

Result<bool> Push::is_there(const Layer& layer) {
  Call call;
  call.method = "HEAD";
  call.url = fmt::format("{}/blobs/{}", repository_url(session_, name_), layer.digest.to_string());
  const Result<Answer> answer = session_.send(std::move(call));
  if (!answer) return answer.error();
  if (answer->status == 200) return true;
  if (answer->status == 404) return false;
  return error_of_answer(*answer);
}

Result<std::string> Push::next_place(const Answer& answer) const {
  const Result<Url> from = Url::parse(answer.url);
  if (!from) return from.error();
  const Result<Url> place = from->resolve(answer.location);
  if (!place) return place.error();
  if (place->origin() != session_.registry().origin()) {
    return Error{ErrorCode::kForbidden, fmt::format("the registry {} wants the upload at {}, which is refused",
                                                    session_.registry().authority(), place->authority())};
  }
  return place->text();
}

Result<void> Push::upload(const Layer& layer, int file) {
  Call begin;
  begin.method = "POST";
  begin.url = repository_url(session_, name_) + "/blobs/uploads/";
  Result<Answer> answer = session_.send(std::move(begin));
  if (!answer) return std::move(answer).error();
  if (answer->status != 202) return error_of_answer(*answer);
  Result<std::string> place = next_place(*answer);

  for (std::uint64_t at = 0; place.ok() && at < layer.size;) {
    const std::uint64_t end = std::min(at + kUploadChunkBytes, layer.size);
    Call call;
    call.method = "PATCH";
    call.url = *place;
    call.headers = {"Content-Type: application/octet-stream", fmt::format("Content-Range: {}-{}", at, end - 1)};
    call.file = FileSlice{file, at, end};
    std::uint64_t sent = 0;
    call.on_sent = [&sent](std::uint64_t bytes) { sent = bytes; };
    answer = session_.send(std::move(call), [&] {
      if (at + sent != std::exchange(reported_, at + sent)) report_layer(layer, at + sent);
    });
    if (!answer) return std::move(answer).error();
    if (answer->status != 202) return error_of_answer(*answer);
    at = end;
    place = next_place(*answer);
  }
  if (!place) return std::move(place).error();

  const Result<Url> url = Url::parse(*place);
  const Result<Url> commit_url = url.ok() ? url->with_query("digest", layer.digest.to_string()) : url;
  if (!commit_url) return commit_url.error();
  Call commit;
  commit.method = "PUT";
  commit.url = commit_url->text();
  commit.headers = {"Content-Type: application/octet-stream"};
  commit.stall_timeout = kCommitTimeout;
  answer = session_.send(std::move(commit));
  if (!answer) return std::move(answer).error();
  if (answer->status != 201) return error_of_answer(*answer);
  report_layer(layer, layer.size);
  return {};
}

Result<void> Push::push_manifest(const std::string& text) {
  Call call;
  call.method = "PUT";
  call.url = fmt::format("{}/manifests/{}", repository_url(session_, name_), name_.tag());
  call.headers = {fmt::format("Content-Type: {}", kManifestMediaType)};
  call.body = text;
  const Result<Answer> answer = session_.send(std::move(call));
  if (!answer) return answer.error();
  if (answer->status < 200 || answer->status >= 300) return error_of_answer(*answer);
  return {};
}

}  // namespace drover::registry
