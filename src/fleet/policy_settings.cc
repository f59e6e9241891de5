#include "fleet/policy_settings.h"

#include <algorithm>

namespace drover {

int loaded_models_max(const Settings& settings) {
  constexpr int kOnCpu = 3;
  return settings.loaded_models_max > 0 ? settings.loaded_models_max : kOnCpu;
}

DispatcherConfig dispatcher_config(const Settings& settings) {
  DispatcherConfig config;
  config.waiting_max = settings.queue_max;
  config.loaded_models_max = loaded_models_max(settings);
  config.slots = std::max(settings.parallel, 1);
  config.request_timeout = settings.request_timeout;
  config.load_timeout = settings.load_timeout;
  config.hang_timeout = settings.hang_timeout;
  config.explain = settings.debug;
  return config;
}

double weight_of(const Settings& settings, const std::string& client) {
  const auto& weights = settings.client_weights;
  auto found = weights.find(client);
  if (found == weights.end() && client.starts_with("key:")) found = weights.find(client.substr(0, client.find('/')));
  return found == weights.end() ? 1 : found->second;
}

}  // namespace drover
