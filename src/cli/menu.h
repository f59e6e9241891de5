// What `drover` alone shows on a terminal: a short menu.
#pragma once

#include <string>

namespace drover::cli {

enum class MenuChoice {
  kDone,   // what was chosen has been carried out
  kServe,  // a server is wanted, here
  kHelp,
};

// Asks until something is chosen. `exit_code` is set to that of what was carried out.
MenuChoice run_menu(int& exit_code);

}  // namespace drover::cli
