// What `run` knows about the conversation it holds, and what /set does to it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "client/json.h"

namespace drover::cli {

// A plain value. JSON members are as the API takes them; null or empty is left out of requests.
struct Session {
  std::string model;
  std::string parent_model;  // what the model was made from, if it is known
  bool thinking_supported = false;
  bool vision_supported = false;
  bool embeds_only = false;  // gives vectors, and no text

  Json model_messages = Json::array();  // the conversation that the model itself begins with; the server adds it
  Json messages = Json::array();        // what came after it
  std::string system;
  Json options = Json::object();
  Json format;      // "json" or a schema
  Json keep_alive;  // a duration as text, or -1
  Json think;       // true, false or a level
  bool think_chosen = false;

  bool verbose = false;
  bool word_wrap = true;
  bool hide_thinking = false;
  bool history = true;

  // Takes over what /api/show says about `model`: capabilities, messages and origin. Thinking is on for a model that
  // can, unless the user has chosen.
  void learn(const Json& shown);
  // Makes `text` the system message, from here on in the conversation.
  void set_system(const std::string& text);
  // Forgets the conversation, but not the system message.
  void clear();

  // {"model", "options", "format", "keep_alive", "think"}: what every request says.
  Json request() const;
  // The body of /api/create that saves this session as `name`.
  Json create_request(const std::string& name) const;
};

// What --format and "json" mean: the word "json", or a JSON schema. The server judges it.
Json parse_format(const std::string& text);
// What --keepalive means. Error: kInvalidArgument, Go's text for what is no duration.
Result<Json> parse_keep_alive(const std::string& text);
// What --think means. Error: kInvalidArgument.
Result<Json> parse_think(const std::string& text);

// Carries out "/set …", split into words ("/set" is the first), and returns what to tell the user, with its newline.
// Not for "/set system …", whose text may go on over several lines.
std::string apply_set(const std::vector<std::string>& words, Session& session);

}  // namespace drover::cli
