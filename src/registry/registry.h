// Pulls models from registries and pushes them there: the OCI distribution protocol with Ollama's media types.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "base/result.h"
#include "registry/session.h"
#include "store/model_store.h"

namespace drover::registry {

inline constexpr std::size_t kJobsMax = 32;  // pulls and pushes at the same time; one more is refused

struct TransferRequest {
  ModelName name;
  // Plain http instead of https. Without it nothing is ever sent unencrypted.
  bool insecure = false;
  Account account;  // for registries that ask for one
};

// As the API reports it. Without a digest it is a step, with one a layer's state.
struct Progress {
  std::string status;           // "pulling manifest", "pulling 6a0746a1ec1a", "success"
  std::string digest;           // "sha256:…", or ""
  std::uint64_t total = 0;      // bytes
  std::uint64_t completed = 0;  // bytes
};

// Both are called on the job's thread. `on_end` is called once, last.
struct JobCallbacks {
  std::function<void(const Progress&)> on_progress;
  std::function<void(Result<void>)> on_end;
};

// The blobs that are being fetched, so that two pulls do not fetch the same one: the second watches the first, and
// takes over if that one leaves. Any thread may call any function at any time.
class BlobClaims {
 public:
  struct State {
    std::atomic<std::uint64_t> completed{0};  // bytes
  };
  class Claim {
   public:
    Claim(BlobClaims& claims, const Digest& digest, std::shared_ptr<State> state)
        : claims_(&claims), digest_(digest), state_(std::move(state)) {}
    Claim(Claim&& other) noexcept
        : claims_(std::exchange(other.claims_, nullptr)), digest_(other.digest_), state_(std::move(other.state_)) {}
    Claim& operator=(Claim&&) = delete;
    ~Claim() {
      if (claims_ != nullptr) claims_->release(digest_);
    }
    void report(std::uint64_t completed) { state_->completed = completed; }

   private:
    BlobClaims* claims_;
    Digest digest_;
    std::shared_ptr<State> state_;
  };

  // nullopt: somebody else has it.
  std::optional<Claim> claim(const Digest& digest);
  // How far whoever has it is; nullopt: nobody has it.
  std::optional<std::uint64_t> completed(const Digest& digest) const;

 private:
  void release(const Digest& digest);

  mutable Mutex mutex_;
  std::map<Digest, std::shared_ptr<State>> claims_ GUARDED_BY(mutex_);
};

// Owns the jobs: a thread for each, ended and joined by the destructor. Functions are called by one thread.
class Registry {
 public:
  // What cancels a job when it goes, if that has not ended.
  using Handle = std::shared_ptr<void>;

  // `store` must outlive this. `stall_timeout`: how long a connection may all but stand still.
  Registry(ModelStore& store, std::string user_agent, std::chrono::seconds stall_timeout);
  ~Registry();

  // Removes what is left of pulls that nobody has gone on with.
  void sweep() const;

  // Begin a job. Errors, at once: kQueueFull: too many jobs; kInvalidArgument: a host that is none; kUnavailable:
  // stopped.
  Result<Handle> pull(TransferRequest request, JobCallbacks callbacks);
  Result<Handle> push(TransferRequest request, JobCallbacks callbacks);

  // Cancels all jobs, and refuses new ones. What a pull has fetched stays for the next one.
  void stop();

 private:
  struct Job;
  using Work = std::function<Result<void>(Session&, const std::function<void(const Progress&)>&)>;
  Result<Handle> start(const TransferRequest& request, JobCallbacks callbacks, Work work);

  ModelStore& store_;
  const std::string user_agent_;
  const std::chrono::seconds stall_timeout_;
  BlobClaims claims_;
  bool stopped_ = false;
  std::list<std::shared_ptr<Job>> jobs_;
};

}  // namespace drover::registry
