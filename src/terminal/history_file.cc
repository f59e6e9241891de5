#include "terminal/history_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <system_error>

namespace drover::cli {
namespace {

constexpr mode_t kOwnerOnly = 0600;

// Replaces the file in one step, so that another program that reads it sees the old lines or the new ones.
void rewrite(const std::filesystem::path& file, const std::vector<std::string>& lines) {
  std::filesystem::path temporary = file;
  temporary += "." + std::to_string(getpid()) + ".tmp";
  const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly);
  if (descriptor < 0) return;
  close(descriptor);
  std::ofstream output(temporary, std::ios::binary);
  for (const std::string& line : lines) output << line << '\n';
  output.close();
  std::error_code ignored;
  if (output) {
    std::filesystem::rename(temporary, file, ignored);
  } else {
    std::filesystem::remove(temporary, ignored);
  }
}

}  // namespace

std::vector<std::string> load_history(const std::filesystem::path& file, std::size_t lines_max, std::size_t bytes_max) {
  std::vector<std::string> lines;
  std::ifstream input(file, std::ios::binary);
  std::size_t bytes = 0;
  for (std::string line; std::getline(input, line);) {
    bytes += line.size() + 1;
    if (bytes > bytes_max) break;
    if (!line.empty()) lines.push_back(std::move(line));
  }
  const bool overgrown = lines.size() > 2 * lines_max || bytes > bytes_max;
  if (lines.size() > lines_max) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(lines_max));
  }
  if (overgrown) rewrite(file, lines);
  return lines;
}

void append_history(const std::filesystem::path& file, const std::string& line) {
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kOwnerOnly);
  if (descriptor < 0) return;
  const std::string text = line + "\n";
  // One write: lines of programs that append at the same time do not mix.
  [[maybe_unused]] const ssize_t written = write(descriptor, text.data(), text.size());
  close(descriptor);
}

}  // namespace drover::cli
