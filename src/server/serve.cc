#include "server/serve.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdlib>
#include <optional>
#include <utility>

#include "api/bind.h"
#include "api/create_routes.h"
#include "api/guard.h"
#include "api/registry_routes.h"
#include "api/service.h"
#include "base/settings.h"
#include "fleet/fleet.h"
#include "http/server.h"
#include "registry/registry.h"
#include "sandbox/sandbox.h"
#include "server/log.h"
#include "server/port_owner.h"
#include "server/service_manager.h"
#include "store/model_store.h"

extern "C" const char drover_builtin_model_begin[];
extern "C" const char drover_builtin_model_end[];

namespace drover::server {
namespace {

namespace asio = boost::asio;

constexpr int kDiskThreads = 4;

// How often it is looked whether the pinned models are loaded, while a service manager waits for that.
constexpr auto kReadinessInterval = std::chrono::milliseconds(50);

// Descriptors that connections leave to runners (two each), the files of models, and downloads.
constexpr std::size_t kDescriptorsKept = 256;

// Of one address, beside those whose requests wait: requests that run, and what looks on.
constexpr std::size_t kConnectionsBesideQueue = 256;

// As many descriptors as the system allows: each waiting client takes one. Returns how many there are.
std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : before;
}

// One connection too many is refused with a clear error, while what serves the others still finds its descriptors.
http::ServerLimits server_limits(const Settings& settings, std::size_t descriptors) {
  http::ServerLimits limits;
  limits.write_idle_timeout = settings.client_timeout;
  const std::size_t kept = std::min(kDescriptorsKept, descriptors / 2);
  if (descriptors - kept < limits.connections_max) {
    limits.connections_max = descriptors - kept;
    spdlog::warn("the system allows {} open files and sockets (ulimit -Hn): connections are limited to {}", descriptors,
                 limits.connections_max);
  }
  // These are among those that are kept.
  limits.probes_max = std::min(limits.probes_max, descriptors / 16);
  limits.files_max = std::min(limits.files_max, kept / 2);
  limits.files_per_client_max = std::max<std::size_t>(1, limits.files_max / 2);
  // All of a proxy's clients have one address: it has what requests need that wait and run, and never all.
  const std::size_t quarter = limits.connections_max / 4;
  limits.connections_per_client_max =
      std::min(limits.connections_max - quarter, std::max(quarter, settings.queue_max + kConnectionsBesideQueue));
  limits.bodies_bytes_per_client_max =
      std::max<std::size_t>(limits.bodies_bytes_per_client_max, settings.body_bytes_max);
  limits.bodies_bytes_max = std::max(limits.bodies_bytes_max, 2 * limits.bodies_bytes_per_client_max);
  return limits;
}

// Once, and not for each model that is loaded.
void tell_sandbox(SandboxMode mode) {
  if (mode == SandboxMode::kOff) return spdlog::info("the sandbox for models is off (DROVER_SANDBOX)");
  const SandboxSupport support = sandbox_support();
  if (support.missing.empty()) return spdlog::info("the sandbox for models is complete: {}", support.parts());
  spdlog::warn("the sandbox for models is incomplete on this kernel{}: {}",
               mode == SandboxMode::kRequire ? ", so no model can be loaded" : "", fmt::join(support.missing, "; "));
}

// A new user has something to talk to before any download.
void offer_builtin_model(ModelStore& store) {
  if (!store.list().empty()) return;
  const std::string_view bytes(drover_builtin_model_begin,
                               static_cast<std::size_t>(drover_builtin_model_end - drover_builtin_model_begin));
  const auto imported = store.import_gguf(*ModelName::parse("cria"), bytes);
  if (imported) {
    spdlog::info("the model folder is empty: offering the built-in model cria");
  } else {
    spdlog::warn("cannot store the built-in model: {}", imported.error().message);
  }
}

// The life of a server, in the order in which it happens.
class ServerLife {
 public:
  ServerLife(const Settings& settings, const std::string& executable, http::ServerLimits limits, ServiceManager manager)
      : settings_(settings),
        manager_(std::move(manager)),
        store_(settings.models),
        io_(1),
        disk_(kDiskThreads),
        quantize_thread_(1),
        driver_(io_, settings, executable),
        registry_(store_, "drover/" DROVER_VERSION, std::chrono::ceil<std::chrono::seconds>(settings.registry_timeout)),
        service_{settings_, store_, driver_, disk_},
        quantizer_(executable),
        create_tools_{registry_, quantizer_, quantize_thread_},
        server_(io_, routes(), limits, api::make_guard(settings_)),
        signals_(io_, SIGINT, SIGTERM),
        deadline_(io_),
        manager_timer_(io_) {}

  int run() {
    const HostAddress& host = settings_.host;
    const auto listening =
        host.scheme == "unix" ? server_.listen_unix(host.host) : server_.listen(host.host, host.port);
    if (!listening) {
      fmt::print(stderr, "Error: {}{}\n", listening.error().message, advice(listening.error().message));
      return 1;
    }
    // A server that cannot listen has touched nothing.
    if (const auto opened = open_store(); !opened) {
      fmt::print(stderr, "Error: {}: {}\n", settings_.models.string(), opened.error().message);
      return 1;
    }
    url_ = HostAddress{settings_.host.scheme, settings_.host.host, server_.port()}.url();
    spdlog::info("listening on {} (drover {}), models in {}, {} at a time per model", url_, DROVER_VERSION,
                 settings_.models.string(),
                 settings_.parallel == 0 ? std::string("auto") : std::to_string(settings_.parallel));
    pin_models();
    tell_readiness({});
    wait_for_signal();
    io_.run();
    disk_.join();
    quantize_thread_.join();
    return 0;
  }

 private:
  http::Router routes() {
    http::Router router;
    api::add_ollama_routes(router, service_);
    api::add_model_routes(router, service_);
    api::add_openai_routes(router, service_);
    api::add_anthropic_routes(router, service_);
    api::add_registry_routes(router, service_, registry_);
    api::add_create_routes(router, service_, create_tools_);
    api::add_queue_routes(router, service_);
    api::add_metrics_routes(router, service_);
    api::add_ui_routes(router);
    return router;
  }

  // Who has a port that is in use, and what to do about it.
  std::string advice(const std::string& error) const {
    const HostAddress& host = settings_.host;
    if (host.scheme == "unix" || !error.ends_with("address already in use")) return "";
    const std::string owner = port_owner(host.port);
    const int other = host.port < 65535 ? host.port + 1 : host.port - 1;
    return fmt::format(" by {}: use that server, or end it, or take another port, as OLLAMA_HOST={} drover serve",
                       owner.empty() ? "another process" : owner,
                       HostAddress{host.scheme, host.host, static_cast<std::uint16_t>(other)}.url());
  }

  Result<void> open_store() {
    const auto access = store_.open();
    if (!access) return access.error();
    if (*access == FolderAccess::kReadOnly) spdlog::info("the model folder is read-only: models cannot be changed");
    if (*access == FolderAccess::kGuest) spdlog::info("another server uses the model folder, and prunes it");
    offer_builtin_model(store_);
    if (*access != FolderAccess::kOwner || !settings_.prune) return {};
    registry_.sweep();
    const auto pruned = store_.prune();
    if (!pruned) spdlog::warn("cannot prune the model folder: {}", pruned.error().message);
    if (pruned && *pruned > 0) spdlog::info("removed {} unused blobs", *pruned);
    return {};
  }

  void pin_models() {
    for (const std::string& text : settings_.pinned) {
      const auto name = ModelName::parse(text);
      if (!name) {
        spdlog::error("DROVER_PIN: {}: {}", text, name.error().message);
      } else if (auto model = service_.store.find(*name); !model) {
        spdlog::error("DROVER_PIN: {}: {}", text, model.error().message);
      } else {
        driver_.pin(api::target_of(*model, (*model)->name.display_shortest(), settings_));
      }
    }
  }

  // A service that was started counts as such once it serves: it listens, and its pinned models are loaded.
  void tell_readiness(const std::string& said) {
    if (!manager_.listens() || stopping_) return;
    const std::string why_not = driver_.why_not_ready();
    if (why_not.empty()) {
      tell_manager("READY=1\nSTATUS=listening on " + url_);
      keep_watchdog_quiet();
      return;
    }
    if (why_not != said) tell_manager("STATUS=" + why_not);
    manager_timer_.expires_after(kReadinessInterval);
    manager_timer_.async_wait([this, why_not](boost::system::error_code error) {
      if (!error) tell_readiness(why_not);
    });
  }

  // The thread that serves everybody says so itself: if it hangs, the service manager starts us anew.
  void keep_watchdog_quiet() {
    const auto interval = manager_.watchdog_interval();
    if (!interval) return;
    manager_timer_.expires_after(*interval);
    manager_timer_.async_wait([this](boost::system::error_code error) {
      if (error) return;
      tell_manager("WATCHDOG=1");
      keep_watchdog_quiet();
    });
  }

  void tell_manager(const std::string& state) {
    const auto told = manager_.tell(state);
    if (!told) spdlog::warn("cannot notify the service manager: {}", told.error().message);
  }

  void wait_for_signal() {
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (error) return;
      if (stopping_) return finish();
      stopping_ = true;
      spdlog::info("stopping: {} requests in flight", driver_.in_flight());
      tell_manager("STOPPING=1\nSTATUS=letting requests finish");
      wait_for_signal();  // a second one ends at once
      // Connections are still accepted, so that /readyz can say that this server takes no more work.
      registry_.stop();
      quantizer_.stop();
      deadline_.expires_after(settings_.shutdown_timeout);
      deadline_.async_wait([this](boost::system::error_code stopped) {
        if (stopped) return;
        spdlog::warn("ending {} requests that did not finish in time", driver_.in_flight());
        driver_.end_now();
      });
      driver_.shutdown([this] { finish(); });
    });
  }

  // Lets the last answers leave before the connections are cut.
  void finish() {
    if (std::exchange(finishing_, true)) return;
    driver_.end_now();
    deadline_.expires_after(std::chrono::milliseconds(100));
    server_.stop_listening();
    deadline_.async_wait([this](boost::system::error_code) {
      server_.close_all();
      signals_.cancel();
      io_.stop();
    });
  }

  const Settings settings_;
  const ServiceManager manager_;
  ModelStore store_;
  asio::io_context io_;
  asio::thread_pool disk_;
  asio::thread_pool quantize_thread_;
  Fleet driver_;
  registry::Registry registry_;
  api::Service service_;
  QuantizerProcess quantizer_;
  api::CreateTools create_tools_;
  http::Server server_;
  asio::signal_set signals_;
  asio::steady_timer deadline_;
  asio::steady_timer manager_timer_;
  std::string url_;
  bool stopping_ = false;
  bool finishing_ = false;
};

}  // namespace

int serve(const std::string& executable, const std::vector<std::string>& engine) {
  const auto settings = read_settings([](const char* name) -> const char* { return std::getenv(name); });
  if (!settings) {
    fmt::print(stderr, "Error: {}\n", settings.error().message);
    return 1;
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);                                   // a file over the limit is an error as a full disk is
  ServiceManager manager = ServiceManager::from_environment();  // while this is the only thread
  const ServerLog log(settings->log_format, settings->debug);
  for (const std::string& line : engine) spdlog::info("{}", line);
  tell_sandbox(settings->sandbox);
  const http::ServerLimits limits = server_limits(*settings, raise_descriptor_limit());
  return ServerLife(*settings, executable, limits, std::move(manager)).run();
}

}  // namespace drover::server
