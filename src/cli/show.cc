#include "cli/show.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/text.h"
#include "terminal/format.h"
#include "terminal/table.h"
#include "terminal/terminal.h"

namespace drover::cli {
namespace {

constexpr int kTextWidth = 100;

std::string section(std::string_view title, const std::vector<TableRow>& rows) {
  std::vector<TableRow> indented;
  for (const TableRow& row : rows) {
    TableRow& line = indented.emplace_back(1);  // An empty first cell is the indentation.
    line.insert(line.end(), row.begin(), row.end());
  }
  return fmt::format("  {}\n{}\n", title, format_table(indented));
}

std::string number_text(const Json& number) {
  if (number.is_number_float()) {
    const double value = number.get<double>();
    const auto whole = static_cast<std::int64_t>(value);
    return static_cast<double>(whole) == value ? fmt::format("{}", whole) : fmt::format("{}", value);
  }
  return to_text(number);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

// Appends the line, broken between words where it is too wide.
void append_wrapped(std::vector<TableRow>& rows, const std::string& line) {
  std::string row;
  for (const std::string& word : split_words(line)) {
    if (!row.empty() && display_width(row) + 1 + display_width(word) > kTextWidth) {
      rows.push_back({std::exchange(row, {})});
    }
    if (!row.empty()) row += ' ';
    row += word;
  }
  if (!row.empty()) rows.push_back({std::move(row)});
}

// The first two lines that are not blank, and "..." if there are more.
std::vector<TableRow> head(const std::string& text) {
  constexpr int kLinesMax = 2;
  std::vector<TableRow> rows;
  int count = 0;
  for (const std::string& raw : lines_of(text)) {
    const std::string line(trimmed(raw));
    if (line.empty()) continue;
    if (++count > kLinesMax) {
      rows.push_back({"..."});
      break;
    }
    append_wrapped(rows, line);
  }
  return rows;
}

std::vector<TableRow> model_rows(const Json& shown) {
  const Json& details = object_field(shown, "details");
  const Json& info = object_field(shown, "model_info");
  std::vector<TableRow> rows;
  const auto add = [&](std::string_view label, const std::string& value) {
    if (!value.empty()) rows.push_back({std::string(label), value});
  };
  const auto add_number = [&](std::string_view label, const std::string& key) {
    const Json* value = find_field(info, key);
    if (value != nullptr && value->is_number()) add(label, number_text(*value));
  };
  std::string architecture = text_field(info, "general.architecture");
  if (architecture.empty()) architecture = text_field(details, "family");
  std::string parameters = text_field(details, "parameter_size");
  if (parameters.empty() && info.contains("general.parameter_count")) {
    parameters = human_number(count_field(info, "general.parameter_count"));
  }
  add("architecture", architecture);
  add("parameters", parameters);
  add_number("context length", architecture + ".context_length");
  add_number("embedding length", architecture + ".embedding_length");
  add("quantization", text_field(details, "quantization_level"));
  add("requires", text_field(shown, "requires"));
  add("renderer", text_field(shown, "renderer"));
  add("parser", text_field(shown, "parser"));
  return rows;
}

std::vector<TableRow> projector_rows(const Json& info) {
  std::vector<TableRow> rows;
  const std::string architecture = text_field(info, "general.architecture");
  if (!architecture.empty()) rows.push_back({"architecture", architecture});
  if (info.contains("general.parameter_count")) {
    rows.push_back({"parameters", human_number(count_field(info, "general.parameter_count"))});
  }
  const auto add = [&](const std::string& label, const std::string& suffix) {
    for (const std::string modality : {"vision", "audio"}) {
      const Json* value = find_field(info, architecture + "." + modality + "." + suffix);
      if (value == nullptr || !value->is_number()) continue;
      rows.push_back({label, number_text(*value)});
      return;
    }
  };
  add("embedding length", "embedding_length");
  add("dimensions", "projection_dim");
  return rows;
}

// "stop    "<end>"": the name, and the rest of the line as it is.
std::vector<TableRow> parameter_rows(const std::string& parameters) {
  std::vector<TableRow> rows;
  for (const std::string& raw : lines_of(parameters)) {
    const std::string line(trimmed(raw));
    if (line.empty()) continue;
    const std::size_t name_end = std::min(line.find_first_of(" \t"), line.size());
    rows.push_back({line.substr(0, name_end), std::string(trimmed(std::string_view(line).substr(name_end)))});
  }
  return rows;
}

// The first items of an array, as many as fit a narrow column.
std::string array_text(const Json& array) {
  constexpr int kWidth = 10;
  std::string text = "[";
  std::size_t count = 0;
  for (const Json& item : array) {
    const std::string word = item.is_string() ? item.get<std::string>() : number_text(item);
    if (count > 0 && display_width(text) + 2 + display_width(word) > kWidth) break;
    if (count > 0) text += ' ';
    text += word;
    ++count;
  }
  if (count < array.size()) text += fmt::format(" ...+{} more", array.size() - count);
  return text + "]";
}

std::string value_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) return array_text(value);
  if (value.is_null()) return "-";
  return number_text(value);
}

std::vector<TableRow> metadata_rows(const Json& info) {
  std::map<std::string, std::string> sorted;
  for (const auto& [key, value] : info.items()) sorted[key] = value_text(value);
  std::vector<TableRow> rows;
  for (const auto& [key, value] : sorted) rows.push_back({key, value});
  return rows;
}

std::vector<TableRow> tensor_rows(const Json& tensors) {
  std::vector<TableRow> rows;
  for (const Json& tensor : tensors) {
    std::string shape;
    for (const Json& size : array_field(tensor, "shape")) shape += (shape.empty() ? "" : " ") + number_text(size);
    rows.push_back({text_field(tensor, "name"), text_field(tensor, "type"), "[" + shape + "]"});
  }
  return rows;
}

std::string or_else(const std::string& text, std::string_view otherwise) {
  return (text.empty() ? std::string(otherwise) : printable(text)) + "\n";
}

std::string format_parameters(const Json& shown, const Session& session) {
  std::string text = "Model defined parameters:\n";
  const std::string parameters = text_field(shown, "parameters");
  if (parameters.empty()) text += "  No additional parameters were specified for this model.\n";
  for (const std::string& line : lines_of(parameters)) text += "  " + printable(line) + "\n";
  text += "\n";
  if (session.options.empty()) return text;
  text += "User defined parameters:\n";
  for (const auto& [name, value] : session.options.items()) {
    text += fmt::format("  {:<30} {}\n", name,
                        value.is_number()   ? number_text(value)
                        : value.is_string() ? value.get<std::string>()
                                            : to_text(value));
  }
  return text + "\n";
}

}  // namespace

std::string format_show(const Json& shown, Detail detail) {
  std::string text = section("Model", model_rows(shown));
  const Json& info = object_field(shown, "model_info");
  std::vector<TableRow> capabilities;
  for (const Json& capability : array_field(shown, "capabilities")) {
    if (capability.is_string()) capabilities.push_back({capability.get<std::string>()});
  }
  if (!capabilities.empty()) text += section("Capabilities", capabilities);
  const Json& projector = object_field(shown, "projector_info");
  if (!projector.empty()) text += section("Projector", projector_rows(projector));
  if (const auto rows = parameter_rows(text_field(shown, "parameters")); !rows.empty()) {
    text += section("Parameters", rows);
  }
  if (detail == Detail::kVerbose) {
    if (!info.empty()) text += section("Metadata", metadata_rows(info));
    const Json& tensors = array_field(shown, "tensors");
    if (!tensors.empty()) text += section("Tensors", tensor_rows(tensors));
  }
  if (const auto rows = head(text_field(shown, "system")); !rows.empty()) text += section("System", rows);
  if (const auto rows = head(text_field(shown, "license")); !rows.empty()) text += section("License", rows);
  return text;
}

std::string format_show_command(const std::string& what, const Json& shown, const Session& session) {
  if (what == "info") return format_show(shown, Detail::kNormal);
  if (what == "license") return or_else(text_field(shown, "license"), "No license was specified for this model.");
  if (what == "modelfile") return printable(text_field(shown, "modelfile")) + "\n";
  if (what == "parameters") return format_parameters(shown, session);
  if (what == "template") {
    return or_else(text_field(shown, "template"), "No prompt template was specified for this model.");
  }
  if (what == "system") {
    const std::string own = session.system.empty() ? text_field(shown, "system") : session.system;
    return own.empty() ? "No system message was specified for this model.\n" : printable(own) + "\n\n";
  }
  return fmt::format("Unknown command '/show {}'. Type /? for help\n", what);
}

}  // namespace drover::cli
