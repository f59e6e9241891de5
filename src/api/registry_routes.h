// POST /api/pull and POST /api/push.
#pragma once

#include "api/service.h"
#include "registry/registry.h"

namespace drover::api {

// `registry` must outlive the router's use.
void add_registry_routes(http::Router& router, Service& service, registry::Registry& registry);

}  // namespace drover::api
