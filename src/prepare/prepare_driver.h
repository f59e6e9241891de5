// The thread of a runner that has requests prepared: it gives them to worker processes as PreparePool decides, and
// hands on what they answer.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mailbox.h"
#include "prepare.pb.h"
#include "prepare/keeper.h"
#include "prepare/prepare_pool.h"

namespace drover {

class PrepareDriver {
 public:
  // Called by the thread that runs run(). Of each request exactly one, unless it is canceled after it was prepared.
  struct Events {
    // `work` without what the answer was made of: messages, tools, format, tokens.
    std::function<void(pb::PrepareWork& work, pb::PrepareAnswer& answer)> on_answer;
    std::function<void(RequestId request, const Error& error)> on_failed;
    // `here`: it was to be prepared, and will not be. Otherwise it is not known here, or has been handed on.
    std::function<void(RequestId request, bool here)> on_canceled;
  };

  PrepareDriver(Keeper& keeper, const PrepareLimits& limits, Events events);
  ~PrepareDriver();

  // Any thread.
  void add(pb::PrepareWork work);
  void cancel(RequestId request);  // after add()
  std::uint32_t requests() const { return requests_.load(std::memory_order_relaxed); }
  std::uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }  // grows while there are some

  // The thread's body, until close(). Ends the process if the keeper ends: nothing can be prepared without it.
  void run();
  void close();

 private:
  struct Job {
    pb::PrepareWork work;
    std::string frame;
  };
  struct Line {  // to a worker
    int socket = -1;
    const std::string* out = nullptr;  // what it is being given
    std::size_t sent = 0;
    std::string in;  // what has come of its answer, the header first
    std::size_t got = 0;
  };
  // What the events are told of, once mutex_ is free.
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

  // With mutex_ locked.
  void act();
  void start(WorkerId worker);
  void end_unstarted();
  void send(Line& line);
  static bool receive(Line& line);
  void drop(WorkerId worker);
  void fail(RequestId request, Error error);
  std::unique_ptr<Job> take_job(RequestId request);

  Keeper& keeper_;
  const Events events_;
  const PrepareLimits limits_;
  Mailbox<RequestId> cancels_;
  std::vector<RequestId> canceled_;
  const int wake_;  // an eventfd
  std::atomic<bool> closed_{false};
  TimePoint last_work_{};  // of the thread

  // add() gives a request to a worker itself, so that one thread less has to wake up for it.
  std::mutex mutex_;  // of what follows
  PreparePool pool_;
  std::unordered_map<RequestId, std::unique_ptr<Job>> jobs_;
  std::unordered_map<WorkerId, Line> lines_;
  std::vector<Failure> failures_;
  std::vector<WorkerId> unstarted_;  // of which the keeper knows nothing
  bool must_wake_ = true;            // the thread sleeps without an end, or does not know of a worker yet

  std::atomic<std::uint32_t> requests_{0};
  std::atomic<std::uint64_t> progress_{0};
};

}  // namespace drover
