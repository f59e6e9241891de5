#include "engine/compute_threads.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <llama.h>

#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/machine.h"
#include "common.h"

namespace drover {
namespace {

// How long a thread spins after a step before it sleeps, in the engine's unit: about two milliseconds, the time to
// sample the step's tokens. See docs/adr/0017-threads.md.
constexpr std::uint32_t kPoll = 1;

using NewPool = decltype(&ggml_threadpool_new);
using FreePool = decltype(&ggml_threadpool_free);

// The back end may be a separate library, whose functions are looked up by name.
template <typename Function>
Function cpu_function(const char* name) {
  const ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return nullptr;
  return reinterpret_cast<Function>(ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), name));
}

struct FreedPool {
  void operator()(ggml_threadpool* pool) const { cpu_function<FreePool>("ggml_threadpool_free")(pool); }
};
using PoolPointer = std::unique_ptr<ggml_threadpool, FreedPool>;

PoolPointer make_pool(int threads) {
  const auto make = cpu_function<NewPool>("ggml_threadpool_new");
  DROVER_CHECK(make != nullptr);
  ggml_threadpool_params params = ggml_threadpool_params_default(threads);
  params.poll = kPoll;
  return PoolPointer(make(&params));
}

constexpr auto kLookInterval = std::chrono::milliseconds(250);

// Processor time of this process, in seconds.
double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Idle seconds of all processors of the machine in total; negative if unknown.
double idle_seconds() {
  const auto times = read_processor_times();
  if (!times) return -1;
  return static_cast<double>(times->all - times->busy) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

// A step on one thread uses a separate pool, so that the other pool's threads are not woken for nothing.
struct ComputeThreads::Pools {
  PoolPointer one;
  PoolPointer team;  // null if there is only one thread
};

ComputeThreads::ComputeThreads(llama_context* context, int threads_max)
    : context_(context), pools_(std::make_unique<Pools>()), max_(thread_count(threads_max)), choice_(max_) {
  pools_->one = make_pool(1);
  if (max_ > 1) pools_->team = make_pool(max_);
  use(max_);
}

ComputeThreads::~ComputeThreads() = default;

void ComputeThreads::begin(int most) {
  const int part = std::max(max_ / std::max(sharers_.load(std::memory_order_relaxed), 1), 1);
  const int granted = std::min(most, part);
  if (granted > 1 && choice_.reduced()) look_for_idle_processors();
  use(std::min(granted, choice_.threads()));
  if (used_ == 1) return;
  began_ = Clock::now();
  processor_began_ = processor_seconds();
}

void ComputeThreads::end() {
  if (used_ == 1) return;
  choice_.observe_step(used_, to_seconds(Clock::now() - began_), processor_seconds() - processor_began_);
}

void ComputeThreads::look_for_idle_processors() {
  const TimePoint now = Clock::now();
  const Duration since = now - looked_;
  if (since < kLookInterval) return;
  const double idle = idle_seconds();
  // Idle time while this context computed nothing says little.
  if (since < 4 * kLookInterval && idle >= 0) choice_.observe_idle((idle - idle_at_look_) / to_seconds(since));
  looked_ = now;
  idle_at_look_ = idle;
}

void ComputeThreads::use(int threads) {
  if (threads == used_) return;
  if (used_ == 0 || (threads == 1) != (used_ == 1)) {
    ggml_threadpool* pool = threads == 1 ? pools_->one.get() : pools_->team.get();
    llama_attach_threadpool(context_, pool, pool);
  }
  llama_set_n_threads(context_, threads, threads);
  used_ = threads;
}

int thread_count(int wanted) {
  return std::clamp(wanted > 0 ? wanted : common_cpu_get_num_math(), 1, GGML_MAX_N_THREADS);
}

}  // namespace drover
