// The name under which src/api and src/cli still know the fleet, with all that fleet/fleet.h does not drag along.
#pragma once

#include <spdlog/logger.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/machine.h"
#include "fleet/fleet.h"
#include "fleet/history.h"
#include "fleet/metrics.h"
#include "fleet/submission.h"
#include "fleet/ticket.h"
#include "policy/advice.h"
#include "runner.pb.h"

namespace drover {
using DispatchDriver = Fleet;
}
