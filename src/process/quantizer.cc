#include "process/quantizer.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "process/child.h"

namespace drover {
namespace {

namespace fs = std::filesystem;

constexpr int kLookMilliseconds = 100;  // how soon a cancel is noticed
constexpr std::size_t kLineBytesMax = 4096;
constexpr std::string_view kFull = "full";
constexpr std::string_view kFailed = "failed ";
constexpr int kLinesSaidMax = 50;  // of one child, in the log

std::string system_error(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

// llama.cpp finds the files of a split model by their names, which blobs do not have.
class NamedParts {
 public:
  NamedParts() = default;
  NamedParts(const NamedParts&) = delete;
  NamedParts& operator=(const NamedParts&) = delete;
  ~NamedParts() {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
  }

  Result<std::vector<fs::path>> name(const std::vector<fs::path>& sources) {
    std::error_code failure;
    std::string pattern = (fs::temp_directory_path(failure) / "drover-parts-XXXXXX").string();
    if (failure || ::mkdtemp(pattern.data()) == nullptr) return internal(system_error("mkdtemp"));
    folder_ = pattern;
    std::vector<fs::path> named;
    for (std::size_t i = 0; i < sources.size(); ++i) {
      named.push_back(folder_ / fmt::format("model-{:05}-of-{:05}.gguf", i + 1, sources.size()));
      fs::create_symlink(fs::absolute(sources[i]), named.back(), failure);
      if (failure) return internal("cannot make a link: " + failure.message());
    }
    return named;
  }

 private:
  fs::path folder_;
};

// A child whose output is read here. Ends with this object.
class Quantizing {
 public:
  Quantizing() = default;
  Quantizing(const Quantizing&) = delete;
  Quantizing& operator=(const Quantizing&) = delete;
  ~Quantizing() {
    if (child_.output >= 0) ::close(child_.output);
    if (child_.pid > 0) {
      ::kill(child_.pid, SIGKILL);
      wait();
    }
  }

  Result<void> start(const std::string& executable, std::vector<std::string> arguments) {
    const Result<Child> child = spawn(executable, std::move(arguments), {});
    if (!child) return child.error();
    child_ = *child;
    return {};
  }

  // What it has written meanwhile; "" after a while without; nullopt: it has closed its output.
  std::optional<std::string_view> read() {
    pollfd wanted = {child_.output, POLLIN, 0};
    if (::poll(&wanted, 1, kLookMilliseconds) <= 0) return std::string_view();
    const ssize_t count = ::read(child_.output, buffer_, sizeof buffer_);
    if (count < 0 && errno == EINTR) return std::string_view();
    if (count <= 0) return std::nullopt;
    return std::string_view(buffer_, static_cast<std::size_t>(count));
  }

  // Waits for its end, and tells how it came; "": well.
  std::string wait() {
    int status = 0;
    while (::waitpid(child_.pid, &status, 0) < 0 && errno == EINTR) {
    }
    child_.pid = 0;
    if (WIFSIGNALED(status)) return fmt::format("the process was ended by signal {}", WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? "" : fmt::format("the process ended with exit code {}", WEXITSTATUS(status));
  }

 private:
  Child child_;
  char buffer_[4096];
};

// What the child has told.
struct Report {
  std::string line;    // not yet whole
  std::string reason;  // "full" or "failed …"
  int lines_said = 0;  // what it wrote beside that: a library's, often its last words

  void read(std::string_view text, const std::function<void(double)>& progress) {
    for (const char c : text) {
      if (c != '\n') {
        if (line.size() < kLineBytesMax) line += c;
        continue;
      }
      constexpr std::string_view kProgress = "progress ";
      if (line.starts_with(kProgress)) {
        progress(std::min(std::max(std::strtod(line.c_str() + kProgress.size(), nullptr), 0.0), 1.0));
      } else if (line == kFull || line.starts_with(kFailed)) {
        reason = line;
      } else if (!line.empty() && ++lines_said <= kLinesSaidMax) {
        spdlog::warn("drover quantize: {}", line);  // what llama.cpp says as it gives up
      }
      line.clear();
    }
  }

  Error error(const std::string& how_it_ended) const {
    if (reason == kFull) return {ErrorCode::kNoSpace, "cannot write the quantized model: no space left on device"};
    const bool told = reason.starts_with(kFailed) && reason.size() > kFailed.size();
    return internal("quantization failed: " + (told ? reason.substr(kFailed.size()) : how_it_ended));
  }
};

}  // namespace

Result<void> QuantizerProcess::run(const std::vector<fs::path>& sources, const fs::path& target,
                                   std::uint32_t file_type, const std::function<void(double)>& progress,
                                   const std::atomic<bool>& canceled) {
  NamedParts parts;
  Result<std::vector<fs::path>> named = sources.size() > 1 ? parts.name(sources) : sources;
  if (!named) return std::move(named).error();
  std::vector<std::string> arguments = {"drover",   "quantize",     "--type", std::to_string(file_type),
                                        "--target", target.string()};
  for (const fs::path& path : *named) arguments.push_back(path.string());
  Quantizing child;
  if (Result<void> started = child.start(executable_, std::move(arguments)); !started) return started;
  Report report;
  while (!canceled && !stopped_) {
    const std::optional<std::string_view> text = child.read();
    if (!text) {
      const std::string how = child.wait();
      if (how.empty()) return {};
      const Error error = report.error(how);
      spdlog::warn("{}", error.message);
      return error;
    }
    report.read(*text, progress);
  }
  return Error{ErrorCode::kCanceled, "canceled"};
}

}  // namespace drover
