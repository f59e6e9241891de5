#include "terminal/external_editor.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/descriptor.h"
#include "store/atomic_file.h"
#include "terminal/line_editor.h"

namespace drover::cli {
namespace {

std::string editor_command() {
  for (const char* name : {"OLLAMA_EDITOR", "VISUAL", "EDITOR"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return "$(command -v nano || echo vi)";
}

// A file with this text, for its owner alone; removed at the end of the scope.
class TemporaryText {
 public:
  ~TemporaryText() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryText() = default;
  TemporaryText(const TemporaryText&) = delete;
  TemporaryText& operator=(const TemporaryText&) = delete;

  Result<void> write(std::string_view text) {
    std::error_code error;
    std::string name = (std::filesystem::temp_directory_path(error) / "drover-XXXXXX.md").string();
    const Descriptor file(::mkstemps(name.data(), 3));
    if (file.value() < 0) return file_error("write", name, errno);
    path_ = name;
    while (!text.empty()) {
      const ssize_t count = ::write(file.value(), text.data(), text.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return file_error("write", path_, errno);
      text.remove_prefix(static_cast<std::size_t>(count));
    }
    return {};
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The command may have arguments of its own ("code --wait"), so a shell reads it.
Result<void> run_editor(const std::string& command, const std::string& file) {
  const std::string script = command + " \"$1\"";
  const pid_t child = ::fork();
  if (child < 0) return internal("cannot start an editor: " + std::generic_category().message(errno));
  if (child == 0) {
    std::signal(SIGINT, SIG_DFL);
    ::execl("/bin/sh", "sh", "-c", script.c_str(), "sh", file.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return not_found(fmt::format("there is no editor \"{}\"; set OLLAMA_EDITOR, VISUAL or EDITOR to one", command));
  }
  return internal(fmt::format("the editor \"{}\" failed; the line is unchanged", command));
}

}  // namespace

Result<std::string> edit_text(const std::string& text) {
  TemporaryText file;
  if (Result<void> written = file.write(text); !written) return std::move(written).error();
  if (Result<void> edited = run_editor(editor_command(), file.path()); !edited) return std::move(edited).error();
  Result<std::string> result = read_whole_file(file.path(), kPasteBytesMax);
  if (!result) return result;
  while (result->ends_with('\n')) result->pop_back();
  return result;
}

}  // namespace drover::cli
