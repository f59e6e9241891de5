#include "engine/compute_threads.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <llama.h>

#include <algorithm>

#include "base/check.h"
#include "common.h"

namespace drover {
namespace {

// How long a thread spins after a step before it sleeps: in the engine's unit, some two milliseconds, as long as it
// takes to sample the step's tokens; see docs/adr/0017-threads.md.
constexpr std::uint32_t kPoll = 1;

using NewPool = decltype(&ggml_threadpool_new);
using FreePool = decltype(&ggml_threadpool_free);

// The back end may be a library of its own, whose functions are asked for by name.
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

}  // namespace

// A step on one thread uses a pool of its own: the other's threads would be woken for nothing.
struct ComputeThreads::Pools {
  PoolPointer one;
  PoolPointer team;  // null: there is only one thread
};

ComputeThreads::ComputeThreads(llama_context* context, int threads_max)
    : context_(context), pools_(std::make_unique<Pools>()), max_(thread_count(threads_max)) {
  pools_->one = make_pool(1);
  if (max_ > 1) pools_->team = make_pool(max_);
  use(max_);
}

ComputeThreads::~ComputeThreads() = default;

void ComputeThreads::use(int threads) {
  DROVER_CHECK(threads >= 1 && threads <= max_);
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
