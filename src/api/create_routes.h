// POST /api/create.
#pragma once

#include <boost/asio/thread_pool.hpp>

#include "api/service.h"
#include "process/quantizer.h"
#include "registry/registry.h"

namespace drover::api {

// What makes models, beside the store. Lives as long as the server.
struct CreateTools {
  registry::Registry& registry;  // for a FROM that is not here
  QuantizerProcess& quantizer;
  asio::thread_pool& quantize_thread;  // one thread: a quantization takes all cores, so they run one after the other
};

// `tools` must outlive the router's use.
void add_create_routes(http::Router& router, Service& service, CreateTools& tools);

}  // namespace drover::api
