#include "dispatch/quantizer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

extern char** environ;

namespace drover {
namespace {

namespace fs = std::filesystem;

constexpr int kLookMilliseconds = 100;  // how soon a cancel is noticed
constexpr std::size_t kLineBytesMax = 4096;
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

// A child whose standard output and error are read here. Ends with this object.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (output_ >= 0) ::close(output_);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }

  Result<void> start(const std::string& executable, std::vector<std::string> arguments) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return internal(system_error("pipe2"));
    output_ = ends[0];
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    const int failed = ::posix_spawn(&pid_, executable.c_str(), &actions, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (failed == 0) return {};
    pid_ = 0;
    return internal(fmt::format("cannot start a quantizer: {}", std::strerror(failed)));
  }

  // What it has written meanwhile; "" after a while without; nullopt: it has closed its output.
  std::optional<std::string_view> read() {
    pollfd wanted = {output_, POLLIN, 0};
    if (::poll(&wanted, 1, kLookMilliseconds) <= 0) return std::string_view();
    const ssize_t count = ::read(output_, buffer_, sizeof buffer_);
    if (count < 0 && errno == EINTR) return std::string_view();
    if (count <= 0) return std::nullopt;
    return std::string_view(buffer_, static_cast<std::size_t>(count));
  }

  // Waits for its end, and tells how it came; "": well.
  std::string wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    if (WIFSIGNALED(status)) return fmt::format("the process was ended by signal {}", WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? "" : fmt::format("the process ended with exit code {}", WEXITSTATUS(status));
  }

 private:
  pid_t pid_ = 0;
  int output_ = -1;
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
      constexpr std::string_view kFailed = "failed ";
      if (line.starts_with(kProgress)) {
        progress(std::min(std::max(std::strtod(line.c_str() + kProgress.size(), nullptr), 0.0), 1.0));
      } else if (line == "full" || line.starts_with(kFailed)) {
        reason = line;
      } else if (++lines_said <= kLinesSaidMax) {
        spdlog::warn("quantizing: {}", line);
      }
      line.clear();
    }
  }

  Error error(const std::string& how_it_ended) const {
    constexpr std::string_view kFailed = "failed ";
    if (reason == "full") return {ErrorCode::kNoSpace, "cannot write the quantized model: no space left on device"};
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
  Child child;
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
