#include "store/modelfile.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "base/text.h"
#include "base/utf8.h"

namespace drover {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kTripleQuote = R"(""")";
constexpr std::array<std::string_view, 11> kCommands = {"from",      "license", "template", "system",
                                                        "adapter",   "draft",   "renderer", "parser",
                                                        "parameter", "message", "requires"};

bool is_space(char c) {
  return c == ' ' || c == '\t';
}

bool is_newline(char c) {
  return c == '\r' || c == '\n';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_parameter_letter(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

// What a value says without its quotes; nullopt: it begins with a quote that is not closed yet.
std::optional<std::string_view> unquote(std::string_view text) {
  for (const std::string_view quote : {kTripleQuote, std::string_view("\"")}) {
    if (!text.starts_with(quote)) continue;
    if (text.size() < 2 * quote.size() || !text.ends_with(quote)) return std::nullopt;
    return text.substr(quote.size(), text.size() - 2 * quote.size());
  }
  return text;
}

std::string quote(std::string_view text) {
  const bool plain = text.find('\n') == std::string_view::npos && !text.starts_with(' ') && !text.ends_with(' ') &&
                     !text.starts_with('"');
  if (plain) return std::string(text);
  const bool has_quote = text.find('"') != std::string_view::npos;
  return has_quote ? fmt::format("{0}{1}{0}", kTripleQuote, text) : fmt::format("\"{}\"", text);
}

// `bytes` follow the byte order mark. A surrogate without its other half becomes U+FFFD.
std::string utf16_to_utf8(std::string_view bytes, bool big_endian) {
  const auto unit = [&](std::size_t i) {
    const auto first = static_cast<std::uint8_t>(bytes[i]);
    const auto second = static_cast<std::uint8_t>(bytes[i + 1]);
    return static_cast<std::uint32_t>(big_endian ? first << 8 | second : second << 8 | first);
  };
  std::string text;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    std::uint32_t code_point = unit(i);
    if (code_point >= 0xD800 && code_point < 0xDC00 && i + 3 < bytes.size()) {
      const std::uint32_t low = unit(i + 2);
      if (low >= 0xDC00 && low < 0xE000) {
        code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
        i += 2;
      }
    }
    append_utf8(text, code_point);
  }
  return text;
}

std::string decode(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) return valid_utf8(text.substr(kByteOrderMark.size()));
  if (text.starts_with("\xFF\xFE")) return utf16_to_utf8(text.substr(2), /*big_endian=*/false);
  if (text.starts_with("\xFE\xFF")) return utf16_to_utf8(text.substr(2), /*big_endian=*/true);
  return valid_utf8(text);
}

class ModelfileParser {
 public:
  explicit ModelfileParser(std::string_view text) : rest_(text) {}

  Result<Modelfile> parse() {
    while (skip_blank()) {
      if (Result<void> command = parse_command(); !command) return std::move(command).error();
    }
    const bool has_from = std::any_of(result_.commands.begin(), result_.commands.end(),
                                      [](const ModelfileCommand& command) { return command.name == "model"; });
    if (!has_from) return invalid("no FROM line");
    return std::move(result_);
  }

 private:
  // Skips space, empty lines and comments. False at the end of the text.
  bool skip_blank() {
    while (!rest_.empty()) {
      if (rest_.front() == '#') {
        while (!rest_.empty() && !is_newline(rest_.front())) take();
      } else if (is_blank(rest_.front())) {
        take();
      } else {
        return true;
      }
    }
    return false;
  }

  Result<void> parse_command() {
    const Result<std::string> word = take_word(is_letter);
    const Error unknown = at_line(
        "command must be one of \"from\", \"license\", \"template\", \"system\", \"adapter\", \"draft\", "
        "\"renderer\", \"parser\", \"parameter\", \"message\", or \"requires\"");
    if (!word) return rest_.empty() ? word.error() : unknown;
    std::string name = lower_case(*word);
    if (std::find(kCommands.begin(), kCommands.end(), name) == kCommands.end()) return unknown;

    std::string prefix;
    if (name == "from") {
      name = "model";
    } else if (name == "parameter") {
      Result<std::string> parameter = take_word(is_parameter_letter);
      if (!parameter) return std::move(parameter).error();
      name = std::move(*parameter);
      // Commands are told apart by their names alone, so that a parameter cannot have one of theirs.
      if (name == "model" || std::find(kCommands.begin(), kCommands.end(), name) != kCommands.end()) {
        return at_line("unknown parameter '" + name + "'");
      }
    } else if (name == "message") {
      const Result<std::string> role = take_word(is_letter);
      if (!role) return role.error();
      if (*role != "system" && *role != "user" && *role != "assistant") {
        return at_line("message role must be one of \"system\", \"user\", or \"assistant\"");
      }
      prefix = *role + ": ";
    }
    Result<std::string> value = take_value();
    if (!value) return std::move(value).error();
    result_.commands.push_back({std::move(name), prefix + *value});
    return {};
  }

  // A word that a space follows; the space is taken too.
  template <typename Predicate>
  Result<std::string> take_word(Predicate belongs) {
    while (!rest_.empty() && is_space(rest_.front())) take();
    std::string word;
    while (!rest_.empty() && belongs(rest_.front())) word += take();
    if (rest_.empty()) return invalid("unexpected EOF");
    if (!is_space(rest_.front())) return at_line("unexpected EOF: " + word);
    take();
    return word;
  }

  // A value: up to the end of the line, or while quotes are open, up to the end of the line that closes them.
  Result<std::string> take_value() {
    std::string raw;
    while (!rest_.empty()) {
      if (is_newline(rest_.front()) && unquote(trimmed(raw))) break;
      const char c = take();
      // Control characters have no place in any value.
      if (static_cast<std::uint8_t>(c) >= 0x20 || is_blank(c)) raw += c;
    }
    const std::optional<std::string_view> value = unquote(trimmed(raw));
    if (!value) return invalid("unexpected EOF");
    return std::string(*value);
  }

  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == '\n' || (c == '\r' && !rest_.starts_with('\n'))) ++line_;
    return c;
  }

  Error at_line(std::string_view message) const { return invalid(fmt::format("(line {}): {}", line_, message)); }

  std::string_view rest_;
  int line_ = 1;
  Modelfile result_;
};

}  // namespace

std::string ModelfileCommand::to_string() const {
  if (name == "model") return "FROM " + arguments;
  if (name == "message") {
    const std::size_t colon = arguments.find(": ");
    if (colon == std::string::npos) return fmt::format("MESSAGE {} ", arguments);
    return fmt::format("MESSAGE {} {}", arguments.substr(0, colon), quote(arguments.substr(colon + 2)));
  }
  if (std::find(kCommands.begin(), kCommands.end(), name) != kCommands.end()) {
    std::string upper = name;
    for (char& c : upper) c = static_cast<char>(c - 'a' + 'A');
    return fmt::format("{} {}", upper, quote(arguments));
  }
  return fmt::format("PARAMETER {} {}", name, quote(arguments));
}

Result<Modelfile> Modelfile::parse(std::string_view text) {
  if (text.size() > kModelfileBytesMax) {
    return Error{ErrorCode::kTooLarge, fmt::format("Modelfile has more than {} bytes", kModelfileBytesMax)};
  }
  const std::string decoded = decode(text);
  return ModelfileParser(decoded).parse();
}

std::string Modelfile::to_string() const {
  std::string text;
  for (const ModelfileCommand& command : commands) text += command.to_string() + "\n";
  return text;
}

}  // namespace drover
