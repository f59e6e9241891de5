// GET /metrics. Reads what the I/O thread has at hand: it asks no runner and touches no disk.
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "api/metrics_text.h"
#include "api/service.h"

namespace drover::api {
namespace {

constexpr std::string_view kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

// Of this process; 0: unknown.
std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  if (!(file >> total_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

asio::awaitable<void> metrics(Service& service, double started_at, http::Exchange& exchange) {
  const std::vector<LoadedModelView> models = service.driver.loaded();
  std::string text = metrics_text({.metrics = service.driver.metrics(),
                                   .models = models,
                                   .version = DROVER_VERSION,
                                   .queue_max = service.settings.queue_max,
                                   .memory_bytes_max = service.driver.memory_bytes_max(),
                                   .resident_bytes = resident_bytes(),
                                   .started_at = started_at});
  co_await exchange.send(200, kMetricsType, std::move(text));
}

}  // namespace

void add_metrics_routes(http::Router& router, Service& service) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const double started_at = std::chrono::duration<double>(now).count();
  router.add("GET", "/metrics",
             [&service, started_at](http::Exchange& exchange) { return metrics(service, started_at, exchange); });
}

}  // namespace drover::api
