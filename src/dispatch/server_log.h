// The name under which src/api and src/cli still know fleet/server_log.h.
#pragma once

#include "fleet/server_log.h"
