// What the settings mean to the policy.
#pragma once

#include <string>

#include "base/settings.h"
#include "policy/dispatcher.h"

namespace drover {

// What applies where a setting says nothing.
int loaded_models_max(const Settings& settings);
DispatcherConfig dispatcher_config(const Settings& settings);
// The share of a client, by the name that lists show; that of a key is one of each of its users too.
double weight_of(const Settings& settings, const std::string& client);

}  // namespace drover
