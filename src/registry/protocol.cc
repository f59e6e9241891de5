#include "registry/protocol.h"

#include <fmt/format.h>

namespace drover::registry {

std::string repository_url(const Session& session, const ModelName& name) {
  return fmt::format("{}v2/{}/{}", session.registry().text(), name.name_space(), name.model());
}

Error error_of_answer(const Answer& answer) {
  if (answer.status == 404) return not_found("file does not exist");
  std::string text = answer.body;
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f) c = ' ';
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return internal(text.empty() ? fmt::format("{}", answer.status) : fmt::format("{}: {}", answer.status, text));
}

Progress layer_progress(const char* verb, const Layer& layer, std::uint64_t completed) {
  constexpr std::size_t kShownDigits = 12;
  return {fmt::format("{} {}", verb, layer.digest.hex().substr(0, kShownDigits)), layer.digest.to_string(), layer.size,
          completed};
}

}  // namespace drover::registry
