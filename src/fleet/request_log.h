// One line per request for the log. Pure.
#pragma once

#include <string>

#include "base/settings.h"
#include "fleet/request_record.h"

namespace drover {

// kText: "request id=… client=… model=… outcome=stop queue_ms=0.1 …"; kJson: the same as the fields of an object,
// without its braces, for the log's own to be put before them. Fields that do not apply are left out.
std::string request_line(const RequestRecord& record, LogFormat format);

}  // namespace drover
