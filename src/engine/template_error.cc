#include "engine/template_error.h"

#include <algorithm>

#include "base/text.h"

namespace drover {
namespace {

constexpr std::size_t kReasonBytesMax = 1000;
constexpr std::string_view kSourceMark = "\nError: ";
constexpr std::string_view kRaised = "Jinja Exception: ";  // raised by the template itself

// What stands behind the piece of source; all of it where there is none.
std::string_view without_source(std::string_view what) {
  const auto mark = what.find(kSourceMark);
  return mark == what.npos ? what : what.substr(mark + kSourceMark.size());
}

std::string in_one_line(std::string_view reason) {
  std::string text(trimmed(reason).substr(0, kReasonBytesMax));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

std::string template_error(std::string_view what) {
  std::string_view reason = without_source(what);
  const bool raised = reason.starts_with(kRaised);
  if (reason.size() == what.size() && !raised) return std::string(what);
  if (!raised) return "the model's chat template has a fault: " + in_one_line(reason);
  reason.remove_prefix(kRaised.size());
  return "the model's chat template refuses this: " + in_one_line(reason);
}

std::string unusable_template(std::string_view what) {
  std::string_view reason = without_source(what);
  if (reason.starts_with(kRaised)) reason.remove_prefix(kRaised.size());
  // The engine's parser says no more.
  if (reason == "std::exception") reason = "it cannot be parsed";
  return "the model's chat template cannot be used: " + in_one_line(reason);
}

}  // namespace drover
