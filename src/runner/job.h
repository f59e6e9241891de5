// The parts of a request inside the runner, one for each thread that owns it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/output_parser.h"
#include "engine/sampler.h"
#include "runner.pb.h"

namespace drover {

// The engine thread's part: it decides the next token and the end of the generation.
struct EngineJob {
  RequestId request;
  std::vector<Token> prompt;
  std::unique_ptr<Sampler> sampler;
  int output_max = 0;   // tokens after which the generation ends with LENGTH
  int context_max = 0;  // limit on tokens of prompt and output in the context
  int keep = 0;         // tokens at the start that a context shift keeps
  bool shift = false;
  int top_logprobs = -1;  // -1: not requested
  int output = 0;         // tokens generated
  Duration time_max{};    // from the first step; zero: no limit
  TimePoint added{};
  TimePoint first_token{};
};

// The output thread's part: it turns tokens into text.
struct OutputJob {
  RequestId request;
  OutputParser parser;
  std::vector<Token> context;  // prompt and output, if the client requested them
  bool want_context = false;
  bool one_call = false;  // the output ends with the first call of a tool
  bool called = false;    // with one_call: the call was sent
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
};  // its Failed frame was sent
struct Canceled {
  RequestId request;
};  // the front canceled it
struct StopFound {
  RequestId request;
};  // the output thread found a stop string
using EngineMail = std::variant<Announced, Prepared, Refused, Canceled, StopFound>;

// ---- to the output thread

struct OutputBegin {
  std::unique_ptr<OutputJob> job;
};
struct OutputToken {
  RequestId request;
  Token token = 0;
  std::vector<TokenProbability> probabilities;  // the token itself first; empty if not requested
};
struct OutputEnd {
  pb::Finished finished;         // `last` and `context` are filled by the output thread
  std::optional<Error> failure;  // if set, the request fails with this instead
};
// The tokens of one step, sent to the front as one frame where possible.
struct OutputStep {
  std::vector<OutputToken> tokens;
};
using OutputMail = std::variant<OutputBegin, OutputStep, OutputEnd>;

}  // namespace drover
