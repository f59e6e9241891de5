// Which request each thread of a runner works on: a page of memory that the runner writes and the front reads, so that
// the front knows whose fault it is when the runner dies or hangs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace drover {

// What lies on the page. A thread takes the first desk that is free and keeps it; all others share the first one.
struct WorkDesks {
  struct Desk {
    std::atomic<std::uint64_t> request{0};  // 0: none, or several at once
    std::atomic<std::int64_t> since{0};     // nanoseconds of the steady clock, which is the same in all processes
  };
  static constexpr std::size_t kDesks = 128;

  std::atomic<std::uint64_t> culprit{0};  // what the thread worked on that had a fatal signal
  Desk desks[kDesks];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);

// ---- the front

class WorkPage {
 public:
  // Error: kInternal with the system's reason.
  static Result<WorkPage> create();
  WorkPage() = default;
  ~WorkPage();
  WorkPage(WorkPage&& other) noexcept;
  WorkPage& operator=(WorkPage&& other) noexcept;

  // Gives the page to the process at the other end of this Unix socket, where receive_work_page() takes it. To be
  // called once, before anything else is written to the socket. Error: kInternal with the system's reason.
  Result<void> send(int socket);

  // Whose work raised the fatal signal that the runner died of; none: nobody knows, or it died otherwise.
  RequestId culprit() const;
  // The request at which a thread has been for longest, and at least since `before`; none: there is no such.
  RequestId stuck_at(TimePoint before) const;

 private:
  int descriptor_ = -1;
  WorkDesks* desks_ = nullptr;
};

// ---- the runner

// Waits for the page, writes to it from now on, and has fatal signals write to it before they end the process. To be
// called once, before there are other threads. Where none is received, as in a test, what is written has no reader.
void receive_work_page(int socket);
// What a process does that was forked by one that has the page: its work and its end are not the runner's.
void leave_work_page();

// The calling thread works on this request for as long as this lives; no request: on several. They may be nested.
class AtWork {
 public:
  explicit AtWork(RequestId request);
  ~AtWork();
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;

 private:
  WorkDesks::Desk& desk_;
  const std::uint64_t request_before_;
  const std::int64_t since_before_;
};

}  // namespace drover
