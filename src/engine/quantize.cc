#include "engine/quantize.h"

#include <fcntl.h>
#include <ggml.h>
#include <gguf.h>
#include <llama.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "engine/engine_library.h"
#include "sandbox/sandbox.h"

namespace drover {
namespace {

constexpr int kNiceness = 10;  // requests that wait for tokens come first
constexpr std::size_t kProbeBytes = 1 << 20;

struct Progress {
  std::map<std::string, double, std::less<>> bytes;  // bytes of each tensor
  double total = 0;
  double done = 0;
  double current = 0;  // bytes of the current tensor
  std::string last_error;
};

void read_sizes(const std::string& path, Progress& progress) {
  const gguf_init_params params = {true, nullptr};
  const std::unique_ptr<gguf_context, void (*)(gguf_context*)> file(gguf_init_from_file(path.c_str(), params),
                                                                    gguf_free);
  if (file == nullptr) return;
  for (std::int64_t i = 0; i < gguf_get_n_tensors(file.get()); ++i) {
    const auto size = static_cast<double>(gguf_get_tensor_size(file.get(), i));
    progress.bytes[gguf_get_tensor_name(file.get(), i)] = size;
    progress.total += size;
  }
}

// llama.cpp reports its progress only in its log: "[   3/  45] blk.0.attn_q.weight    - [ 512, …".
void on_log(ggml_log_level level, const char* text, void* data) {
  Progress& progress = *static_cast<Progress*>(data);
  std::string_view line = text;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
  if (level == GGML_LOG_LEVEL_ERROR && !line.empty() && line.find_first_not_of('=') != std::string_view::npos) {
    progress.last_error = line;
  }
  if (line.empty() || line.front() != '[') return;
  std::string_view name = line.substr(std::min(line.find(']'), line.size() - 1) + 1);
  name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
  const auto tensor = progress.bytes.find(name.substr(0, name.find(' ')));
  if (tensor == progress.bytes.end() || progress.total <= 0) return;
  progress.done += std::exchange(progress.current, tensor->second);
  std::printf("progress %.4f\n", progress.done / progress.total);
  std::fflush(stdout);
}

// The reason why the file cannot grow; 0: none. llama.cpp's streams do not keep it. Empties the file.
int write_error_at(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) return errno;
  const std::string zeros(kProbeBytes, '\0');
  std::size_t written = 0;
  int failure = 0;
  while (written < zeros.size() && failure == 0) {
    const ssize_t count = ::write(file, zeros.data(), zeros.size() - written);
    if (count > 0) written += static_cast<std::size_t>(count);
    if (count < 0 && errno != EINTR) failure = errno;
  }
  // The kernel keeps a file of the sandbox's rules, and its space, slightly longer than the process lives.
  (void)!::ftruncate(file, 0);
  ::close(file);
  return failure;
}

}  // namespace

int run_quantize(const QuantizeArguments& arguments) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "drover-quantize");
  ::signal(SIGINT, SIG_IGN);  // Ctrl-C is for the server, which ends this process
  ::signal(SIGXFSZ, SIG_IGN);
  ::setpriority(PRIO_PROCESS, 0, kNiceness);

  SandboxRules rules{
      .profile = SandboxProfile::kQuantize, .readable = arguments.sources, .writable = {arguments.target}};
  rules.readable.push_back(engine_folder().string());
  if (const auto confined = enter_sandbox(rules, wanted_sandbox()); !confined) {
    std::printf("failed %s\n", confined.error().message.c_str());
    return 1;
  }
  Progress progress;
  for (const std::string& source : arguments.sources) read_sizes(source, progress);
  if (auto ready = initialize_engine(); !ready) {
    std::printf("failed %s\n", ready.error().message.c_str());
    return 1;
  }
  llama_log_set(on_log, &progress);
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.ftype = static_cast<llama_ftype>(arguments.file_type);
  if (llama_model_quantize(arguments.sources.front().c_str(), arguments.target.c_str(), &params) == 0) return 0;
  if (const int failure = write_error_at(arguments.target); failure != 0) {
    const bool full = failure == ENOSPC || failure == EDQUOT || failure == EFBIG;
    std::printf("%s\n", full ? "full" : ("failed " + std::string(std::strerror(failure))).c_str());
    return 1;
  }
  std::printf("failed %s\n", progress.last_error.c_str());
  return 1;
}

}  // namespace drover
