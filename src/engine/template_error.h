// What is told of an exception that the engine throws while a chat template is rendered.
#pragma once

#include <string>
#include <string_view>

namespace drover {

// The engine's text begins with a piece of the template's source, dashes and line breaks. Its end says what is wrong;
// this is that, in one line of a bounded length, and whether the template refuses what it was given or has a fault. A
// text of another form is left as it is.
std::string template_error(std::string_view what);
// The same of an exception for any conversation: while the template is read, or tried for the first time.
std::string unusable_template(std::string_view what);

}  // namespace drover
