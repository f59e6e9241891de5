#include "server/port_owner.h"

#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>

#include "base/quote.h"

namespace drover::server {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kListening = "0A";

// The inodes of sockets that listen on `port`. Format: proc(5), /proc/net/tcp; addresses are "<hex>:<hex port>".
void add_sockets(const char* table, std::uint16_t port, std::set<std::string>& sockets) {
  std::ifstream file(table);
  std::string line;
  const std::string wanted = fmt::format(":{:04X}", port);
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string number, local, remote, state, queues, timer, retransmits, user, timeout, inode;
    words >> number >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >> inode;
    if (state == kListening && local.ends_with(wanted)) sockets.insert("socket:[" + inode + "]");
  }
}

bool holds_one(const fs::path& process, const std::set<std::string>& sockets) {
  std::error_code error;
  fs::directory_iterator entry(process / "fd", error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    if (sockets.contains(fs::read_symlink(entry->path(), gone).string())) return true;
  }
  return false;
}

}  // namespace

std::string port_owner(std::uint16_t port) {
  std::set<std::string> sockets;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) add_sockets(table, port, sockets);
  if (sockets.empty()) return "";
  std::error_code error;
  fs::directory_iterator entry("/proc", error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (std::isdigit(static_cast<unsigned char>(name.front())) == 0 || !holds_one(entry->path(), sockets)) continue;
    std::string command;
    std::getline(std::ifstream(entry->path() / "comm") >> std::ws, command);
    std::string shown;
    append_escaped(shown, command);
    return fmt::format("{} (process {})", shown, name);
  }
  return "";
}

}  // namespace drover::server
