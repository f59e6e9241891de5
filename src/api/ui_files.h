// The files of src/ui/, which cmake/embed.cmake puts into the program.
#pragma once

#include <span>
#include <string_view>

namespace drover::api {

struct UiFile {
  std::string_view name;  // as in src/ui/: "app.js"
  std::string_view bytes;
};

std::span<const UiFile> ui_files();

}  // namespace drover::api
