#include "engine/template_error.h"

#include <algorithm>

namespace drover {
namespace {

constexpr std::size_t kReasonBytesMax = 1000;
constexpr std::string_view kSourceMark = "\nError: ";
constexpr std::string_view kRaised = "Jinja Exception: ";  // raised by the template itself

}  // namespace

std::string template_error(std::string_view what) {
  const auto mark = what.find(kSourceMark);
  std::string_view reason = what;
  if (mark != what.npos) reason.remove_prefix(mark + kSourceMark.size());
  const bool raised = reason.starts_with(kRaised);
  if (mark == what.npos && !raised) return std::string(what);
  if (raised) reason.remove_prefix(kRaised.size());
  std::string text(raised ? "the model's chat template refuses this: " : "the model's chat template has a fault: ");
  text += reason.substr(0, kReasonBytesMax);
  std::replace(text.begin(), text.end(), '\n', ' ');
  text.erase(text.find_last_not_of(" \r\t") + 1);
  return text;
}

}  // namespace drover
