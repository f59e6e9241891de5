// `run`: one prompt and its answer, or a conversation.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "client/api_client.h"

namespace drover::cli {

inline constexpr std::size_t kStdinBytesMax = 64u << 20;

struct RunArguments {
  std::string model;
  std::vector<std::string> prompt;  // words, joined by blanks; standard input, if it is no terminal, goes in front
  std::string keep_alive;
  std::string format;
  std::string think;  // "" if it was not given
  bool verbose = false;
  bool no_word_wrap = false;
  bool hide_thinking = false;
  bool insecure = false;  // for a pull
  // For models that embed.
  int dimensions = 0;    // 0: all
  std::string truncate;  // true or false; "" if it was not given
};

// Interactive if there is no prompt and both standard input and output are terminals. Returns the exit code: 0, or 130
// if Ctrl-C stopped the only answer.
Result<int> run_model(ApiClient& client, const RunArguments& arguments);

}  // namespace drover::cli
