// The name under which src/api and src/cli still know process/quantizer.h.
#pragma once

#include "process/quantizer.h"
