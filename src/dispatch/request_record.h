// The name under which src/api and src/cli still know fleet/request_record.h.
#pragma once

#include "fleet/request_record.h"
