// POST /ui/many: the same generation many times at once, over one connection. A browser has no more than six for one
// server, which is too few to see a queue. docs/operations.md describes it.
#pragma once

#include "http/server.h"

namespace drover::api {

// The router has POST /api/generate already, which does the work.
void add_many_route(http::Router& router);

}  // namespace drover::api
