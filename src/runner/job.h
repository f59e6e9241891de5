// A request inside the runner, split by the thread that owns each part.
#pragma once

#include <chrono>
#include <memory>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "engine/output_parser.h"
#include "engine/sampler.h"
#include "runner.pb.h"

namespace drover {

// The engine thread's part: what decides the next token and the end.
struct EngineJob {
  RequestId request;
  std::vector<Token> prompt;
  std::unique_ptr<Sampler> sampler;
  int output_max = 0;   // tokens; at this many the generation ends with LENGTH
  int context_max = 0;  // tokens of prompt and output that may stand in the context
  int keep = 0;         // tokens at the start that a shift keeps
  bool shift = false;
  int top_logprobs = -1;  // -1: none are wanted
  int output = 0;         // tokens generated
  Duration time_max{};    // from the first step; zero: no limit
  TimePoint added{};
  TimePoint first_token{};
};

// The output thread's part: what turns tokens into text.
struct OutputJob {
  RequestId request;
  OutputParser parser;
  std::vector<Token> context;  // prompt and output, if the client wants them back
  bool want_context = false;
  bool one_call = false;  // the output ends with the first call of a tool
  bool called = false;    // with one_call: it has been handed out
  bool stop_reported = false;
};

// ---- to the engine thread

struct Announced {
  RequestId request;
};  // a Generate was read; Prepared or Refused follows
struct Prepared {
  std::unique_ptr<EngineJob> engine;
  std::unique_ptr<OutputJob> output;
};
struct Refused {
  RequestId request;
};  // its Failed frame has been sent
struct Canceled {
  RequestId request;
};  // the front does not want it any more
struct StopFound {
  RequestId request;
};  // the output thread has seen a stop string
using EngineMail = std::variant<Announced, Prepared, Refused, Canceled, StopFound>;

// ---- to the output thread

struct OutputBegin {
  std::unique_ptr<OutputJob> job;
};
struct OutputToken {
  RequestId request;
  Token token = 0;
  std::vector<TokenProbability> probabilities;  // first the token itself; empty if not wanted
};
struct OutputEnd {
  pb::Finished finished;  // `last` and `context` are filled by the output thread
  std::string failure;    // not empty: the request fails with this instead
};
// What one step gave: sent to the front as one frame where possible.
struct OutputStep {
  std::vector<OutputToken> tokens;
};
using OutputMail = std::variant<OutputBegin, OutputStep, OutputEnd>;

}  // namespace drover
