#include "terminal/table.h"

#include <algorithm>

#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr std::size_t kColumnGap = 4;

std::string one_line(const std::string& cell) {
  std::string text = printable(cell);
  std::replace_if(
      text.begin(), text.end(), [](char character) { return character == '\n' || character == '\t'; }, ' ');
  return text;
}

}  // namespace

std::string format_table(const std::vector<TableRow>& rows) {
  std::vector<TableRow> cells;
  std::vector<int> widths;
  for (const TableRow& row : rows) {
    TableRow& line = cells.emplace_back();
    for (const std::string& cell : row) {
      line.push_back(one_line(cell));
      if (line.size() > widths.size()) widths.push_back(0);
      widths[line.size() - 1] = std::max(widths[line.size() - 1], display_width(line.back()));
    }
  }
  std::string text;
  for (const TableRow& line : cells) {
    std::string row;
    for (std::size_t i = 0; i < line.size(); ++i) {
      row += line[i];
      row.append(static_cast<std::size_t>(widths[i] - display_width(line[i])) + kColumnGap, ' ');
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

}  // namespace drover::cli
