#include "server/service_manager.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/descriptor.h"

namespace drover::server {
namespace {

constexpr std::uint64_t kWatchdogMicrosecondsMax = std::uint64_t{1} << 50;  // some decades

std::optional<std::uint64_t> number(const char* text) {
  if (text == nullptr) return std::nullopt;
  std::uint64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [stopped, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

Error failure(std::string_view socket) {
  return internal(fmt::format("NOTIFY_SOCKET {}: {}", socket, std::strerror(errno)));
}

}  // namespace

ServiceManager::ServiceManager(const std::function<const char*(const char*)>& get) {
  if (const char* socket = get("NOTIFY_SOCKET")) socket_ = socket;
  // The watchdog may be meant for the one that started us.
  const auto pid = number(get("WATCHDOG_PID"));
  if (pid && *pid != static_cast<std::uint64_t>(::getpid())) return;
  const auto microseconds = number(get("WATCHDOG_USEC"));
  if (!listens() || !microseconds || *microseconds == 0 || *microseconds > kWatchdogMicrosecondsMax) return;
  watchdog_interval_ = std::chrono::microseconds(*microseconds) / 2;
}

ServiceManager ServiceManager::from_environment() {
  ServiceManager manager([](const char* name) -> const char* { return std::getenv(name); });
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  return manager;
}

Result<void> ServiceManager::tell(std::string_view state) const {
  if (!listens()) return {};
  const bool abstract = socket_.front() == '@';
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // A path ends with a zero that has to fit; an abstract name begins with one, in place of its '@'.
  const std::size_t bytes_max = abstract ? sizeof(address.sun_path) : sizeof(address.sun_path) - 1;
  if ((!abstract && socket_.front() != '/') || socket_.size() > bytes_max) {
    return invalid(fmt::format("NOTIFY_SOCKET {}: neither a path nor an abstract name, or too long", socket_));
  }
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (abstract) address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size() + (abstract ? 0 : 1));
  const Descriptor descriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (descriptor.value() < 0) return failure(socket_);
  const ssize_t sent = ::sendto(descriptor.value(), state.data(), state.size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&address), length);
  if (sent < 0) return failure(socket_);
  return {};
}

}  // namespace drover::server
