// The name under which src/api and src/cli still know fleet/fleet.h.
#pragma once

#include "fleet/fleet.h"
