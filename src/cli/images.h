// Images that a prompt names by their paths, as `what is this? ./photo.png` does.
#pragma once

#include <string>
#include <string_view>

namespace drover::cli {

// What to tell, as a line, somebody whose prompt names an image that the model cannot see; "": nothing. A path begins
// with /, ./, ../ or ~/ and ends in .png, .jpg, .jpeg or .webp; one that is not a word of its own must exist.
std::string unseen_image_note(std::string_view prompt, std::string_view model);

}  // namespace drover::cli
