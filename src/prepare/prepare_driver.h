// The thread of a runner that has requests prepared: it gives them to worker processes as PreparePool decides, and
// delivers their answers.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mailbox.h"
#include "base/mutex.h"
#include "prepare.pb.h"
#include "prepare/keeper.h"
#include "prepare/prepare_pool.h"

namespace drover {

class PrepareDriver {
 public:
  // Called by the thread in run(): exactly one per request, unless a request is canceled after it was prepared.
  struct Events {
    // `work` no longer has the input of the answer: messages, tools, format, tokens.
    std::function<void(pb::PrepareWork& work, pb::PrepareAnswer& answer)> on_answer;
    std::function<void(RequestId request, const Error& error)> on_failed;
    // `here`: the request was not prepared yet, and will not be. Otherwise it is unknown here or has been delivered.
    std::function<void(RequestId request, bool here)> on_canceled;
  };

  PrepareDriver(Keeper& keeper, const PrepareLimits& limits, Events events);
  ~PrepareDriver();

  // Any thread.
  void add(pb::PrepareWork work);
  void cancel(RequestId request);  // after add()
  std::uint32_t requests() const { return requests_.load(std::memory_order_relaxed); }
  // Grows while there are requests.
  std::uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

  // The thread's body, until close(). Kills the process if the keeper ends: nothing can be prepared without it.
  void run();
  void close();

 private:
  struct Job {
    pb::PrepareWork work;
    std::string frame;
  };
  // The connection to a worker.
  struct Line {
    int socket = -1;
    const std::string* out = nullptr;  // the frame that is being sent
    std::size_t sent = 0;
    std::string in;  // the answer as far as it has arrived, with its header
    std::size_t got = 0;
  };
  // Reported to on_failed once mutex_ is free.
  struct Failure {
    RequestId request;
    Error error;
  };

  void wake();
  void wait();
  void take_cancels();
  void take_reports();
  void on_ended(const KeeperReport& report);
  void on_readable(WorkerId worker);
  void on_answer(WorkerId worker, std::string_view bytes);
  void deliver_failures();

  void act() REQUIRES(mutex_);
  void start(WorkerId worker) REQUIRES(mutex_);
  void end_unstarted() REQUIRES(mutex_);
  void send(Line& line) REQUIRES(mutex_);
  static bool receive(Line& line);
  void drop(WorkerId worker) REQUIRES(mutex_);
  void fail(RequestId request, Error error) REQUIRES(mutex_);
  std::unique_ptr<Job> take_job(RequestId request) REQUIRES(mutex_);

  Keeper& keeper_;
  const Events events_;
  const PrepareLimits limits_;
  Mailbox<RequestId> cancels_;
  std::vector<RequestId> canceled_;
  const int wake_;  // an eventfd
  std::atomic<bool> closed_{false};
  TimePoint last_work_{};  // used by the thread only

  // add() gives a request to a worker itself, which saves waking up the thread.
  Mutex mutex_;
  PreparePool pool_ GUARDED_BY(mutex_);
  std::unordered_map<RequestId, std::unique_ptr<Job>> jobs_ GUARDED_BY(mutex_);
  std::unordered_map<WorkerId, Line> lines_ GUARDED_BY(mutex_);
  std::vector<Failure> failures_ GUARDED_BY(mutex_);
  std::vector<WorkerId> unstarted_ GUARDED_BY(mutex_);  // the keeper could not start them
  bool must_wake_ GUARDED_BY(mutex_) = true;  // the thread sleeps without a time limit, or does not know a worker yet

  std::atomic<std::uint32_t> requests_{0};
  std::atomic<std::uint64_t> progress_{0};
};

}  // namespace drover
