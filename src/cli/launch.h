// `launch`: how other programs are started so that they use this server.
#pragma once

#include <string>

#include "base/result.h"
#include "client/api_client.h"

namespace drover::cli {

// What to type for `program` ("": a list of those that are known). `model` may be "": then the server is asked for one.
// Error: kNotFound, with the list.
Result<std::string> launch_text(ApiClient& client, const std::string& url, const std::string& program,
                                const std::string& model);

}  // namespace drover::cli
