// The keeper: a process that a runner forks first, and that forks worker processes for the runner. It has the model's
// vocabulary and chat template but no weights, and one thread, so it starts a worker in milliseconds.
//
// Keeper is the runner's end. The two exchange whole messages over a socket. The runner makes the socket of each
// worker.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "prepare/prepare_pool.h"
#include "prepare/process_limits.h"

namespace drover {

struct KeeperOptions {
  std::string model_path;
  std::vector<std::string> shard_paths = {};
  bool with_template = true;                   // false: for embeddings
  std::string template_override = {};          // jinja, for a model whose file has none
  std::function<Result<void>()> confine = {};  // called by the keeper to enter its sandbox, if not empty
  // Limits of one request, and of the analysis of the chat template: memory in addition to the keeper's own, and
  // processor seconds.
  std::uint64_t memory_max = 1u << 30;
  unsigned request_seconds = 10;
  unsigned template_seconds = 5;
};

// A message from the keeper.
struct KeeperReport {
  enum class Kind { kVocabulary, kReady, kFailed, kEnded } kind;
  std::string message = {};  // kFailed
  bool invalid = false;      // kFailed: the model's fault
  WorkerId worker{};         // kEnded
  LimitedEnd end{};          // kEnded
};

class Keeper {
 public:
  enum class Order { kStart, kStop, kContinue, kYield, kKill };

  // Call it before the process has a second thread.
  static Result<std::unique_ptr<Keeper>> start(const KeeperOptions& options);
  // Ends the keeper and its workers.
  ~Keeper();

  // Whether the keeper is ready; `wait`: waits until it is. Error: it will never be ready, and why.
  Result<bool> ready(bool wait);

  // ---- once it is ready

  // Starts a worker. Returns this end of its socket, which does not block.
  Result<int> start_worker(WorkerId worker);
  void order(Order order, WorkerId worker);
  // The keeper's next report; none: there is none now. Error: the keeper has ended.
  Result<std::optional<KeeperReport>> next_report(bool wait = false);
  int descriptor() const { return socket_; }  // readable when there is a report
  pid_t process() const { return process_; }
  const KeeperOptions& options() const { return options_; }

 private:
  Keeper(const KeeperOptions& options, int socket, pid_t process)
      : options_(options), socket_(socket), process_(process) {}
  Error how_it_ended();

  const KeeperOptions options_;
  const int socket_;
  const pid_t process_;
  bool reaped_ = false;
  bool has_vocabulary_ = false;
  bool ready_ = false;
  std::optional<Error> failed_;
};

}  // namespace drover
