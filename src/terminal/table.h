// Tables of text as the list commands print them.
#pragma once

#include <string>
#include <vector>

namespace drover::cli {

using TableRow = std::vector<std::string>;

// Left-aligned columns, four spaces between them, each row with its newline and no spaces at its end. A row may have
// fewer cells than others. Control characters in cells are left out.
std::string format_table(const std::vector<TableRow>& rows);

}  // namespace drover::cli
