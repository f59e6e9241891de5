#include "cli/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "base/text.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr std::size_t kPromptBytesMax = 64u
                                        << 10;  // that are looked through: a longer text is no question about images
constexpr std::size_t kPathBytesMax = 4096;
constexpr std::array<std::string_view, 4> kEndings = {".png", ".jpg", ".jpeg", ".webp"};

bool ends_path(std::string_view text, std::size_t end) {
  return end == text.size() || std::isalnum(static_cast<unsigned char>(text[end])) == 0;
}

bool begins_path(std::string_view path) {
  return path.starts_with('/') || path.starts_with("./") || path.starts_with("../") || path.starts_with("~/");
}

// Blanks within a path are written with backslashes, as a shell and a terminal's drag and drop write them.
std::string without_backslashes(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    result += text[i];
  }
  return result;
}

bool is_file(std::string path) {
  const char* home = std::getenv("HOME");
  if (path.starts_with("~/") && home != nullptr) path = home + path.substr(1);
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

// The path that ends at `end`, if one does.
std::optional<std::string> path_before(std::string_view text, std::size_t end) {
  const std::size_t first = end > kPathBytesMax ? end - kPathBytesMax : 0;
  for (std::size_t start = end; start-- > first;) {
    if (text[start] == '\n') break;
    const char before = start == 0 ? ' ' : text[start - 1];
    if (std::isalnum(static_cast<unsigned char>(before)) != 0 || !begins_path(text.substr(start, end - start)))
      continue;
    const std::string_view written = text.substr(start, end - start);
    const bool escaped = before == '\\' || before == '/' || before == '.' || before == '~';
    if (escaped) continue;
    std::string path = without_backslashes(written);
    const bool one_word = std::none_of(written.begin(), written.end(), is_blank);
    if (is_file(path) || (one_word && is_blank(before))) return path;
  }
  return std::nullopt;
}

}  // namespace

std::string unseen_image_note(std::string_view prompt, std::string_view model) {
  const std::string_view text = prompt.substr(0, kPromptBytesMax);
  const std::string lower = lower_case(text);
  for (std::size_t dot = lower.find('.'); dot != std::string::npos; dot = lower.find('.', dot + 1)) {
    for (const std::string_view ending : kEndings) {
      if (lower.compare(dot, ending.size(), ending) != 0 || !ends_path(text, dot + ending.size())) continue;
      const std::optional<std::string> path = path_before(text, dot + ending.size());
      if (!path) continue;
      return fmt::format("Note: images are not supported by {}; \"{}\" goes to it as text\n", printable(model),
                         printable(*path));
    }
  }
  return "";
}

}  // namespace drover::cli
