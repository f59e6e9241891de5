// The keeper: a process that a runner forks before anything else, and that forks worker processes for it. It has the
// model's vocabulary and chat template and no weights, and one thread: so a worker is there in milliseconds.
//
// Keeper is the runner's end. The two talk over a socket of whole messages; a worker's own socket is made by the
// runner.
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
  std::function<Result<void>()> confine = {};  // by which the keeper gives up what it does not need, if not empty
  // Of one request, and of the analysis of the chat template: memory beside what the keeper has, and seconds of the
  // processor.
  std::uint64_t memory_max = 1u << 30;
  unsigned request_seconds = 10;
  unsigned template_seconds = 5;
};

// From the keeper.
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

  // Before the process has a second thread.
  static Result<std::unique_ptr<Keeper>> start(const KeeperOptions& options);
  // Ends it and its workers.
  ~Keeper();

  // Whether it has all that it needs; `wait`: until it has. Error: it never will, and why.
  Result<bool> ready(bool wait);

  // ---- once it is ready

  // Begins a worker. Returns this end of its socket, which does not block.
  Result<int> start_worker(WorkerId worker);
  void order(Order order, WorkerId worker);
  // What it has to say next; none: nothing now. Error: it has ended.
  Result<std::optional<KeeperReport>> next_report(bool wait = false);
  int descriptor() const { return socket_; }  // to wait for its reports
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
