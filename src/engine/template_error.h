// Turns the engine's exceptions during the rendering of a chat template into error texts.
#pragma once

#include <string>
#include <string_view>

namespace drover {

// The engine's text begins with a part of the template's source, dashes and line breaks; the reason is at its end. This
// returns the reason in one line of bounded length, and whether the template refuses its input or has a fault. A text
// of another form is returned as it is.
std::string template_error(std::string_view what);
// The same of an exception for any conversation: while the template is read, or tried for the first time.
std::string unusable_template(std::string_view what);

}  // namespace drover
