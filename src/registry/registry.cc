#include "registry/registry.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "registry/partial_file.h"
#include "registry/pull.h"
#include "registry/push.h"

namespace drover::registry {

// ---- claims

std::optional<BlobClaims::Claim> BlobClaims::claim(const Digest& digest) {
  const MutexLock lock(mutex_);
  const auto [entry, is_new] = claims_.emplace(digest, nullptr);
  if (!is_new) return std::nullopt;
  entry->second = std::make_shared<State>();
  return Claim(*this, digest, entry->second);
}

std::optional<std::uint64_t> BlobClaims::completed(const Digest& digest) const {
  const MutexLock lock(mutex_);
  const auto entry = claims_.find(digest);
  if (entry == claims_.end()) return std::nullopt;
  return entry->second->completed.load();
}

void BlobClaims::release(const Digest& digest) {
  const MutexLock lock(mutex_);
  claims_.erase(digest);
}

// ---- jobs

struct Registry::Job {
  explicit Job(std::unique_ptr<Session> its_session) : session(std::move(its_session)) {}

  void cancel() {
    const MutexLock lock(mutex);
    if (session != nullptr) session->cancel();
  }

  Mutex mutex;
  // Set before the thread starts. The job's thread uses it without the mutex, and resets it with the mutex; another
  // thread uses it in cancel() only, with the mutex.
  std::unique_ptr<Session> session;
  std::atomic<bool> ended{false};
  std::thread thread;
};

Registry::Registry(ModelStore& store, std::string user_agent, std::chrono::seconds stall_timeout)
    : store_(store), user_agent_(std::move(user_agent)), stall_timeout_(stall_timeout) {}

void Registry::sweep() const {
  PartialFile::sweep(store_.blobs());
}

Registry::~Registry() {
  stop();
  for (const auto& job : jobs_) job->thread.join();
}

void Registry::stop() {
  stopped_ = true;
  for (const auto& job : jobs_) job->cancel();
}

Result<Registry::Handle> Registry::pull(TransferRequest request, JobCallbacks callbacks) {
  return start(request, std::move(callbacks), [this, name = request.name](Session& session, const auto& report) {
    return Pull(store_, claims_, session, name, report).run();
  });
}

Result<Registry::Handle> Registry::push(TransferRequest request, JobCallbacks callbacks) {
  return start(request, std::move(callbacks), [this, name = request.name](Session& session, const auto& report) {
    return Push(store_, session, name, report).run();
  });
}

Result<Registry::Handle> Registry::start(const TransferRequest& request, JobCallbacks callbacks, Work work) {
  jobs_.remove_if([](const std::shared_ptr<Job>& job) {
    if (!job->ended) return false;
    job->thread.join();
    return true;
  });
  if (stopped_) return Error{ErrorCode::kUnavailable, "the server is stopping"};
  if (jobs_.size() >= kJobsMax) {
    return Error{ErrorCode::kQueueFull, fmt::format("{} pulls and pushes are running already", kJobsMax)};
  }
  const char* scheme = request.insecure ? "http" : "https";
  Result<Url> url = Url::parse(fmt::format("{}://{}/", scheme, request.name.host()));
  if (!url) return std::move(url).error();
  auto job =
      std::make_shared<Job>(std::make_unique<Session>(std::move(*url), request.account, user_agent_, stall_timeout_));
  jobs_.push_back(job);
  // The thread holds the job by a plain pointer: it is joined before the list lets go of it.
  job->thread = std::thread([job = job.get(), work = std::move(work), callbacks = std::move(callbacks),
                             name = request.name.display_shortest()] {
    Result<void> result = work(*job->session, callbacks.on_progress);
    if (!result && job->session->canceled()) result = Error{ErrorCode::kCanceled, "canceled"};
    if (!result) spdlog::info("{}: {}", name, result.error().message);
    {
      // Connections that are kept for further use have none.
      const MutexLock lock(job->mutex);
      job->session.reset();
    }
    callbacks.on_end(std::move(result));
    job->ended = true;
  });
  // The handle's end is what cancels; the job itself stays until its thread has ended.
  return Handle(nullptr, [job](void*) { job->cancel(); });
}

}  // namespace drover::registry
