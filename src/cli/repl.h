// The interactive `run`: reads messages and commands, and holds the conversation.
#pragma once

#include "base/result.h"
#include "cli/session.h"
#include "client/api_client.h"
#include "terminal/line_editor.h"

namespace drover::cli {

// Returns when the user leaves. What goes wrong with one message is said, and the conversation goes on.
void run_repl(ApiClient& client, LineEditor& editor, Session session);

// Shows the conversation that the model itself begins with.
void print_model_messages(const Session& session);

}  // namespace drover::cli
